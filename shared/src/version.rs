//! Which versions of the product talk to each other.
//!
//! A worker may be one minor version older than its master and never newer: masters are updated first, then their workers,
//! one after the other. `cloudctl` may be one minor version older or newer than the master. Patches do not matter.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use crate::error::{ApiError, ErrorCode};

/// The whole version of this program.
pub const PRODUCT: &str = env!("CARGO_PKG_VERSION");
/// The header of every answer of the admin API that has the version of the master.
pub const HEADER: &str = "cloudai-version";
/// With this and its version begins what `cloudctl` says of itself in the header `User-Agent`.
pub const AGENT: &str = "cloudctl/";

/// What counts of a version when two programs talk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// Programs that differ in it never go together.
    pub major: u32,
    /// What comes with it, the other side may not know.
    pub minor: u32,
}

/// How a version that does not go with another one stands to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Skew {
    /// It is too old.
    Older,
    /// It is too new.
    Newer,
}

/// Not a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a version begins with two numbers, as 1.2.3 does")]
pub struct InvalidVersion;

impl Version {
    /// Of this program.
    pub const OWN: Self =
        Self { major: number(env!("CARGO_PKG_VERSION_MAJOR")), minor: number(env!("CARGO_PKG_VERSION_MINOR")) };
    /// The first there was: a master that does not say its version is taken for one of it.
    pub const FIRST: Self = Self { major: 0, minor: 1 };

    /// What keeps a worker of this version from a master of that one.
    #[must_use]
    pub fn worker_skew(self, master: Self) -> Option<Skew> {
        self.skew(master, 1, 0)
    }

    /// What keeps a client of this version from a master of that one.
    #[must_use]
    pub fn client_skew(self, master: Self) -> Option<Skew> {
        self.skew(master, 1, 1)
    }

    /// It may be so many minor versions older, and so many newer.
    fn skew(self, master: Self, older: u32, newer: u32) -> Option<Skew> {
        match self.major.cmp(&master.major) {
            Ordering::Less => Some(Skew::Older),
            Ordering::Greater => Some(Skew::Newer),
            Ordering::Equal if self.minor.saturating_add(older) < master.minor => Some(Skew::Older),
            Ordering::Equal if self.minor > master.minor.saturating_add(newer) => Some(Skew::Newer),
            Ordering::Equal => None,
        }
    }
}

/// Whether a `cloudctl` of one version may talk to a master of another. Both sides ask: the master before it does anything,
/// and `cloudctl` because an old master may not have asked.
///
/// # Errors
/// [`ErrorCode::VersionSkew`], with both versions.
pub fn check_client(client: Version, master: Version) -> Result<(), ApiError> {
    let Some(skew) = client.client_skew(master) else { return Ok(()) };
    let message = format!(
        "cloudctl {client} and a master of version {master} do not go together: they may be one minor version apart"
    );
    let hint = match skew {
        Skew::Older => format!("use cloudctl {master}"),
        Skew::Newer => format!("use cloudctl {master}, or update the master"),
    };
    Err(ApiError::new(ErrorCode::VersionSkew, message, hint))
}

/// Of digits, and nothing else.
const fn number(text: &str) -> u32 {
    let bytes = text.as_bytes();
    let (mut at, mut number) = (0, 0);
    while at < bytes.len() {
        number = number * 10 + (bytes[at] - b'0') as u32;
        at += 1;
    }
    number
}

impl FromStr for Version {
    type Err = InvalidVersion;
    fn from_str(text: &str) -> Result<Self, InvalidVersion> {
        let number = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit()).then(|| part.parse().ok()).flatten();
        let mut numbers = text.split('.').map(number);
        match (numbers.next().flatten(), numbers.next().flatten()) {
            (Some(major), Some(minor)) => Ok(Self { major, minor }),
            _ => Err(InvalidVersion),
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> Version {
        text.parse().expect(text)
    }

    #[test]
    fn two_numbers_count_of_a_version() {
        assert_eq!(version(PRODUCT), Version::OWN);
        for same in ["1.20.0", "1.20.7", "1.20.0-rc.1", "1.20.3+build.7", "1.20"] {
            assert_eq!(version(same), Version { major: 1, minor: 20 }, "{same}");
        }
        assert_eq!(version("1.20.3").to_string(), "1.20");
        for bad in
            ["", "x", "1", "1.", ".1", "v1.2.3", "1.x.3", "+1.2.3", "1.-2.3", "first generation", "1.99999999999"]
        {
            assert_eq!(bad.parse::<Version>(), Err(InvalidVersion), "{bad}");
        }
    }

    #[test]
    fn a_worker_may_be_one_minor_older_and_never_newer() {
        use Skew::{Newer, Older};
        for (worker, master, skew) in [
            ("0.3.0", "0.3.9", None),
            ("0.3.9", "0.3.0", None),
            ("0.2.5", "0.3.0", None),
            ("0.4.0", "0.3.9", Some(Newer)),
            ("0.1.9", "0.3.0", Some(Older)),
            ("0.0.1", "0.1.0", None),
            ("0.9.0", "1.0.0", Some(Older)),
            ("1.0.0", "0.9.0", Some(Newer)),
            ("1.4.0", "1.5.0", None),
            ("1.3.0", "1.5.0", Some(Older)),
            ("1.9.0", "2.9.0", Some(Older)),
        ] {
            assert_eq!(version(worker).worker_skew(version(master)), skew, "{worker} at {master}");
        }
    }

    #[test]
    fn a_client_may_be_one_minor_away_and_is_told_both_versions() {
        for (client, master, hint) in [
            ("0.3.0", "0.3.7", None),
            ("0.2.9", "0.3.0", None),
            ("0.4.0", "0.3.0", None),
            ("0.1.0", "0.3.0", Some("use cloudctl 0.3")),
            ("0.5.0", "0.3.0", Some("use cloudctl 0.3, or update the master")),
            ("0.9.0", "1.0.0", Some("use cloudctl 1.0")),
            ("2.0.0", "1.9.0", Some("use cloudctl 1.9, or update the master")),
        ] {
            let checked = check_client(version(client), version(master));
            let said = checked.as_ref().err().map(|error| error.hint.as_str());
            assert_eq!(said, hint, "{client} at {master}");
            if let Err(error) = &checked {
                assert_eq!(error.code, ErrorCode::VersionSkew);
                let both = [version(client), version(master)].map(|version| version.to_string());
                assert!(both.iter().all(|version| error.message.contains(version)), "{error}");
            }
        }
    }
}
