//! How the store is.

use serde::{Deserialize, Serialize};

/// Whether the store keeps the facts as it should.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum StoreState {
    /// It answers and takes commits.
    #[default]
    Ok,
    /// It does not answer or takes no commits: new work is refused, what runs goes on.
    Unavailable,
    /// The embedded store stands in for a MongoDB that could not be reached when the master started. What was written
    /// there before comes back, and what is written here goes there, at a later start that reaches it.
    Fallback,
}

impl StoreState {
    /// As it is written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Unavailable => "unavailable",
            Self::Fallback => "fallback",
        }
    }
}
