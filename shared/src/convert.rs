//! The wire form of the messages of [`crate::link`], both ways.
//!
//! To the wire always succeeds. From the wire everything is checked and named by its field when it is wrong: a peer may
//! send anything, and nothing that it sends may panic or pass for something else.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::id::{AttemptKey, Fence};
use crate::link::LogStream;
use crate::proto;
use crate::resources::Resources;
use crate::time::WallTime;

#[cfg(test)]
mod corpus;
mod from_worker;
mod gpu;
mod registry;
mod to_worker;
mod verdict;

/// A message that cannot be taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{field}`: {problem}")]
pub struct InvalidMessage {
    field: &'static str,
    problem: String,
}

impl InvalidMessage {
    fn new(field: &'static str, problem: impl std::fmt::Display) -> Self {
        Self { field, problem: problem.to_string() }
    }

    fn missing(field: &'static str) -> Self {
        Self::new(field, "is missing")
    }

    /// The field at fault, as the .proto file calls it.
    #[must_use]
    pub fn field(&self) -> &'static str {
        self.field
    }
}

impl From<InvalidMessage> for tonic::Status {
    fn from(error: InvalidMessage) -> Self {
        Self::invalid_argument(error.to_string())
    }
}

impl From<AttemptKey> for proto::Attempt {
    fn from(key: AttemptKey) -> Self {
        Self { task_id: key.task.to_string(), index: key.index, attempt: key.attempt, fence: key.fence.0 }
    }
}

impl TryFrom<proto::Attempt> for AttemptKey {
    type Error = InvalidMessage;
    fn try_from(wire: proto::Attempt) -> Result<Self, InvalidMessage> {
        let task = wire.task_id.parse().map_err(|error| InvalidMessage::new("task_id", error))?;
        if wire.attempt == 0 {
            return Err(InvalidMessage::new("attempt", "attempts count from 1"));
        }
        Ok(Self { task, index: wire.index, attempt: wire.attempt, fence: Fence(wire.fence) })
    }
}

/// The attempt that a message names; a message without one is refused.
///
/// # Errors
/// It is missing, or not an attempt.
pub fn attempt_key(wire: Option<proto::Attempt>) -> Result<AttemptKey, InvalidMessage> {
    required("attempt", wire)?.try_into()
}

impl From<Resources> for proto::Resources {
    fn from(resources: Resources) -> Self {
        Self {
            cpu_millis: resources.cpu_millis,
            memory_bytes: resources.memory_bytes,
            storage_bytes: resources.storage_bytes,
            gpu_millis: resources.gpu_millis,
        }
    }
}

impl From<proto::Resources> for Resources {
    fn from(wire: proto::Resources) -> Self {
        Self {
            cpu_millis: wire.cpu_millis,
            memory_bytes: wire.memory_bytes,
            storage_bytes: wire.storage_bytes,
            gpu_millis: wire.gpu_millis,
        }
    }
}

impl From<LogStream> for proto::LogStream {
    fn from(stream: LogStream) -> Self {
        match stream {
            LogStream::Stdout => Self::Stdout,
            LogStream::Stderr => Self::Stderr,
        }
    }
}

impl TryFrom<proto::LogStream> for LogStream {
    type Error = InvalidMessage;
    fn try_from(wire: proto::LogStream) -> Result<Self, InvalidMessage> {
        match wire {
            proto::LogStream::Unspecified => Err(InvalidMessage::new("stream", "is not given")),
            proto::LogStream::Stdout => Ok(Self::Stdout),
            proto::LogStream::Stderr => Ok(Self::Stderr),
        }
    }
}

fn required<T>(field: &'static str, value: Option<T>) -> Result<T, InvalidMessage> {
    value.ok_or_else(|| InvalidMessage::missing(field))
}

/// A number that names a variant.
fn variant<T: TryFrom<i32>>(field: &'static str, number: i32) -> Result<T, InvalidMessage> {
    T::try_from(number).map_err(|_| InvalidMessage::new(field, format_args!("has no value {number}")))
}

/// A text for people or for comparing, never a path: bounded, and without control characters.
fn plain_text(field: &'static str, text: String, limit: usize) -> Result<String, InvalidMessage> {
    if text.len() > limit {
        return Err(InvalidMessage::new(field, format_args!("is longer than {limit} bytes")));
    }
    if text.chars().any(char::is_control) {
        return Err(InvalidMessage::new(field, "holds a control character"));
    }
    Ok(text)
}

fn each<W, T: TryFrom<W, Error = InvalidMessage>>(wire: Vec<W>) -> Result<Vec<T>, InvalidMessage> {
    wire.into_iter().map(T::try_from).collect()
}

fn to_millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

fn from_millis(millis: u32) -> Duration {
    Duration::from_millis(millis.into())
}

fn sorted(map: impl IntoIterator<Item = (String, String)>) -> BTreeMap<String, String> {
    map.into_iter().collect()
}

/// The range that RFC 3339 can show; what lies outside is no time that a clock has shown.
fn wall_time(field: &'static str, millis: i64) -> Result<WallTime, InvalidMessage> {
    const YEAR_9999: i64 = 253_402_207_200_000;
    if (0..=YEAR_9999).contains(&millis) {
        Ok(WallTime(millis))
    } else {
        Err(InvalidMessage::new(field, format_args!("{millis} is not a time")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_read_back_as_written() {
        let task = "task-01arz3ndektsv4rrffq69g5fav".parse().expect("an id");
        let key = AttemptKey { task, index: 7, attempt: 2, fence: Fence(u64::MAX) };
        assert_eq!(AttemptKey::try_from(proto::Attempt::from(key)), Ok(key));
    }

    #[test]
    fn hostile_attempts_are_refused_by_field() {
        let good =
            proto::Attempt { task_id: "task-01arz3ndektsv4rrffq69g5fav".to_owned(), index: 0, attempt: 1, fence: 1 };
        assert!(AttemptKey::try_from(good.clone()).is_ok());
        let hostile = |change: fn(&mut proto::Attempt)| {
            let mut attempt = good.clone();
            change(&mut attempt);
            AttemptKey::try_from(attempt).expect_err("refused").field()
        };
        assert_eq!(hostile(|attempt| attempt.task_id = "../../etc".to_owned()), "task_id");
        assert_eq!(hostile(|attempt| attempt.task_id.clear()), "task_id");
        assert_eq!(hostile(|attempt| attempt.attempt = 0), "attempt");
        assert_eq!(attempt_key(None).expect_err("refused").field(), "attempt");
    }

    #[test]
    fn log_streams_read_back_and_nothing_else_does() {
        for stream in LogStream::ALL {
            assert_eq!(LogStream::try_from(proto::LogStream::from(stream)), Ok(stream));
        }
        assert!(LogStream::try_from(proto::LogStream::Unspecified).is_err());
        assert!(variant::<proto::LogStream>("stream", 3).is_err());
        assert!(variant::<proto::LogStream>("stream", -1).is_err());
    }

    #[test]
    fn resources_read_back_as_written() {
        let resources = Resources { cpu_millis: 1, memory_bytes: 2, storage_bytes: 3, gpu_millis: u64::MAX };
        assert_eq!(Resources::from(proto::Resources::from(resources)), resources);
    }

    #[test]
    fn times_that_no_clock_shows_are_refused() {
        assert_eq!(wall_time("at_unix_ms", 0), Ok(WallTime(0)));
        for millis in [-1, i64::MIN, i64::MAX] {
            assert!(wall_time("at_unix_ms", millis).is_err(), "{millis}");
        }
    }
}
