//! Ids. Each kind is a type of its own, made once at the edge and valid from then on.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use ulid::Ulid;

/// A text that is not the id it should be. The message says what was expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {expected}")]
pub struct InvalidId {
    text: String,
    expected: &'static str,
}

impl InvalidId {
    fn new(text: &str, expected: &'static str) -> Self {
        let text = text.chars().take(80).collect::<String>().escape_debug().to_string();
        Self { text, expected }
    }
}

macro_rules! serde_as_text {
    ($type:ty) => {
        impl Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

const TASK_PREFIX: &str = "task-";
const TASK_FORM: &str =
    "a task id (`task-` and 26 letters and digits; `.7` behind it for one element, `.0-9` for several)";

fn write_prefixed(f: &mut fmt::Formatter<'_>, prefix: &str, ulid: Ulid) -> fmt::Result {
    let mut buffer = [0; ulid::ULID_LEN];
    let text = ulid.array_to_str(&mut buffer);
    text.make_ascii_lowercase();
    f.write_str(prefix)?;
    f.write_str(text)
}

/// Each id has one text: what is in upper case is none.
fn parse_prefixed(text: &str, prefix: &str) -> Option<Ulid> {
    let digits = text.strip_prefix(prefix)?;
    if digits.len() != ulid::ULID_LEN || digits.bytes().any(|b| b.is_ascii_uppercase()) {
        return None;
    }
    Ulid::from_string(&digits.to_ascii_uppercase()).ok()
}

/// A submission: an array of 1..N elements with one specification. `task-<ulid in lower case>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskId(pub Ulid);

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_prefixed(f, TASK_PREFIX, self.0)
    }
}

impl FromStr for TaskId {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        parse_prefixed(text, TASK_PREFIX).map(Self).ok_or_else(|| InvalidId::new(text, TASK_FORM))
    }
}

serde_as_text!(TaskId);

/// One element of a submission: `task-<ulid>.<index>`. A plain task is element 0 of an array of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ElementId {
    /// The submission.
    pub task: TaskId,
    /// 0-based.
    pub index: u32,
}

impl fmt::Display for ElementId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.task, self.index)
    }
}

/// What a person may write for a task: the whole submission, one element of it, or several.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TaskRef {
    /// The submission.
    pub task: TaskId,
    /// Which of its elements.
    pub elements: Elements,
}

/// Elements of a submission.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Elements {
    /// None was named: all there are.
    #[default]
    All,
    /// The one with this index.
    One(u32),
    /// Those from the first to the last index, both included, that there are.
    Range(u32, u32),
}

impl Elements {
    /// The smallest and the largest index that may be meant.
    #[must_use]
    pub fn bounds(self) -> (u32, u32) {
        match self {
            Self::All => (0, u32::MAX - 1),
            Self::One(index) => (index, index),
            Self::Range(first, last) => (first, last),
        }
    }

    /// Whether the element with this index is meant.
    #[must_use]
    pub fn include(self, index: u32) -> bool {
        let (first, last) = self.bounds();
        (first..=last).contains(&index)
    }
}

impl fmt::Display for TaskRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.task.fmt(f)?;
        match self.elements {
            Elements::All => Ok(()),
            Elements::One(index) => write!(f, ".{index}"),
            Elements::Range(first, last) => write!(f, ".{first}-{last}"),
        }
    }
}

impl From<TaskId> for TaskRef {
    fn from(task: TaskId) -> Self {
        Self { task, elements: Elements::All }
    }
}

impl From<ElementId> for TaskRef {
    fn from(element: ElementId) -> Self {
        Self { task: element.task, elements: Elements::One(element.index) }
    }
}

impl FromStr for TaskRef {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let Some((task, elements)) = text.split_once('.') else { return Ok(text.parse::<TaskId>()?.into()) };
        let number = |digits: &str| {
            let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
            digits.parse::<u32>().ok().filter(|index| plain && *index < u32::MAX)
        };
        let elements = match elements.split_once('-') {
            None => number(elements).map(Elements::One),
            Some((first, last)) => number(first).zip(number(last)).and_then(|(first, last)| match first.cmp(&last) {
                std::cmp::Ordering::Less => Some(Elements::Range(first, last)),
                std::cmp::Ordering::Equal => Some(Elements::One(first)),
                std::cmp::Ordering::Greater => None,
            }),
        };
        Ok(Self { task: task.parse()?, elements: elements.ok_or_else(|| InvalidId::new(text, TASK_FORM))? })
    }
}

serde_as_text!(TaskRef);

/// `fence = epoch << 32 | counter`: grows strictly over the whole life of a cluster, restarts included, because every
/// start of a master raises the epoch. What carries an older fence changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Fence(pub u64);

impl Fence {
    /// The fence number `counter` of the master start number `epoch`.
    #[must_use]
    pub fn new(epoch: Epoch, counter: u32) -> Self {
        Self((u64::from(epoch.0) << 32) | u64::from(counter))
    }
}

impl fmt::Display for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Counts the starts of masters of a cluster (and restores of its state). Starts at 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Epoch(pub u32);

/// One run of one element, as every message, upload and container label names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AttemptKey {
    /// The submission.
    pub task: TaskId,
    /// The element.
    pub index: u32,
    /// 1 for the first run of this element.
    pub attempt: u32,
    /// Given by the master with the assignment.
    pub fence: Fence,
}

impl AttemptKey {
    /// The element that this is a run of.
    #[must_use]
    pub fn element(&self) -> ElementId {
        ElementId { task: self.task, index: self.index }
    }
}

impl fmt::Display for AttemptKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} attempt {}", self.element(), self.attempt)
    }
}

/// The longest name of a worker or user, in characters.
pub const NAME_LIMIT: usize = 63;

macro_rules! name_type {
    ($(#[$doc:meta])* $type:ident, $form:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $type(std::sync::Arc<str>);

        impl $type {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl FromStr for $type {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                let first = text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
                let rest = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
                if first && rest && text.len() <= NAME_LIMIT {
                    Ok(Self(text.into()))
                } else {
                    Err(InvalidId::new(text, $form))
                }
            }
        }

        serde_as_text!($type);
    };
}

name_type!(
    /// The name of a worker, unique in its cluster.
    WorkerId,
    "a worker name (a letter or digit, then up to 62 letters, digits, `.`, `_` or `-`)"
);
name_type!(
    /// The name of a user, unique in its cluster.
    UserName,
    "a user name (a letter or digit, then up to 62 letters, digits, `.`, `_` or `-`)"
);

macro_rules! ulid_type {
    ($(#[$doc:meta])* $type:ident, $form:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $type(pub Ulid);

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0.to_string().to_ascii_lowercase())
            }
        }

        impl FromStr for $type {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                let ulid = Ulid::from_string(&text.to_ascii_uppercase());
                ulid.map(Self).map_err(|_| InvalidId::new(text, $form))
            }
        }

        serde_as_text!($type);
    };
}

ulid_type!(
    /// Names a cluster for ever; containers carry it, so that two clusters can share an engine.
    ClusterId,
    "a cluster id"
);
ulid_type!(
    /// The content of a file, where it is kept. Never taken from a client.
    BlobId,
    "the id of a blob"
);
ulid_type!(
    /// A personal token; no secret.
    TokenId,
    "the id of a token"
);
ulid_type!(
    /// A login: from the password until its end; no secret.
    LoginId,
    "the id of a login"
);

const INPUT_PREFIX: &str = "input-";
const INPUT_FORM: &str = "the id of an input (`input-` and 26 letters and digits)";

/// Files that a user has uploaded for tasks to read. `input-<ulid in lower case>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InputId(pub Ulid);

impl fmt::Display for InputId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_prefixed(f, INPUT_PREFIX, self.0)
    }
}

impl FromStr for InputId {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        parse_prefixed(text, INPUT_PREFIX).map(Self).ok_or_else(|| InvalidId::new(text, INPUT_FORM))
    }
}

serde_as_text!(InputId);

/// Ties an answer to the caller who waits for it. The channel itself stays outside the core.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// One connection of one worker. Grows, so of two sessions the larger is the newer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u64);

#[cfg(test)]
mod tests {
    use super::*;

    const TASK: &str = "task-01arz3ndektsv4rrffq69g5fav";

    #[test]
    fn task_ids_read_back_as_written() {
        let id: TaskId = TASK.parse().expect("a valid id");
        assert_eq!(id.to_string(), TASK);
        let element: TaskRef = format!("{TASK}.7").parse().expect("a valid element");
        assert_eq!(element, TaskRef { task: id, elements: Elements::One(7) });
        assert_eq!(element.to_string(), format!("{TASK}.7"));
        let range: TaskRef = format!("{TASK}.3-12").parse().expect("valid elements");
        assert_eq!(range, TaskRef { task: id, elements: Elements::Range(3, 12) });
        assert_eq!(range.to_string(), format!("{TASK}.3-12"));
        assert_eq!(format!("{TASK}.5-5").parse::<TaskRef>().expect("one element").elements, Elements::One(5));
    }

    #[test]
    fn what_is_not_a_task_id_is_refused() {
        for text in ["", "task-", "task-1", "01arz3ndektsv4rrffq69g5fav", "task-01ARZ3NDEKTSV4RRFFQ69G5FAV", "../etc"] {
            assert!(text.parse::<TaskRef>().is_err(), "{text}");
        }
        for suffix in [".", ".x", ".-1", ".+1", ".4294967295", ".4294967296", ".1.2", ".2-1", ".1-", ".1-2-3"] {
            assert!(format!("{TASK}{suffix}").parse::<TaskRef>().is_err(), "{suffix}");
        }
    }

    #[test]
    fn names_are_checked() {
        for good in ["worker-1", "a", "N1.example_x"] {
            assert!(good.parse::<WorkerId>().is_ok(), "{good}");
        }
        let long = "x".repeat(NAME_LIMIT + 1);
        for bad in ["", "-x", ".", "a b", "a/b", "ü", "a\n", long.as_str()] {
            assert!(bad.parse::<WorkerId>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_later_epoch_gives_a_larger_fence() {
        assert!(Fence::new(Epoch(2), 0) > Fence::new(Epoch(1), u32::MAX));
    }
}
