//! What workers know of the protocol, where one version of it does not say that.
//!
//! A field that a worker does not know it passes over. Where it would run a task otherwise than was asked for by that, the
//! field has a name here: a worker says which of them it knows, and gets no task that needs another one.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Something that not every worker knows which speaks [`OLDEST_PROTOCOL`](crate::link::OLDEST_PROTOCOL). Goes when no such
/// worker is served any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Feature {
    /// [`NetworkAccess::Public`](crate::confinement::NetworkAccess::Public).
    PublicNetwork,
    /// [`Assignment::blocking_log`](crate::link::Assignment::blocking_log).
    BlockingLog,
}

impl Feature {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::PublicNetwork, Self::BlockingLog];

    /// The name used on every wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PublicNetwork => "public_network",
            Self::BlockingLog => "blocking_log",
        }
    }

    const fn bit(self) -> u32 {
        1 << self as u32
    }
}

/// Some of them. On every wire a list of names; names that are not known here are passed over, as they can only be of what
/// nobody here asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(from = "Vec<String>", into = "Vec<String>")]
pub struct Features(u32);

impl Features {
    /// All that this version knows.
    pub const ALL: Self = Self((1 << Feature::ALL.len()) - 1);

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0 == 0
    }

    /// These and others.
    #[must_use]
    pub fn with(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    /// Those of them that are not among others.
    #[must_use]
    pub fn without(self, others: Self) -> Self {
        Self(self.0 & !others.0)
    }

    /// Each of them, in the order of [`Feature::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Feature> {
        Feature::ALL.into_iter().filter(move |feature| self.0 & feature.bit() != 0)
    }
}

impl FromIterator<Feature> for Features {
    fn from_iter<I: IntoIterator<Item = Feature>>(features: I) -> Self {
        Self(features.into_iter().fold(0, |bits, feature| bits | feature.bit()))
    }
}

impl From<Vec<String>> for Features {
    fn from(names: Vec<String>) -> Self {
        let is_named = |feature: &Feature| names.iter().any(|name| name == feature.as_str());
        Feature::ALL.into_iter().filter(is_named).collect()
    }
}

impl From<Features> for Vec<String> {
    fn from(features: Features) -> Self {
        features.iter().map(|feature| feature.as_str().to_owned()).collect()
    }
}

impl fmt::Display for Features {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.iter().map(Feature::as_str).collect();
        f.write_str(&names.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back_as_written_and_unknown_ones_are_passed_over() {
        let all = serde_json::to_string(&Features::ALL).expect("json");
        assert_eq!(all, r#"["public_network","blocking_log"]"#);
        assert_eq!(serde_json::from_str::<Features>(&all).expect("features"), Features::ALL);
        let read: Features = serde_json::from_str(r#"["time_travel","blocking_log"]"#).expect("features");
        assert_eq!(read, [Feature::BlockingLog].into_iter().collect());
        assert_eq!(Features::ALL.iter().collect::<Vec<_>>(), Feature::ALL);
    }

    #[test]
    fn what_is_lacking_is_named() {
        let known: Features = [Feature::PublicNetwork].into_iter().collect();
        assert_eq!(Features::ALL.without(known).to_string(), "blocking_log");
        assert!(known.without(Features::ALL).is_empty() && Features::default().is_empty());
    }
}
