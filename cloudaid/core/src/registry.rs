//! Who the cluster is at image registries.

use std::fmt;

use serde::{Deserialize, Serialize};
use shared::id::UserName;
use shared::registry::RegistryName;
use shared::time::WallTime;
use shared::view::RegistryView;

/// The most registries.
pub const REGISTRIES_LIMIT: usize = 100;

/// What the workers pull with.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegistryRecord {
    /// As images name it.
    pub registry: RegistryName,
    /// The name there.
    pub username: String,
    /// The password there, encrypted, in hexadecimal; the core cannot read it.
    pub sealed: String,
    /// Who has set it last.
    pub changed_by: UserName,
    /// When.
    pub changed_at: WallTime,
}

impl RegistryRecord {
    /// What admins may know of it.
    #[must_use]
    pub fn view(&self) -> RegistryView {
        RegistryView {
            registry: self.registry.clone(),
            username: self.username.clone(),
            changed_by: self.changed_by.clone(),
            changed_at: self.changed_at,
        }
    }
}

impl fmt::Debug for RegistryRecord {
    /// Without the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("RegistryRecord");
        shown.field("registry", &self.registry).field("username", &self.username).finish_non_exhaustive()
    }
}
