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

    /// The stricter of its profile and another one; a strict one has no more of the network than `network`.
    #[must_use]
    pub fn at_least(self, profile: Profile, network: NetworkAccess) -> Self {
        match self.profile.max(profile) {
            Profile::Standard => self,
            Profile::Strict => Self { profile: Profile::Strict, network: self.network.max(network) },
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
    /// For programs of people who are not trusted: no capabilities, no root, no network unless the cluster lets them at the
    /// Internet, nothing to write to but /output and a small /tmp.
    Strict,
}

/// What a container can reach. The later one allows less.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum NetworkAccess {
    /// Everything that its machine can, but for other containers.
    #[default]
    Outgoing,
    /// The Internet, but no private address: neither the networks around its machine nor the machine itself.
    Public,
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

    /// How many processes and threads it may have at a time.
    #[must_use]
    pub fn processes(self) -> u32 {
        match self {
            Self::Standard => 4096,
            Self::Strict => 256,
        }
    }
}

impl NetworkAccess {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Outgoing, Self::Public, Self::None];

    /// The name used on every wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Outgoing => "outgoing",
            Self::Public => "public",
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
#[error("give outgoing, public or none")]
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
        use NetworkAccess::{None, Outgoing, Public};
        use Profile::{Standard, Strict};
        let of = |profile, network| Confinement { profile, network };
        for network in NetworkAccess::ALL {
            assert_eq!(of(Standard, network).at_least(Standard, None), of(Standard, network));
            assert_eq!(of(Standard, network).at_least(Strict, None), of(Strict, None));
            assert_eq!(of(Strict, None).at_least(Standard, network), of(Strict, None));
        }
        assert_eq!(of(Standard, Outgoing).at_least(Strict, Public), of(Strict, Public));
        assert_eq!(of(Strict, Public).at_least(Standard, Public), of(Strict, Public));
    }
}
