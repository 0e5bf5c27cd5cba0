//! How much of its machine a container gets at.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What the container of a task is kept from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Confinement {
    /// How it is set up.
    #[serde(default)]
    pub profile: Profile,
    /// What it can reach.
    #[serde(default)]
    pub network: NetworkAccess,
}

impl Confinement {
    /// Whether it is what a task has that says nothing.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// The stricter of its profile and another one, and the network that goes with it.
    #[must_use]
    pub fn at_least(self, profile: Profile) -> Self {
        match self.profile.max(profile) {
            Profile::Standard => self,
            Profile::Strict => Self { profile: Profile::Strict, network: NetworkAccess::None },
        }
    }
}

/// How a container is set up. The later one allows less.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Profile {
    /// What runs under a plain `docker run` runs here.
    #[default]
    Standard,
    /// For programs of people who are not trusted: no capabilities, no root, no network, nothing to write to but /output
    /// and a small /tmp.
    Strict,
}

/// What a container can reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum NetworkAccess {
    /// Everything that its machine can, but for other containers.
    #[default]
    Outgoing,
    /// Nothing.
    None,
}

impl Profile {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Standard, Self::Strict];

    /// The name used on every wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::Strict => "strict",
        }
    }
}

impl NetworkAccess {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Outgoing, Self::None];

    /// The name used on every wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Outgoing => "outgoing",
            Self::None => "none",
        }
    }
}

/// Not such a profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("give standard or strict")]
pub struct InvalidProfile;

/// Not such an access.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("give outgoing or none")]
pub struct InvalidNetworkAccess;

impl FromStr for Profile {
    type Err = InvalidProfile;
    fn from_str(text: &str) -> Result<Self, InvalidProfile> {
        Self::ALL.into_iter().find(|profile| profile.as_str() == text).ok_or(InvalidProfile)
    }
}

impl FromStr for NetworkAccess {
    type Err = InvalidNetworkAccess;
    fn from_str(text: &str) -> Result<Self, InvalidNetworkAccess> {
        Self::ALL.into_iter().find(|access| access.as_str() == text).ok_or(InvalidNetworkAccess)
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Display for NetworkAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back_as_written() {
        for profile in Profile::ALL {
            assert_eq!(profile.to_string().parse(), Ok(profile));
            assert_eq!(serde_json::to_string(&profile).expect("json"), format!("\"{profile}\""));
        }
        for access in NetworkAccess::ALL {
            assert_eq!(access.to_string().parse(), Ok(access));
            assert_eq!(serde_json::to_string(&access).expect("json"), format!("\"{access}\""));
        }
        assert_eq!("privileged".parse::<Profile>(), Err(InvalidProfile));
        assert_eq!("host".parse::<NetworkAccess>(), Err(InvalidNetworkAccess));
    }

    #[test]
    fn nobody_gets_less_strict_than_the_cluster_wants_it() {
        let (standard, strict) = (Confinement::default(), Confinement::default().at_least(Profile::Strict));
        assert_eq!(strict, Confinement { profile: Profile::Strict, network: NetworkAccess::None });
        assert_eq!(standard.at_least(Profile::Standard), standard);
        assert_eq!(strict.at_least(Profile::Standard), strict);
        let alone = Confinement { network: NetworkAccess::None, ..standard };
        assert_eq!(alone.at_least(Profile::Standard), alone);
    }
}
