//! Who the cluster is at image registries.

use serde::{Deserialize, Serialize};

use crate::id::UserName;
use crate::registry::RegistryName;
use crate::time::WallTime;

/// The body of `POST /api/registries`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct SetRegistryRequest {
    /// As images name it.
    pub registry: RegistryName,
    /// The name there.
    pub username: String,
    /// The password or token there; never shown again.
    pub password: String,
}

/// Without the password.
impl std::fmt::Debug for SetRegistryRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("SetRegistryRequest");
        shown.field("registry", &self.registry).field("username", &self.username).finish_non_exhaustive()
    }
}

/// A registry where the cluster is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RegistryView {
    /// As images name it.
    pub registry: RegistryName,
    /// The name there.
    pub username: String,
    /// Who has set it last.
    pub changed_by: UserName,
    /// When.
    pub changed_at: WallTime,
}

/// All of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RegistryListView {
    /// By name.
    pub registries: Vec<RegistryView>,
}
