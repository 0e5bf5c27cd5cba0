//! What users keep: how much of it there is, and what they have uploaded for tasks to read.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use shared::id::{BlobId, ElementId, InputId, TaskId, UserName};
use shared::role::Role;
use shared::time::WallTime;

use crate::cluster::Cluster;
use crate::reject::Reject;

/// An amount of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct FileUsage {
    /// Of all contents together.
    pub bytes: u64,
    /// How many.
    pub files: u64,
}

impl FileUsage {
    /// Of files of these sizes.
    pub fn of(sizes: impl IntoIterator<Item = u64>) -> Self {
        sizes.into_iter().fold(Self::default(), |usage, bytes| usage.plus(Self { bytes, files: 1 }))
    }

    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self { bytes: self.bytes.saturating_add(other.bytes), files: self.files.saturating_add(other.files) }
    }

    /// Without `other`; never less than nothing.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        Self { bytes: self.bytes.saturating_sub(other.bytes), files: self.files.saturating_sub(other.files) }
    }

    /// Whether neither is more than `quota` has.
    #[must_use]
    pub fn fits(self, quota: Self) -> bool {
        self.bytes <= quota.bytes && self.files <= quota.files
    }
}

/// Files that a user has uploaded, for tasks to read at /input. They never change once all of them have arrived.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputRecord {
    /// Its id.
    pub id: InputId,
    /// Whose it is.
    pub user: UserName,
    /// As announced.
    pub size: FileUsage,
    /// Files that have not arrived.
    pub missing: u64,
    /// When it was announced.
    pub created_at: WallTime,
    /// When it last changed, or a task that reads it began or ended.
    pub used_at: WallTime,
}

/// A file of an input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputFile {
    /// Relative to /input; any bytes but NUL. Data only, never part of a path on the master's disk.
    pub path: Vec<u8>,
    /// Bytes.
    pub size: u64,
    /// Whether it is a program.
    pub executable: bool,
    /// Where its content is kept.
    pub blob: BlobId,
    /// Of the content; none: it has not arrived.
    pub blake3: Option<[u8; 32]>,
}

/// How far the upload of the output files of a run is. Until it has ended, what is known of them is for nobody to see.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UploadRecord {
    /// What has arrived.
    pub size: FileUsage,
    /// A digest of the names and sizes of what has arrived, in its order.
    pub chain: [u8; 32],
    /// The large file that was arriving.
    pub open: Option<OpenFile>,
}

/// A large file of which the end has not come; those of its bytes that have are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenFile {
    /// Relative to /output.
    pub path: Vec<u8>,
    /// Bytes, as announced.
    pub size: u64,
    /// Where its content is kept.
    pub blob: BlobId,
}

/// An output file that is no more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GoneFile {
    /// Of what.
    pub element: ElementId,
    /// Of which run.
    pub attempt: u32,
    /// Which.
    pub path: Vec<u8>,
    /// Bytes.
    pub size: u64,
    /// Where its content is; none: under its BLAKE3, maybe with that of others.
    pub blob: Option<BlobId>,
    /// Whether other contents are there too.
    #[serde(default)]
    pub shared: bool,
}

impl GoneFile {
    /// What is still kept of it; none: with that of others, so that it goes with all files of the run.
    #[must_use]
    pub fn leftover(&self) -> Option<Leftover> {
        let Self { element, attempt, size, blob, shared, .. } = *self;
        blob.filter(|_| !shared).map(|blob| Leftover::Blob { element, attempt, blob, size })
    }
}

/// What is still kept although nothing names it any more. As text: `<task>`, `<input>`, `<element>/<attempt>`, or
/// `<element>/<attempt>/<blob>/<size>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Leftover {
    /// Logs and files of a task.
    Task(TaskId),
    /// All files of an input.
    Input(InputId),
    /// All output files of a run.
    Run(ElementId, u32),
    /// A content.
    Blob {
        /// Of what.
        element: ElementId,
        /// Of which run.
        attempt: u32,
        /// Which.
        blob: BlobId,
        /// Bytes.
        size: u64,
    },
}

impl fmt::Display for Leftover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Task(task) => task.fmt(f),
            Self::Input(input) => input.fmt(f),
            Self::Run(element, attempt) => write!(f, "{element}/{attempt}"),
            Self::Blob { element, attempt, blob, size } => write!(f, "{element}/{attempt}/{blob}/{size}"),
        }
    }
}

impl FromStr for Leftover {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const UNKNOWN: &str = "neither a task, nor an input, nor a blob";
        if let Ok(task) = text.parse() {
            return Ok(Self::Task(task));
        }
        if let Ok(input) = text.parse() {
            return Ok(Self::Input(input));
        }
        let mut parts = text.split('/');
        let element = parts.next().and_then(|part| part.rsplit_once('.'));
        let element =
            element.and_then(|(task, index)| Some(ElementId { task: task.parse().ok()?, index: index.parse().ok()? }));
        let (attempt, blob, size) = (parts.next(), parts.next(), parts.next());
        let parsed = || {
            let (element, attempt) = (element?, attempt?.parse().ok()?);
            Some(match blob {
                None => Self::Run(element, attempt),
                Some(blob) => Self::Blob { element, attempt, blob: blob.parse().ok()?, size: size?.parse().ok()? },
            })
        };
        parsed().ok_or(UNKNOWN)
    }
}

impl Cluster {
    /// What a user keeps.
    #[must_use]
    pub fn file_usage(&self, user: &UserName) -> FileUsage {
        self.file_usage.get(user).copied().unwrap_or_default()
    }

    /// How much a user may keep; none: as much as they like.
    #[must_use]
    pub fn file_quota(&self, user: &UserName) -> Option<FileUsage> {
        let is_admin = self.users.get(user).is_some_and(|record| record.role == Role::Admin);
        (!is_admin).then_some(self.settings.file_quota)
    }

    /// How much more a user may keep; none: as much as they like.
    #[must_use]
    pub fn file_room(&self, user: &UserName) -> Option<FileUsage> {
        self.file_quota(user).map(|quota| quota.minus(self.file_usage(user)))
    }

    /// An input; none: there is no such.
    #[must_use]
    pub fn input(&self, id: InputId) -> Option<&InputRecord> {
        self.inputs.get(&id)
    }

    /// All inputs, the oldest first.
    pub fn inputs(&self) -> impl DoubleEndedIterator<Item = &InputRecord> {
        self.inputs.values()
    }

    /// Whether a content of an input has not arrived.
    #[must_use]
    pub fn is_missing(&self, id: InputId, blob: BlobId) -> bool {
        self.missing.get(&id).is_some_and(|missing| missing.contains(&blob))
    }

    /// How many tasks that have not ended read an input.
    #[must_use]
    pub fn input_readers(&self, id: InputId) -> u32 {
        self.input_readers.get(&id).copied().unwrap_or_default()
    }

    /// Whether there is room for more of a user's files.
    pub(crate) fn check_room(&self, user: &UserName, more: FileUsage) -> Result<(), Reject> {
        match self.file_room(user) {
            Some(room) if !more.fits(room) => {
                Err(Reject::QuotaExceeded { user: user.clone(), more, room, quota: self.settings.file_quota })
            }
            Some(_) | None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leftovers_read_back_as_written() {
        let ulid = "01arz3ndektsv4rrffq69g5fav";
        let run = format!("task-{ulid}.7/2");
        for text in [format!("task-{ulid}"), format!("input-{ulid}"), format!("{run}/{ulid}/12"), run] {
            assert_eq!(text.parse::<Leftover>().expect(&text).to_string(), text);
        }
        for bad in ["", "task-", "x/1", "task-01arz3ndektsv4rrffq69g5fav.7/2/x"] {
            assert!(bad.parse::<Leftover>().is_err(), "{bad}");
        }
    }

    #[test]
    fn usage_has_both_parts() {
        let usage = FileUsage::of([1, 2, 3]);
        assert_eq!(usage, FileUsage { bytes: 6, files: 3 });
        assert!(usage.fits(usage) && !usage.fits(FileUsage { files: 2, ..usage }));
        assert!(!usage.fits(FileUsage { bytes: 5, ..usage }));
        assert_eq!(FileUsage::default().minus(usage), FileUsage::default());
    }
}
