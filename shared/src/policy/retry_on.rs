//! Failures after which a task runs again.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::task::{Verdict, VerdictKind};

/// A kind of failure, as a text: `exit` (any exit code but 0), `exit:137` (the exit code as a shell shows it, so that 137 is
/// also a KILL and out of memory), `signal`, `signal:9`, `oom`, `timeout`, `disk`, `image`, `setup`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum RetryOn {
    /// An exit code; none: any but 0.
    Exit(Option<u8>),
    /// A signal; none: any.
    Signal(Option<u8>),
    /// Out of memory.
    Oom,
    /// The time limit.
    Timeout,
    /// Out of disk.
    Disk,
    /// The image cannot be had.
    Image,
    /// The container cannot be made or started.
    Setup,
}

impl RetryOn {
    /// Where a task names none: what the command itself did. An image that is not there will not be there later.
    pub const DEFAULT: [Self; 5] = [Self::Exit(None), Self::Signal(None), Self::Oom, Self::Timeout, Self::Disk];

    /// Those without a number.
    const WHOLE: [Self; 7] =
        [Self::Exit(None), Self::Signal(None), Self::Oom, Self::Timeout, Self::Disk, Self::Image, Self::Setup];

    /// Whether a run that ended so failed in this way.
    #[must_use]
    pub fn matches(self, verdict: &Verdict) -> bool {
        let kind = match self {
            Self::Exit(Some(code)) => return verdict.exit_code() == Some(code.into()),
            Self::Signal(Some(number)) => {
                return matches!(verdict, Verdict::Signal { signal, .. } if *signal == i32::from(number));
            }
            Self::Exit(None) => VerdictKind::ExitCode,
            Self::Signal(None) => VerdictKind::Signal,
            Self::Oom => VerdictKind::Oom,
            Self::Timeout => VerdictKind::Timeout,
            Self::Disk => VerdictKind::Disk,
            Self::Image => VerdictKind::Image,
            Self::Setup => VerdictKind::Setup,
        };
        verdict.kind() == kind
    }
}

/// Not a kind of failure.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no failure to retry on: give exit, exit:CODE (1 to 255), signal, signal:NUMBER (1 to 64), oom, timeout, disk, \
     image or setup"
)]
pub struct InvalidRetryOn(String);

impl FromStr for RetryOn {
    type Err = InvalidRetryOn;
    fn from_str(text: &str) -> Result<Self, InvalidRetryOn> {
        let number = |text: &str, most: u8| text.parse().ok().filter(|number| (1..=most).contains(number));
        let found = match text.split_once(':').unwrap_or((text, "")) {
            ("exit", code) if text != "exit" => number(code, 255).map(|code| Self::Exit(Some(code))),
            ("signal", signal) if text != "signal" => number(signal, 64).map(|signal| Self::Signal(Some(signal))),
            _ => Self::WHOLE.into_iter().find(|known| known.to_string() == text),
        };
        found.ok_or_else(|| InvalidRetryOn(text.chars().take(40).collect::<String>().escape_debug().to_string()))
    }
}

impl fmt::Display for RetryOn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exit(None) => f.write_str("exit"),
            Self::Exit(Some(code)) => write!(f, "exit:{code}"),
            Self::Signal(None) => f.write_str("signal"),
            Self::Signal(Some(number)) => write!(f, "signal:{number}"),
            Self::Oom => f.write_str("oom"),
            Self::Timeout => f.write_str("timeout"),
            Self::Disk => f.write_str("disk"),
            Self::Image => f.write_str("image"),
            Self::Setup => f.write_str("setup"),
        }
    }
}

impl From<RetryOn> for String {
    fn from(on: RetryOn) -> Self {
        on.to_string()
    }
}

impl TryFrom<String> for RetryOn {
    type Error = InvalidRetryOn;
    fn try_from(text: String) -> Result<Self, InvalidRetryOn> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_read_back_as_written() {
        for text in ["exit", "exit:137", "signal", "signal:9", "oom", "timeout", "disk", "image", "setup"] {
            assert_eq!(text.parse::<RetryOn>().expect(text).to_string(), text);
        }
        for bad in ["", "any", "exit:", "exit:0", "exit:256", "signal:65", "oom:1", "Exit", "worker_lost"] {
            assert!(bad.parse::<RetryOn>().is_err(), "{bad}");
        }
    }

    #[test]
    fn an_exit_code_is_what_a_shell_shows() {
        let matches = |text: &str, verdict: Verdict| text.parse::<RetryOn>().expect(text).matches(&verdict);
        assert!(matches("exit:137", Verdict::oom(1)));
        assert!(matches("exit:137", Verdict::Signal { signal: 9, by_hand: false }));
        assert!(matches("exit:3", Verdict::ExitCode { exit_code: 3 }));
        assert!(!matches("exit", Verdict::Signal { signal: 9, by_hand: false }));
        assert!(!matches("signal:9", Verdict::Signal { signal: 11, by_hand: false }));
        assert!(!matches("exit", Verdict::Success));
    }
}
