//! A length of time, as people write it.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::de::{Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// In JSON a text such as `90s`, `10m` or `1h30m`, and as input also a number of seconds. Kept to the millisecond.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Span(pub Duration);

impl Span {
    /// So many seconds.
    #[must_use]
    pub const fn seconds(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// In seconds, a part of one as a whole.
    #[must_use]
    pub fn whole_seconds(self) -> u64 {
        self.0.as_secs() + u64::from(self.0.subsec_nanos() > 0)
    }
}

/// Not a length of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("give a time such as 90s, 10m or 2h")]
pub struct InvalidSpan;

impl FromStr for Span {
    type Err = InvalidSpan;
    /// `90s`, `10m`, `1h30m`, `7d`; a plain number is seconds.
    fn from_str(text: &str) -> Result<Self, InvalidSpan> {
        let seconds = text.parse().ok().and_then(from_seconds);
        let span = || text.parse::<jiff::SignedDuration>().ok().and_then(|span| Duration::try_from(span).ok());
        let days =
            || text.strip_suffix('d')?.parse::<u32>().ok().map(|days| Duration::from_secs(u64::from(days) * 86_400));
        seconds.or_else(span).or_else(days).map(|span| Self(whole_millis(span))).ok_or(InvalidSpan)
    }
}

fn from_seconds(seconds: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(seconds).ok()
}

fn whole_millis(span: Duration) -> Duration {
    Duration::from_millis(u64::try_from(span.as_millis()).unwrap_or(u64::MAX))
}

impl fmt::Display for Span {
    /// In hours, minutes, seconds and milliseconds, those that are not zero: `1h30m`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0.as_millis();
        let mut text = String::new();
        for (factor, unit) in [(3_600_000, "h"), (60_000, "m"), (1000, "s"), (1, "ms")] {
            if rest >= factor {
                text += &format!("{}{unit}", rest / factor);
                rest %= factor;
            }
        }
        f.pad(if text.is_empty() { "0s" } else { &text })
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl Visitor<'_> for Either {
            type Value = Span;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a time such as \"90s\", \"10m\" or \"2h\", or a number of seconds")
            }
            fn visit_f64<E: serde::de::Error>(self, seconds: f64) -> Result<Span, E> {
                let span = from_seconds(seconds).map(|span| Span(whole_millis(span)));
                span.ok_or_else(|| E::invalid_value(Unexpected::Float(seconds), &self))
            }
            fn visit_u64<E>(self, seconds: u64) -> Result<Span, E> {
                Ok(Span::seconds(seconds))
            }
            fn visit_i64<E: serde::de::Error>(self, seconds: i64) -> Result<Span, E> {
                let known = u64::try_from(seconds).map(Span::seconds);
                known.map_err(|_| E::invalid_value(Unexpected::Signed(seconds), &self))
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Span, E> {
                text.parse().map_err(|_| E::invalid_value(Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_as_people_write_them() {
        for (text, millis) in [
            ("90", 90_000),
            ("1.5", 1500),
            ("90s", 90_000),
            ("10m", 600_000),
            ("1h30m", 5_400_000),
            ("250ms", 250),
            ("7d", 604_800_000),
        ] {
            assert_eq!(text.parse(), Ok(Span(Duration::from_millis(millis))), "{text}");
        }
        for bad in ["", "soon", "-1", "-5m", "1e300", "NaN", "1w3q"] {
            assert!(bad.parse::<Span>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_part_of_a_second_counts_as_one() {
        let seconds = [0, 1, 1000, 1001].map(|millis| Span(Duration::from_millis(millis)).whole_seconds());
        assert_eq!(seconds, [0, 1, 1, 2]);
    }

    #[test]
    fn what_is_written_reads_back() {
        for (millis, text) in [(0, "0s"), (250, "250ms"), (90_000, "1m30s"), (90_061_001, "25h1m1s1ms")] {
            let span = Span(Duration::from_millis(millis));
            assert_eq!(span.to_string(), text);
            assert_eq!(serde_json::from_str(&format!("\"{text}\"")).ok(), Some(span));
        }
        assert_eq!(serde_json::from_str::<Span>("1.5").ok(), Some(Span(Duration::from_millis(1500))));
        for bad in ["-1", "\"x\"", "1e300", "null", "[]"] {
            assert!(serde_json::from_str::<Span>(bad).is_err(), "{bad}");
        }
    }
}
