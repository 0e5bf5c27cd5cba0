//! Whose files are meant.

use std::fmt;
use std::str::FromStr;

use crate::id::{InputId, TaskRef};
use crate::text::printable;

/// The longest path of an output file, in bytes. The kernel takes no more than 4,095 at once, but programs that go down folder
/// by folder make longer ones.
pub const PATH_LIMIT: usize = 64 * 1024;
/// A longer path, in bytes, does not fit into every request: the file is also named by the BLAKE3 of its path (`path_blake3`).
pub const PLAIN_PATH: usize = 4096;

/// What files can belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FilesOf {
    /// What a task, or elements of it, wrote.
    Task(TaskRef),
    /// What a user has uploaded.
    Input(InputId),
}

/// Neither the id of a task nor that of an input.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is neither the id of a task (`task-...`, `task-....7` for one element) nor that of an input (`input-...`)"
)]
pub struct UnknownFiles(String);

impl FromStr for FilesOf {
    type Err = UnknownFiles;
    fn from_str(text: &str) -> Result<Self, UnknownFiles> {
        let task = text.parse().map(Self::Task);
        let parsed = task.or_else(|_| text.parse().map(Self::Input));
        parsed.map_err(|_| UnknownFiles(printable(&text.chars().take(80).collect::<String>())))
    }
}

impl fmt::Display for FilesOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Task(task) => task.fmt(f),
            Self::Input(input) => input.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prefix_tells_what_it_is() {
        let ulid = "01arz3ndektsv4rrffq69g5fav";
        for (text, is_task) in
            [(format!("task-{ulid}"), true), (format!("task-{ulid}.7"), true), (format!("input-{ulid}"), false)]
        {
            let of: FilesOf = text.parse().expect(&text);
            assert_eq!((of.to_string(), matches!(of, FilesOf::Task(_))), (text, is_task));
        }
        for bad in
            ["", "input-", "input-x", &format!("input-{ulid}.7"), ulid, &format!("input-{}", ulid.to_uppercase())]
        {
            assert!(bad.parse::<FilesOf>().is_err(), "{bad}");
        }
    }
}
