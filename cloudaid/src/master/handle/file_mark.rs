//! Where a page of the files of a user ends, as clients are told it and tell it again.

use std::fmt;
use std::str::FromStr;

use shared::error::{ApiError, ErrorCode};
use shared::id::{Elements, TaskId, UserName};

use super::{ClusterHandle, unreadable};
use crate::store::{FileCursor, FileName, FilePlace};

/// A place in a list of files. Written as `<sequence>.<index>.<run>.<path in hex>`, or, as a request has no room for a long path,
/// as `<sequence>.<index>.<run>.<task>.<BLAKE3 of the path>`. Earlier versions did not name the run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileMark {
    /// Of the submission.
    sequence: u64,
    /// Of the element.
    index: u32,
    /// Of the run; none: of the last one that has any files.
    attempt: Option<u32>,
    file: Marked,
}

/// How the file is named.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Marked {
    /// By its path.
    Path(Vec<u8>),
    /// By the BLAKE3 of its path, and its submission, in which it is looked for.
    Digest { task: TaskId, digest: [u8; 32] },
}

impl FileMark {
    /// At a file of this submission.
    #[must_use]
    pub fn at(cursor: FileCursor, task: TaskId) -> Self {
        let FileCursor { sequence, place: FilePlace { index, attempt, path } } = cursor;
        let file = match FileName::digest(&path) {
            None => Marked::Path(path),
            Some(digest) => Marked::Digest { task, digest },
        };
        Self { sequence, index, attempt, file }
    }
}

impl fmt::Display for FileMark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sequence, index, attempt, file } = self;
        write!(f, "{sequence}.{index}.")?;
        if let Some(attempt) = attempt {
            write!(f, "{attempt}.")?;
        }
        match file {
            Marked::Path(path) => f.write_str(&hex::encode(path)),
            Marked::Digest { task, digest } => write!(f, "{task}.{}", hex::encode(digest)),
        }
    }
}

impl FromStr for FileMark {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        read(text).ok_or("it is none: take it from `next_cursor`")
    }
}

fn read(text: &str) -> Option<FileMark> {
    let parts: Vec<&str> = text.split('.').collect();
    let [sequence, index, rest @ ..] = &parts[..] else { return None };
    // A run, if there is one, stands before the file. No task is called like a number.
    let with_run = rest.split_first().filter(|(_, file)| !file.is_empty());
    let with_run = with_run.and_then(|(run, file)| Some((Some(run.parse::<u32>().ok()?), file)));
    let (attempt, file) = with_run.unwrap_or((None, rest));
    let file = match *file {
        [path] => Marked::Path(hex::decode(path).ok()?),
        [task, digits] => {
            let mut digest = [0; 32];
            hex::decode_to_slice(digits, &mut digest).ok()?;
            Marked::Digest { task: task.parse().ok()?, digest }
        }
        _ => return None,
    };
    Some(FileMark { sequence: sequence.parse().ok()?, index: index.parse().ok()?, attempt, file })
}

impl ClusterHandle {
    /// The place as the store knows it, in the list of the files of `user`.
    ///
    /// # Errors
    /// The file is not there any more, or none of this user's, or the store cannot be read.
    pub(super) async fn place_of(&self, user: &UserName, mark: FileMark) -> Result<FileCursor, ApiError> {
        let FileMark { sequence, index, attempt, file } = mark;
        let path = match file {
            Marked::Path(path) => path,
            Marked::Digest { task, digest } => {
                // Clients write what they like: nobody is told what others have.
                let owned = self.store.find_task(task).await.map_err(|error| unreadable(&error))?;
                if owned.is_none_or(|task| task.record.user != *user) {
                    return Err(gone());
                }
                let name = FileName::Digest(digest);
                let found = self.store.find_files(task, Elements::One(index), attempt, name).await;
                let found = found.map_err(|error| unreadable(&error))?.pop();
                found.ok_or_else(gone)?.file.path
            }
        };
        Ok(FileCursor { sequence, place: FilePlace { index, attempt, path } })
    }
}

fn gone() -> ApiError {
    let message = "cursor: the file that it stands at is not there any more";
    ApiError::new(ErrorCode::InvalidArgument, message, "begin again with the first page")
}

#[cfg(test)]
mod tests {
    use cloudaid_core::record::Change;

    use super::*;
    use crate::master::logs::LogStore;
    use crate::store::contract::fixture;

    fn task() -> TaskId {
        "task-01arz3ndektsv4rrffq69g5fav".parse().expect("an id")
    }

    fn mark(attempt: Option<u32>, path: &[u8]) -> FileMark {
        let place = FilePlace { index: 7, attempt, path: path.to_vec() };
        FileMark::at(FileCursor { sequence: 1 << 40, place }, task())
    }

    #[test]
    fn a_mark_reads_back_as_written_and_fits_into_a_request() {
        for length in [0, 1, 4096, 4097, 65_536] {
            for attempt in [None, Some(0), Some(u32::MAX)] {
                let mark = mark(attempt, &vec![0xff; length]);
                assert_eq!(matches!(mark.file, Marked::Path(_)), length <= 4096);
                assert!(mark.to_string().len() < 9_000);
                assert_eq!(mark.to_string().parse::<FileMark>(), Ok(mark));
            }
        }
        let digest = "ab".repeat(32);
        for bad in [
            "",
            "1",
            "1.2",
            "1.2.x",
            "1.2.3.6",
            "1.2.-1.61",
            "1.2.3.4.61",
            "x.2.3.61",
            "1.2.task-x.00",
            "1.2.3.task-x.00",
            &format!("1.2.{}.{}", task(), &digest[1..]),
            &format!("1.2.3.4.{}.{digest}", task()),
            &format!("x.2.{}.{digest}", task()),
        ] {
            assert!(bad.parse::<FileMark>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_mark_is_written_with_its_run_and_read_without_it_too() {
        let long = [b'a'; 5000];
        let by_digest = format!("{}.{}", task(), blake3::hash(&long).to_hex());
        let files = [(b"a/b".as_slice(), "612f62"), (b"\x12".as_slice(), "12"), (long.as_slice(), by_digest.as_str())];
        for (path, file) in files {
            assert_eq!(mark(Some(2), path).to_string(), format!("1099511627776.7.2.{file}"));
            // As earlier versions have written it.
            assert_eq!(format!("1099511627776.7.{file}").parse::<FileMark>(), Ok(mark(None, path)));
        }
    }

    #[tokio::test]
    async fn a_mark_in_a_task_of_somebody_else_is_like_one_that_is_gone() {
        let scratch = tempfile::tempdir().expect("a directory");
        let cluster = ClusterHandle::detached(LogStore::open(scratch.path()).expect("logs"));
        let (key, path) = (fixture::attempt(1, 0, 1, "w1").key, vec![b'a'; 5000]);
        let task = fixture::task(1);
        let files = Change::Files(key, [fixture::file(&path, 1)].into());
        fixture::commit(&*cluster.store, vec![Change::NewTask(task.clone()), files]).await;
        let cursor =
            |path| FileCursor { sequence: task.sequence, place: FilePlace { index: 0, attempt: Some(1), path } };
        let mark = |path| FileMark::at(cursor(path), key.task);
        let owner = cluster.place_of(&task.user, mark(path.clone())).await;
        assert_eq!(owner.expect("it is there"), cursor(path.clone()));
        let other = fixture::user_name("bob");
        let of_other = cluster.place_of(&other, mark(path.clone())).await.expect_err("it is ada's");
        let missing = cluster.place_of(&task.user, mark(vec![b'b'; 5000])).await.expect_err("there is none");
        assert_eq!((of_other.code, &of_other.message), (missing.code, &missing.message));
        // Neither does it matter whether there is such a task.
        let none = FileMark::at(cursor(path), fixture::task_id(9));
        let none = cluster.place_of(&other, none).await.expect_err("there is no such task");
        assert_eq!((none.code, &none.message), (missing.code, &missing.message));
    }
}
