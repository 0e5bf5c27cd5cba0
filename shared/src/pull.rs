//! When an image is pulled.

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
    /// Before each run: what a tag names may have changed.
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
