//! How an image comes to a worker.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// As `docker run --pull` has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum PullPolicy {
    /// Where the worker does not have it.
    #[default]
    Missing,
    /// Also where the worker has it: what a tag names may have changed. What the first run of a task gets, its others get too.
    Always,
    /// Not at all: it has to be there.
    Never,
}

impl PullPolicy {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Missing, Self::Always, Self::Never];

    /// Whether it is what a task has that says nothing.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// The name used on every wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Always => "always",
            Self::Never => "never",
        }
    }
}

impl fmt::Display for PullPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// How far the pull of an image is, in bytes as they are fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PullProgress {
    /// Fetched.
    pub done_bytes: u64,
    /// Known to be fetched; grows while the registry says more. 0: nobody knows yet.
    pub total_bytes: u64,
}

/// An image that a worker is fetching.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Pulling {
    /// As its tasks name it.
    pub image: String,
    /// How far that is.
    #[serde(flatten)]
    pub progress: PullProgress,
}

/// What a registry knows somebody by.
#[derive(Clone, PartialEq, Eq)]
pub struct RegistryLogin {
    /// The name there.
    pub username: String,
    /// The password or token there.
    pub password: String,
}

/// Without the password.
impl fmt::Debug for RegistryLogin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegistryLogin").field("username", &self.username).finish_non_exhaustive()
    }
}

/// Not such a policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("give missing, always or never")]
pub struct InvalidPullPolicy;

impl FromStr for PullPolicy {
    type Err = InvalidPullPolicy;
    fn from_str(text: &str) -> Result<Self, InvalidPullPolicy> {
        Self::ALL.into_iter().find(|policy| policy.as_str() == text).ok_or(InvalidPullPolicy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back_as_written() {
        for policy in PullPolicy::ALL {
            assert_eq!(policy.to_string().parse(), Ok(policy));
            assert_eq!(serde_json::to_string(&policy).expect("json"), format!("\"{policy}\""));
        }
        assert_eq!("sometimes".parse::<PullPolicy>(), Err(InvalidPullPolicy));
    }
}
