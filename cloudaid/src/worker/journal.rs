//! What a worker must not forget: an append-only file of checked frames.
//!
//! `length u32, checksum u32, JSON` each, little-endian, behind a header. A batch of records is one write and one
//! fdatasync. A tail that was torn by a crash was never durable and is cut. When most of the file speaks of runs that
//! are gone it is rewritten. Some of the disk is kept for what comes next: a disk that is full must not end a worker.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use cloudaid_core::agent::{JournalEntry, JournalRecord};
use rustix::fs::{FallocateFlags, fallocate};
use shared::id::AttemptKey;

use super::data_dir::{failed, replace, sync_parent};
use super::error::WorkerError;
use crate::failpoint;

/// The first bytes of the file; the last but one counts versions.
const HEADER: &[u8; 8] = b"CLAIJ\0\x01\n";
const FRAME_HEAD: usize = 8;
/// Ends the name of the file with what was cut off last.
const CUT: &str = "cut";
/// No record is longer: what says so is no record.
const FRAME_LIMIT: usize = 64 << 20;
/// A file with fewer records is not worth rewriting.
const COMPACT_FROM: usize = 8192;
/// It is rewritten when it holds this many times the records that are still needed.
const COMPACT_FACTOR: usize = 8;

/// Bytes of the disk that are kept for what comes next, and how few of them may be left.
const RESERVE: u64 = 4 << 20;
const RESERVE_LEAST: u64 = 1 << 20;

/// The open journal.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    file: File,
    /// What all records add up to.
    entries: BTreeMap<AttemptKey, JournalEntry>,
    /// Records in the file.
    records: usize,
    /// From how many on it is worth rewriting.
    compact_from: usize,
    /// Bytes of the file, and up to where the disk has room for it.
    length: u64,
    reserved: u64,
    is_damaged: bool,
}

impl Journal {
    /// Reads what is there; makes it if there is none.
    pub(super) fn open(directory: &Path) -> Result<Self, WorkerError> {
        let path = directory.join("journal");
        let content = match fs::read(&path) {
            Ok(content) => content,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(source) => return Err(failed(&path, source)),
        };
        // A crash may have left less than a header, but never something else.
        if !content.starts_with(HEADER) && !HEADER.starts_with(&content) {
            let problem = "it does not begin like a journal of this version".to_owned();
            return Err(WorkerError::Unreadable { path, problem });
        }
        let mut entries = BTreeMap::new();
        let (records, good) = match content.get(HEADER.len()..) {
            Some(frames) => replay(frames, &mut entries),
            None => (0, 0),
        };
        let is_damaged = content.len() != HEADER.len() + good;
        let file = Self::prepare(&path, &content, HEADER.len() + good).map_err(|source| failed(&path, source))?;
        let mut journal =
            Self { path, file, entries, records, compact_from: COMPACT_FROM, length: 0, reserved: 0, is_damaged };
        journal.measure().map_err(|source| failed(&journal.path, source))?;
        Ok(journal)
    }

    /// Whether it was not there when it was opened, or not whole: runs may be missing in it.
    pub(super) fn is_damaged(&self) -> bool {
        self.is_damaged
    }

    /// Opens the file to append behind its good part.
    fn prepare(path: &Path, content: &[u8], good: usize) -> io::Result<File> {
        let file = File::options().create(true).append(true).open(path)?;
        if content.len() > good {
            let bytes = content.len() - good;
            // A crash tears the last frame; a disk may damage any, and then good ones are behind it. The containers of their
            // runs are found by their labels, and a person can look at the rest.
            let kept = path.with_extension(CUT);
            let kept = match replace(&kept, content.get(good..).unwrap_or_default()) {
                Ok(()) => kept.display().to_string(),
                // On a full disk a worker that starts is worth more.
                Err(error) => format!("nowhere: {error}"),
            };
            let path = path.display();
            tracing::warn!(%path, bytes, kept, "The end of the journal cannot be read (a crash may have torn it) and is cut off");
            file.set_len(good as u64)?;
            file.sync_all()?;
        } else if content.len() < HEADER.len() {
            file.set_len(0)?;
            (&file).write_all(HEADER)?;
            file.sync_all()?;
            sync_parent(path)?;
        }
        Ok(file)
    }

    /// What is known of each run.
    pub(super) fn entries(&self) -> Vec<JournalEntry> {
        self.entries.values().cloned().collect()
    }

    /// Makes all records durable. After an error the file cannot be trusted any more: the process must end, and the
    /// next one reads what is there.
    pub(super) fn append(&mut self, records: &[JournalRecord]) -> Result<(), WorkerError> {
        let write = |file: &mut File| -> io::Result<u64> {
            let mut frames = Vec::with_capacity(records.len() * 256);
            records.iter().try_for_each(|record| encode(record, &mut frames))?;
            file.write_all(&frames)?;
            failpoint::hit("worker.journal.before");
            file.sync_data()?;
            failpoint::hit("worker.journal.after");
            Ok(frames.len() as u64)
        };
        let written = write(&mut self.file).map_err(|source| failed(&self.path, source))?;
        self.length += written;
        if self.length + RESERVE_LEAST > self.reserved {
            self.reserve();
        }
        records.iter().for_each(|record| record.apply(&mut self.entries));
        self.records += records.len();
        if self.records >= self.compact_from && self.records > COMPACT_FACTOR * 4 * self.entries.len() {
            self.compact_from = match self.rewrite() {
                Ok(()) => {
                    self.file =
                        File::options().append(true).open(&self.path).map_err(|source| failed(&self.path, source))?;
                    self.measure().map_err(|source| failed(&self.path, source))?;
                    COMPACT_FROM
                }
                // The old one is as good, only longer. A full disk is no reason to end.
                Err(error) => {
                    tracing::warn!(path = %self.path.display(), %error, "The journal cannot be rewritten now");
                    self.records + COMPACT_FROM
                }
            };
        }
        Ok(())
    }

    /// How long the file is, and room for more.
    fn measure(&mut self) -> io::Result<()> {
        self.length = self.file.metadata()?.len();
        self.reserve();
        Ok(())
    }

    /// Keeps some of the disk for what comes next, so that whoever fills it does not end the worker. Not every file system
    /// can do that.
    fn reserve(&mut self) {
        let kept = fallocate(&self.file, FallocateFlags::KEEP_SIZE, self.length, RESERVE);
        if let Err(error) = kept {
            tracing::debug!(%error, "No room can be kept for the journal");
        }
        self.reserved = self.length + RESERVE;
    }

    /// Writes the file anew with what is still needed, in the place of the old one.
    fn rewrite(&mut self) -> io::Result<()> {
        let records: Vec<_> = self.entries.values().flat_map(JournalEntry::to_records).collect();
        let mut content = HEADER.to_vec();
        records.iter().try_for_each(|record| encode(record, &mut content))?;
        replace(&self.path, &content)?;
        tracing::debug!(before = self.records, after = records.len(), "Journal rewritten");
        self.records = records.len();
        Ok(())
    }
}

fn encode(record: &JournalRecord, frames: &mut Vec<u8>) -> io::Result<()> {
    let start = frames.len();
    frames.extend_from_slice(&[0; FRAME_HEAD]);
    serde_json::to_writer(&mut *frames, record)?;
    let body = start + FRAME_HEAD;
    let length = u32::try_from(frames.len() - body).map_err(io::Error::other)?;
    let checksum = checksum(&frames[body..]);
    frames[start..start + 4].copy_from_slice(&length.to_le_bytes());
    frames[start + 4..body].copy_from_slice(&checksum);
    Ok(())
}

pub(super) fn checksum(body: &[u8]) -> [u8; 4] {
    let hash = blake3::hash(body);
    let [a, b, c, d, ..] = *hash.as_bytes();
    [a, b, c, d]
}

/// Applies frame after frame; returns how many were good, and their bytes.
fn replay(mut frames: &[u8], entries: &mut BTreeMap<AttemptKey, JournalEntry>) -> (usize, usize) {
    let (mut records, mut good) = (0, 0);
    while let Some((record, length)) = decode(frames) {
        record.apply(entries);
        records += 1;
        good += length;
        frames = &frames[length..];
    }
    (records, good)
}

fn decode(frames: &[u8]) -> Option<(JournalRecord, usize)> {
    let (length, rest) = frames.split_first_chunk::<4>()?;
    let (expected, rest) = rest.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok().filter(|length| *length <= FRAME_LIMIT)?;
    let body = rest.get(..length)?;
    if checksum(body) != *expected {
        return None;
    }
    Some((serde_json::from_slice(body).ok()?, FRAME_HEAD + length))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use shared::id::Fence;
    use shared::link::{Assignment, Outcome};
    use shared::resources::Resources;
    use shared::task::{Command, Verdict};
    use shared::time::{BootTime, WallTime};

    use super::*;

    fn key(index: u32) -> AttemptKey {
        let task = "task-01arz3ndektsv4rrffq69g5fav".parse().expect("an id");
        AttemptKey { task, index, attempt: 1, fence: Fence(1) }
    }

    fn accepted(index: u32) -> JournalRecord {
        JournalRecord::Accepted(Arc::new(Assignment {
            key: key(index),
            image: "busybox".to_owned(),
            command: Command::Argv(vec!["echo".to_owned(), "\"\n\u{1F4A5}".to_owned()]),
            resources: Resources::TASK_DEFAULT,
            env: BTreeMap::from([("A".to_owned(), "1".to_owned())]),
            user: "ada".parse().expect("a name"),
            name: Some("n".to_owned()),
            input: None,
            stop_grace: Duration::from_millis(1500),
            time_limit: None,
            at_most_once: false,
            blocking_log: false,
            storage_reserved: false,
            pull: Default::default(),
            confinement: Default::default(),
            gpus: Vec::new(),
        }))
    }

    fn starting(index: u32) -> JournalRecord {
        JournalRecord::Starting { key: key(index), at: WallTime(1_700_000_000_123), boot: Some(BootTime(77)) }
    }

    fn finished(index: u32) -> JournalRecord {
        let outcome = Outcome {
            verdict: Verdict::Success,
            started_at: None,
            finished_at: WallTime(5),
            stdout_bytes: 1,
            stderr_bytes: 2,
            output_files: 3,
            output_notes: vec!["x".to_owned()],
            usage: None,
            handed_back: true,
        };
        JournalRecord::Finished { key: key(index), outcome }
    }

    fn sum(records: &[JournalRecord]) -> Vec<JournalEntry> {
        let mut entries = BTreeMap::new();
        records.iter().for_each(|record| record.apply(&mut entries));
        entries.into_values().collect()
    }

    #[test]
    fn what_was_appended_is_there_at_the_next_start() {
        let scratch = tempfile::tempdir().expect("a directory");
        let batches = [vec![accepted(0), accepted(1)], vec![starting(0), finished(0)]];
        let mut journal = Journal::open(scratch.path()).expect("a new journal");
        assert_eq!(journal.entries(), []);
        batches.iter().for_each(|batch| journal.append(batch).expect("appended"));
        drop(journal);
        let mut journal = Journal::open(scratch.path()).expect("the same journal");
        assert_eq!(journal.entries(), sum(&batches.concat()));
        journal.append(&[JournalRecord::Forgotten(key(0))]).expect("appended");
        drop(journal);
        let journal = Journal::open(scratch.path()).expect("the same journal");
        assert_eq!(journal.entries(), sum(&[accepted(1)]));
    }

    #[test]
    fn a_tail_torn_at_any_byte_is_cut_and_the_rest_stays() {
        let scratch = tempfile::tempdir().expect("a directory");
        let path = scratch.path().join("journal");
        let mut journal = Journal::open(scratch.path()).expect("a new journal");
        journal.append(&[accepted(0)]).expect("appended");
        let first = fs::metadata(&path).expect("metadata").len() as usize;
        journal.append(&[starting(0)]).expect("appended");
        drop(journal);
        let whole = fs::read(&path).expect("read");
        for end in 0..whole.len() {
            fs::write(&path, &whole[..end]).expect("written");
            let mut journal = Journal::open(scratch.path()).expect("a journal");
            let kept = if end >= first { sum(&[accepted(0)]) } else { Vec::new() };
            assert_eq!(journal.entries(), kept, "cut at {end}");
            let good = if end >= first { first } else { HEADER.len().min(end) };
            if end > good.max(HEADER.len()) {
                assert_eq!(fs::read(path.with_extension(CUT)).expect("what was cut"), whole[good..end], "cut at {end}");
            }
            journal.append(&[accepted(7)]).expect("appended behind the good part");
            drop(journal);
            let journal = Journal::open(scratch.path()).expect("a journal");
            assert_eq!(journal.entries().len(), kept.len() + 1, "cut at {end}");
        }
    }

    #[test]
    fn a_changed_byte_is_found() {
        let scratch = tempfile::tempdir().expect("a directory");
        let path = scratch.path().join("journal");
        Journal::open(scratch.path()).expect("a new journal").append(&[accepted(0), starting(0)]).expect("appended");
        let whole = fs::read(&path).expect("read");
        for position in HEADER.len()..whole.len() {
            let mut changed = whole.clone();
            changed[position] ^= 1;
            let mut entries = BTreeMap::new();
            let (records, _) = replay(&changed[HEADER.len()..], &mut entries);
            assert!(records < 2, "byte {position}");
        }
    }

    #[test]
    fn what_is_no_journal_is_refused_and_left_alone() {
        let scratch = tempfile::tempdir().expect("a directory");
        let path = scratch.path().join("journal");
        fs::write(&path, b"CLAIJ\0\x02\nsomething newer").expect("written");
        assert!(matches!(Journal::open(scratch.path()), Err(WorkerError::Unreadable { .. })));
        assert!(fs::read(&path).expect("read").ends_with(b"newer"));
    }

    #[test]
    fn it_is_rewritten_when_most_of_it_is_gone() {
        let scratch = tempfile::tempdir().expect("a directory");
        let path = scratch.path().join("journal");
        let mut journal = Journal::open(scratch.path()).expect("a new journal");
        journal.append(&[accepted(0), starting(0), finished(0)]).expect("appended");
        let small = fs::metadata(&path).expect("metadata").len();
        let batch: Vec<_> =
            (1..=1000).flat_map(|index| [accepted(index), JournalRecord::Forgotten(key(index))]).collect();
        (0..COMPACT_FROM / batch.len() + 1).for_each(|_| journal.append(&batch).expect("appended"));
        assert_eq!(fs::metadata(&path).expect("metadata").len(), small);
        journal.append(&[accepted(1)]).expect("appended to the new file");
        drop(journal);
        let journal = Journal::open(scratch.path()).expect("the same journal");
        assert_eq!(journal.entries(), sum(&[accepted(0), starting(0), finished(0), accepted(1)]));
    }

    #[test]
    fn a_full_disk_ends_nothing() {
        use crate::worker::volume::{Volume, try_out};
        let scratch = tempfile::tempdir().expect("a directory");
        let run = scratch.path().join("run");
        let volume = Volume::of(&run);
        // A disk that can be filled needs root and loop devices.
        if try_out(scratch.path()).is_err() || volume.ensure(16 << 20).is_err() {
            assert!(!rustix::process::geteuid().is_root() || !Path::new("/dev/loop-control").exists());
            return;
        }
        let disk = run.join("output");
        let mut journal = Journal::open(&disk).expect("a new journal");
        let mut filler = File::create(disk.join("filler")).expect("a file");
        for chunk in [1 << 20, 4096, 1] {
            while filler.write_all(&vec![1; chunk]).is_ok() {}
        }
        assert!(volume.is_full());
        let records: Vec<_> = (0..3000).map(accepted).collect();
        records.chunks(3).for_each(|batch| journal.append(batch).expect("there is room for it"));
        drop(journal);
        assert_eq!(Journal::open(&disk).expect("the same journal").entries(), sum(&records));
        volume.close().expect("closed");
    }
}
