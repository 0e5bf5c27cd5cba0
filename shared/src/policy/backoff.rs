//! The pause before a retry.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::span::Span;

/// Doubles from retry to retry: `10s..5m`. One time alone is always the same pause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Backoff {
    /// Before the first retry.
    pub first: Span,
    /// The longest.
    pub most: Span,
}

impl Backoff {
    /// Where a task says nothing.
    pub const DEFAULT: Self = Self { first: Span::seconds(10), most: Span::seconds(300) };

    /// The pause after so many failures in all; at least one.
    #[must_use]
    pub fn after(self, failures: u32) -> Duration {
        let doublings = failures.saturating_sub(1).min(31);
        self.first.0.saturating_mul(1 << doublings).min(self.most.0)
    }
}

/// Not such a pause.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no pause: give a time, or the first and the longest such as 10s..5m")]
pub struct InvalidBackoff(String);

impl FromStr for Backoff {
    type Err = InvalidBackoff;
    fn from_str(text: &str) -> Result<Self, InvalidBackoff> {
        let (first, most) = text.split_once("..").unwrap_or((text, text));
        match (first.parse(), most.parse()) {
            (Ok(first), Ok(most)) if first <= most => Ok(Self { first, most }),
            _ => Err(InvalidBackoff(text.chars().take(40).collect::<String>().escape_debug().to_string())),
        }
    }
}

impl fmt::Display for Backoff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.most { self.first.fmt(f) } else { write!(f, "{}..{}", self.first, self.most) }
    }
}

impl From<Backoff> for String {
    fn from(backoff: Backoff) -> Self {
        backoff.to_string()
    }
}

impl TryFrom<String> for Backoff {
    type Error = InvalidBackoff;
    fn try_from(text: String) -> Result<Self, InvalidBackoff> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest() {
        let pauses = [1, 2, 3, 5, 6, 7, u32::MAX].map(|failures| Backoff::DEFAULT.after(failures).as_secs());
        assert_eq!(pauses, [10, 20, 40, 160, 300, 300, 300]);
    }

    #[test]
    fn one_time_is_always_the_same() {
        let backoff: Backoff = "5s".parse().expect("a pause");
        assert_eq!(
            (backoff.after(1).as_secs(), backoff.after(9).as_secs(), backoff.to_string().as_str()),
            (5, 5, "5s")
        );
        assert_eq!("0..1m".parse::<Backoff>().expect("a pause").to_string(), "0s..1m");
        for bad in ["", "x", "5m..10s", "1s..", "..1s", "-1s"] {
            assert!(bad.parse::<Backoff>().is_err(), "{bad}");
        }
    }
}
