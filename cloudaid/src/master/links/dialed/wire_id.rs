//! How a run is called towards a worker of the first generation, which knows neither attempts nor fences.

use std::fmt;
use std::str::FromStr;

use shared::error::{ApiError, ErrorCode};
use shared::id::{ElementId, Elements, TaskId, TaskRef};

/// The first run of an element is called as its element, each later one with its number behind: `task-<ulid>`,
/// `task-<ulid>.7`, `task-<ulid>.7-2`. So what a worker still says of an earlier run is never taken for the present one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct WireId {
    pub(super) element: ElementId,
    pub(super) attempt: u32,
}

/// The id of a run, of an element that is shown so.
pub(super) fn name(shown: TaskRef, attempt: u32) -> String {
    if attempt <= 1 { shown.to_string() } else { format!("{shown}-{attempt}") }
}

impl fmt::Display for WireId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} attempt {}", self.element, self.attempt)
    }
}

impl FromStr for WireId {
    type Err = ApiError;
    fn from_str(text: &str) -> Result<Self, ApiError> {
        parse(text).ok_or_else(|| {
            let shown: String = shared::text::printable(text).chars().take(80).collect();
            let message = format!("`{shown}` is not the id of a run of this cluster");
            ApiError::new(ErrorCode::InvalidArgument, message, "name runs as AssignTask has named them")
        })
    }
}

fn parse(text: &str) -> Option<WireId> {
    /// `task-` and a ULID.
    const TASK: usize = 31;
    let (task, rest) = text.split_at_checked(TASK)?;
    let task: TaskId = task.parse().ok()?;
    let (index, attempt) = match rest.split_once('-') {
        None => (rest, 1),
        Some((index, attempt)) => (index, number(attempt).filter(|attempt| *attempt > 1)?),
    };
    let index = match index {
        "" => 0,
        index => match index.strip_prefix('.').and_then(number).map(Elements::One)? {
            Elements::One(index) => index,
            Elements::All | Elements::Range(..) => return None,
        },
    };
    Some(WireId { element: ElementId { task, index }, attempt })
}

fn number(text: &str) -> Option<u32> {
    let is_plain = text == "0" || !text.starts_with('0') && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TASK: &str = "task-01arz3ndektsv4rrffq69g5fav";

    #[test]
    fn runs_are_read_as_they_are_named() {
        let task: TaskId = TASK.parse().expect("an id");
        for (elements, index) in
            [(Elements::All, 0), (Elements::One(0), 0), (Elements::One(1_999_999_999), 1_999_999_999)]
        {
            for attempt in [1, 2, u32::MAX] {
                let name = name(TaskRef { task, elements }, attempt);
                let read: WireId = name.parse().expect("an id");
                assert_eq!(read, WireId { element: ElementId { task, index }, attempt }, "{name}");
            }
        }
        assert_eq!(name(task.into(), 1), TASK);
        assert_eq!(name(ElementId { task, index: 3 }.into(), 2), format!("{TASK}.3-2"));
    }

    #[test]
    fn nothing_else_is_one() {
        for bad in [
            "",
            "task-1",
            "x",
            "-1",
            "-0",
            "-02",
            ".",
            ".x",
            ".1.2",
            ".0-9-2",
            ".01",
            ".-2",
            ".4294967296",
            "-+2",
            "\u{e4}",
        ] {
            assert!(format!("{TASK}{bad}").parse::<WireId>().is_err() || bad.is_empty(), "{bad}");
            assert!(bad.parse::<WireId>().is_err(), "{bad}");
        }
    }
}
