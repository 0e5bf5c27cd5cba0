//! Where a page of the files of a user ends, as clients are told it and tell it again.

use std::fmt;
use std::str::FromStr;

use shared::error::{ApiError, ErrorCode};
use shared::id::{ElementId, TaskId};

use super::ClusterHandle;
use crate::store::{FileCursor, FileName};

/// A place in a list of files. Written as `<sequence>.<index>.<path in hex>`, or, as a request has no room for a long path, as
/// `<sequence>.<index>.<task>.<BLAKE3 of the path>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileMark {
    /// By the path.
    Path(FileCursor),
    /// By its digest.
    Digest {
        /// Of the submission.
        sequence: u64,
        /// The submission itself, and the element.
        element: ElementId,
        /// Of the path.
        digest: [u8; 32],
    },
}

impl FileMark {
    /// At a file of this submission.
    #[must_use]
    pub fn at(cursor: FileCursor, task: TaskId) -> Self {
        match FileName::digest(&cursor.path) {
            None => Self::Path(cursor),
            Some(digest) => {
                let element = ElementId { task, index: cursor.index };
                Self::Digest { sequence: cursor.sequence, element, digest }
            }
        }
    }
}

impl fmt::Display for FileMark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(cursor) => cursor.fmt(f),
            Self::Digest { sequence, element, digest } => {
                write!(f, "{sequence}.{}.{}.{}", element.index, element.task, hex::encode(digest))
            }
        }
    }
}

impl FromStr for FileMark {
    type Err = <FileCursor as FromStr>::Err;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self::Path).or_else(|error| by_digest(text).ok_or(error))
    }
}

fn by_digest(text: &str) -> Option<FileMark> {
    let parts: Vec<&str> = text.split('.').collect();
    let [sequence, index, task, digits] = parts[..] else { return None };
    let mut digest = [0; 32];
    hex::decode_to_slice(digits, &mut digest).ok()?;
    let element = ElementId { task: task.parse().ok()?, index: index.parse().ok()? };
    Some(FileMark::Digest { sequence: sequence.parse().ok()?, element, digest })
}

impl ClusterHandle {
    /// The place as the store knows it.
    ///
    /// # Errors
    /// The file is not there any more, or the store cannot be read.
    pub(super) async fn place_of(&self, mark: FileMark) -> Result<FileCursor, ApiError> {
        match mark {
            FileMark::Path(cursor) => Ok(cursor),
            FileMark::Digest { sequence, element, digest } => {
                let found = self.files_at(element.into(), FileName::Digest(digest)).await?.pop();
                let found = found.ok_or_else(|| {
                    let message = "cursor: the file that it stands at is not there any more";
                    ApiError::new(ErrorCode::InvalidArgument, message, "begin again with the first page")
                })?;
                Ok(FileCursor { sequence, index: element.index, path: found.file.path })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_reads_back_as_written_and_fits_into_a_request() {
        let task: TaskId = "task-01arz3ndektsv4rrffq69g5fav".parse().expect("an id");
        for length in [1, 4096, 4097, 65_536] {
            let cursor = FileCursor { sequence: 1 << 40, index: 7, path: vec![0xff; length] };
            let mark = FileMark::at(cursor.clone(), task);
            assert_eq!(matches!(mark, FileMark::Path(_)), length <= 4096);
            assert!(mark.to_string().len() < 9_000);
            assert_eq!(mark.to_string().parse::<FileMark>(), Ok(mark));
        }
        let digest = "ab".repeat(32);
        for bad in [
            "",
            "1",
            "1.2",
            "1.2.x",
            "1.2.task-x.00",
            &format!("1.2.{task}.{}", &digest[1..]),
            &format!("x.2.{task}.{digest}"),
        ] {
            assert!(bad.parse::<FileMark>().is_err(), "{bad}");
        }
    }
}
