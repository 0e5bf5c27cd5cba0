//! What a user may do, in three steps.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What a user may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Look at their own tasks and files, and change nothing.
    ReadOnly,
    /// Their own tasks and files.
    User,
    /// Everything.
    Admin,
}

impl Role {
    /// All of them, the least first.
    pub const ALL: [Self; 3] = [Self::ReadOnly, Self::User, Self::Admin];

    /// Its name, as in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ReadOnly => "read-only",
            Self::User => "user",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// No such role.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a role: it is admin, user or read-only")]
pub struct NoSuchRole(String);

impl FromStr for Role {
    type Err = NoSuchRole;
    fn from_str(text: &str) -> Result<Self, NoSuchRole> {
        Self::ALL.into_iter().find(|role| role.as_str() == text).ok_or_else(|| NoSuchRole(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_same_everywhere() {
        for role in Role::ALL {
            assert_eq!(role.to_string().parse(), Ok(role));
            assert_eq!(serde_json::to_string(&role).expect("json"), format!("\"{role}\""));
        }
        assert_eq!("root".parse::<Role>(), Err(NoSuchRole("root".into())));
    }

    #[test]
    fn more_rights_are_greater() {
        assert!(Role::ReadOnly < Role::User && Role::User < Role::Admin);
    }
}
