//! How an image comes to a worker.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::text::printable_start;

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
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PullProgress {
    /// Fetched.
    pub done_bytes: u64,
    /// Known to be fetched; grows while the registry says more. 0: nobody knows yet.
    pub total_bytes: u64,
    /// What it has failed with, as it is tried again; none: it has not failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<PullFailure>,
}

impl PullProgress {
    /// Whether nothing of it is under way, as far as is known: it has failed, and waits to be tried again.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        self.failure.is_some() && (self.done_bytes, self.total_bytes) == (0, 0)
    }
}

/// A pull that has failed, and is tried again by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PullFailure {
    /// What its registry or its engine said last: one printable line.
    pub message: String,
    /// How often it has failed, one after the other.
    pub tries: u32,
}

impl PullFailure {
    /// The longest message, in bytes.
    pub const LIMIT: usize = 1024;

    /// Makes the message printable, and cuts it at its limit.
    #[must_use]
    pub fn new(message: &str, tries: u32) -> Self {
        Self { message: printable_start(message, Self::LIMIT), tries }
    }
}

/// `3 tries failed, the last with: toomanyrequests`
impl fmt::Display for PullFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.tries {
            0 | 1 => write!(f, "1 try failed with: {}", self.message),
            tries => write!(f, "{tries} tries failed, the last with: {}", self.message),
        }
    }
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
    fn what_a_pull_has_failed_with_is_one_short_line() {
        let failure = PullFailure::new("a\nb", 1);
        assert_eq!(failure.to_string(), "1 try failed with: a\\nb");
        assert_eq!(PullFailure::new("a", 12).to_string(), "12 tries failed, the last with: a");
        // What is escaped is longer than it was.
        let long = PullFailure::new(&"\u{1b}".repeat(PullFailure::LIMIT), 1);
        assert!(long.message.len() <= PullFailure::LIMIT && long.message.starts_with("\\u{1b}\\u{1b}"), "{long}");
    }

    #[test]
    fn progress_without_a_failure_is_read_and_written_as_it_always_was() {
        let old = r#"{"done_bytes":1,"total_bytes":2}"#;
        let progress = PullProgress { done_bytes: 1, total_bytes: 2, failure: None };
        assert_eq!(serde_json::from_str::<PullProgress>(old).expect("progress"), progress);
        assert_eq!(serde_json::to_string(&progress).expect("json"), old);
    }

    #[test]
    fn names_read_back_as_written() {
        for policy in PullPolicy::ALL {
            assert_eq!(policy.to_string().parse(), Ok(policy));
            assert_eq!(serde_json::to_string(&policy).expect("json"), format!("\"{policy}\""));
        }
        assert_eq!("sometimes".parse::<PullPolicy>(), Err(InvalidPullPolicy));
    }
}
