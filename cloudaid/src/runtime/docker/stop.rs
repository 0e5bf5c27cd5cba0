//! The signal that asks a container to end: that of its image, as `docker stop` sends it.

use shared::id::AttemptKey;

use super::DockerRuntime;
use crate::runtime::{RuntimeError, StopSignal};

/// What is sent where nothing else is said.
const USUAL: &str = "SIGTERM";
/// The signals of Linux by their names, without `SIG`.
const NAMES: [&str; 34] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "IOT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM",
    "TERM", "STKFLT", "CHLD", "CLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF",
    "WINCH", "IO", "POLL", "PWR", "SYS",
];
/// Those of them that mean the same as the one before.
const ALIASES: [&str; 3] = ["IOT", "CLD", "POLL"];
/// Realtime signals are numbered from either end.
const FROM_FIRST: u8 = 15;
const FROM_LAST: u8 = 14;
/// The numbers between the last usual and the first realtime signal are the C library's own.
const RESERVED: [u8; 2] = [32, 33];
const LAST: u8 = 64;

impl DockerRuntime {
    /// The engine's id of the container of this attempt, and what it is to be sent.
    pub(super) async fn aim(&self, key: &AttemptKey, signal: StopSignal) -> Result<(String, String), RuntimeError> {
        let id = self.resolve(key).await?;
        let name = match signal {
            StopSignal::Term => {
                let config = self.inspect(&id).await?.config.unwrap_or_default();
                named(config.stop_signal.as_deref().unwrap_or_default())
            }
            StopSignal::Kill => "SIGKILL".to_owned(),
        };
        Ok((id, name))
    }
}

/// A signal as the engine takes it, from what an image says. What is no signal is as if nothing was said. An image that wants
/// KILL gets it at once: its program has no use for a grace.
fn named(text: &str) -> String {
    let text = text.trim().to_ascii_uppercase();
    if let Ok(number) = text.parse::<u8>() {
        let is_signal = (1..=LAST).contains(&number) && !RESERVED.contains(&number);
        return if is_signal { number.to_string() } else { USUAL.to_owned() };
    }
    let name = text.strip_prefix("SIG").unwrap_or(&text);
    if NAMES.contains(&name) || is_realtime(name) { format!("SIG{name}") } else { USUAL.to_owned() }
}

/// The number of what is sent for that.
pub(super) fn number(text: &str) -> i32 {
    let name = named(text);
    if let Ok(number) = name.parse() {
        return number;
    }
    let name = name.strip_prefix("SIG").unwrap_or(&name);
    let digits = |rest: &str| -> i32 { rest.trim_start_matches(['+', '-']).parse().unwrap_or(0) };
    if let Some(rest) = name.strip_prefix("RTMIN") {
        return i32::from(RESERVED[1]) + 1 + digits(rest);
    }
    if let Some(rest) = name.strip_prefix("RTMAX") {
        return i32::from(LAST) - digits(rest);
    }
    let before = NAMES.iter().take_while(|other| **other != name);
    let others = before.filter(|other| !ALIASES.contains(*other)).count();
    i32::try_from(others).unwrap_or(0) + i32::from(!ALIASES.contains(&name))
}

/// `RTMIN`, `RTMIN+3`, `RTMAX-2`, `RTMAX`.
fn is_realtime(name: &str) -> bool {
    let (end, limit, sign) = match (name.strip_prefix("RTMIN"), name.strip_prefix("RTMAX")) {
        (Some(rest), _) => (rest, FROM_FIRST, '+'),
        (None, Some(rest)) => (rest, FROM_LAST, '-'),
        (None, None) => return false,
    };
    let is_near =
        |digits: &str| digits.parse::<u8>().is_ok_and(|n| (1..=limit).contains(&n) && n.to_string() == digits);
    end.is_empty() || end.strip_prefix(sign).is_some_and(is_near)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_is_asked_as_its_image_says() {
        for (said, sent) in [
            ("SIGQUIT", "SIGQUIT"),
            ("QUIT", "SIGQUIT"),
            ("sigint", "SIGINT"),
            ("SIGWINCH", "SIGWINCH"),
            ("SIGKILL", "SIGKILL"),
            ("3", "3"),
            ("37", "37"),
            ("64", "64"),
            ("SIGRTMIN", "SIGRTMIN"),
            ("SIGRTMIN+3", "SIGRTMIN+3"),
            ("RTMAX-14", "SIGRTMAX-14"),
        ] {
            assert_eq!(named(said), sent, "{said}");
        }
    }

    #[test]
    fn each_signal_has_the_number_that_the_engine_tells() {
        for (said, number) in [
            ("", 15),
            ("HUP", 1),
            ("SIGQUIT", 3),
            ("ABRT", 6),
            ("IOT", 6),
            ("BUS", 7),
            ("KILL", 9),
            ("USR1", 10),
            ("CLD", 17),
            ("CONT", 18),
            ("WINCH", 28),
            ("POLL", 29),
            ("SYS", 31),
            ("37", 37),
            ("RTMIN", 34),
            ("SIGRTMIN+3", 37),
            ("RTMAX-14", 50),
            ("RTMAX", 64),
        ] {
            assert_eq!(super::number(said), number, "{said}");
        }
    }

    #[test]
    fn what_is_no_signal_is_term() {
        for said in [
            "", "0", "-3", "32", "65", "999", "SIG", "SIGNOPE", "RTMIN+16", "RTMIN-1", "RTMAX-15", "RTMIN+03", "RTMIN+",
        ] {
            assert_eq!(named(said), "SIGTERM", "{said}");
        }
    }
}
