//! Which logs are stored.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use shared::id::{ElementId, Elements, TaskRef};
use shared::time::WallTime;

use super::frame::{START, read_start};
use crate::clock::wall_of;

/// A log as it is found on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredLog {
    /// Whose.
    pub element: ElementId,
    /// Of which run.
    pub attempt: u32,
    /// Of all its files.
    pub bytes: u64,
    /// When the last of them was written last.
    pub written: WallTime,
}

/// The directories that logs are in.
pub(super) fn shards(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(directory)?.map(|entry| entry.map(|entry| entry.path()));
    let mut shards =
        entries.filter(|path| path.as_ref().map_or(true, |path| path.is_dir())).collect::<io::Result<Vec<_>>>()?;
    shards.sort_unstable();
    Ok(shards)
}

/// The logs in one of them that hold something. What goes while it is looked at is left out.
pub(super) fn of_shard(shard: &Path) -> io::Result<Vec<StoredLog>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(shard)? {
        let path = entry?.path();
        let Some((element, attempt)) = path.file_stem().and_then(|name| parse(name.to_str()?)) else { continue };
        let (bytes, written) = match measure(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            measured => measured?,
        };
        let log = found.entry((element, attempt)).or_insert(StoredLog { element, attempt, bytes: 0, written });
        log.bytes += bytes;
        log.written = log.written.max(written);
    }
    // Of a log that was cleared only its start is left.
    let holds_something = |log: &StoredLog| {
        let first = || shard.join(format!("{}-{}.log", log.element, log.attempt));
        log.bytes > 0 && (log.bytes != START as u64 || !is_only_start(&first()))
    };
    Ok(found.into_values().filter(holds_something).collect())
}

fn is_only_start(path: &Path) -> bool {
    File::open(path).and_then(|mut file| read_start(&mut file)).is_ok_and(|start| start.is_some())
}

/// `<task>.<index>-<attempt>`
fn parse(name: &str) -> Option<(ElementId, u32)> {
    let (element, attempt) = name.rsplit_once('-')?;
    let TaskRef { task, elements: Elements::One(index) } = element.parse().ok()? else { return None };
    Some((ElementId { task, index }, attempt.parse().ok()?))
}

/// Bytes of a file, or of the files of a folder, and when they were written last.
fn measure(path: &Path) -> io::Result<(u64, WallTime)> {
    let metadata = fs::metadata(path)?;
    let mut measured = (if metadata.is_dir() { 0 } else { metadata.len() }, wall_of(metadata.modified()?));
    if metadata.is_dir() {
        for entry in fs::read_dir(path)? {
            let metadata = entry?.metadata()?;
            measured = (measured.0 + metadata.len(), measured.1.max(wall_of(metadata.modified()?)));
        }
    }
    Ok(measured)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_log_is_found_and_a_cleared_one_is_not() {
        let shard = tempfile::tempdir().expect("a directory");
        let name = |index| format!("task-01arz3ndektsv4rrffq69g5fav.{index}-1.log");
        fs::write(shard.path().join(name(0)), [0xC1; START]).expect("as long as a start");
        fs::write(shard.path().join(name(1)), super::super::frame::encode_start(Default::default())).expect("a start");
        fs::write(shard.path().join(name(2)), [0xC1; 31]).expect("one byte");
        fs::write(shard.path().join("other"), "x").expect("no log");
        let found: Vec<_> = of_shard(shard.path()).expect("a list").iter().map(|log| log.element.index).collect();
        assert_eq!(found, [0, 2]);
    }

    #[test]
    fn the_name_says_whose_it_is() {
        let (element, attempt) = parse("task-01arz3ndektsv4rrffq69g5fav.7-12").expect("a name");
        assert_eq!((element.index, attempt), (7, 12));
        for other in ["", "7-1", "task-01arz3ndektsv4rrffq69g5fav-1", "task-01arz3ndektsv4rrffq69g5fav.7-x", "x.7-1"] {
            assert_eq!(parse(other), None, "{other}");
        }
    }
}
