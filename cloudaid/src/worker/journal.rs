//! What a worker must not forget: an append-only file of checked frames.
//!
//! A batch of records behind a header is one write and one fdatasync. A tail that was torn by a crash was never durable and
//! is cut. When most of the file speaks of runs that are gone it is rewritten: it is never longer than
//! [`LONG_FACTOR`] times what is needed and [`LONG_FROM`] more, but for the last batch, and for as long as the disk has no
//! room for the new file.
//!
//! Of a disk that gets full some room is kept: for what ends runs, and what begins one must leave it alone. What finds no
//! room, or a disk that fails, is as if it had never been tried, and can be tried again: see [`Written`]. After a sync that
//! failed nobody knows what is on the disk, also not by syncing once more: a kernel may have dropped what it could not write,
//! and says then that all is well. So nothing is ever appended to such a file. What is known here is written into a new one,
//! until that succeeds.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use cloudaid_core::agent::{JournalEntry, JournalRecord};
use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;
use shared::id::AttemptKey;

use super::data_dir::{failed, replace};
use super::error::WorkerError;
use crate::failpoint;
use frame::Replayed;
use weight::Weights;

mod frame;
mod weight;

#[cfg(test)]
mod tests;

/// The first bytes of the file; the last but one counts versions.
const HEADER: &[u8; 8] = b"CLAIJ\0\x01\n";
/// Ends the name of the file with what was cut off last.
const CUT: &str = "cut";
/// A file with no more records or bytes is not worth rewriting, for the time that it takes to read it at a start and for
/// the room that it takes.
const MANY_FROM: usize = 8192;
const LONG_FROM: u64 = 4 << 20;
/// It is rewritten when it holds this many times the records that are still needed, of which a run has four, or the bytes.
const MANY_FACTOR: usize = 8 * 4;
const LONG_FACTOR: u64 = 4;
/// After a rewriting that failed, the next is tried when the file has grown by so much.
const REWRITE_AGAIN: u64 = 1 << 20;

/// Bytes of the disk that are kept for what ends runs: so many for a start, and for each run. The end of one takes some
/// hundred, and only one with the longest messages and notes takes more than that: its worker may have to wait for room.
const KEPT: u64 = 1 << 20;
const KEPT_PER_RUN: u64 = 4 << 10;
/// What is reserved besides, so that it need not be asked for each time.
const AHEAD: u64 = 3 << 20;

/// What came of records that were to be made durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Written {
    /// They are.
    Durable,
    /// The disk has no room for them, or none but what is kept for others. They are not in the journal, which is as good as
    /// before.
    NoRoom,
    /// The disk does not take them, for this reason. They are not in the journal, which cannot be written any more before
    /// all of it was written anew.
    Failed(Errno),
}

/// The open journal.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    file: File,
    /// In which it is; open for as long as this is, because who has too many files open cannot open it to sync it.
    directory: File,
    /// What all records add up to, and how much of the file that is.
    entries: BTreeMap<AttemptKey, JournalEntry>,
    weights: Weights,
    /// Records in the file.
    records: usize,
    /// Bytes of the file, and up to where the disk has room for it.
    length: u64,
    reserved: u64,
    /// It is not rewritten before it is so long.
    rewrite_from: u64,
    /// What the file holds behind `length`, or whether it is this file that has the name, is not known: nothing can be
    /// appended to it.
    is_doubtful: bool,
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
        let Replayed { entries, weights, records, bytes } =
            content.get(HEADER.len()..).map(Replayed::of).unwrap_or_default();
        let good = HEADER.len() + bytes;
        let is_damaged = content.len() != good;
        let at = File::open(directory).map_err(|source| failed(directory, source))?;
        let file = Self::prepare(&path, &at, &content, good).map_err(|source| failed(&path, source))?;
        let mut journal = Self {
            path,
            file,
            directory: at,
            entries,
            weights,
            records,
            length: good as u64,
            reserved: 0,
            rewrite_from: 0,
            is_doubtful: false,
            is_damaged,
        };
        journal.reserve();
        Ok(journal)
    }

    /// Whether it was not there when it was opened, or not whole: runs may be missing in it.
    pub(super) fn is_damaged(&self) -> bool {
        self.is_damaged
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Opens the file to append behind its good part.
    fn prepare(path: &Path, directory: &File, content: &[u8], good: usize) -> io::Result<File> {
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
            directory.sync_all()?;
        }
        Ok(file)
    }

    /// What is known of each run.
    pub(super) fn entries(&self) -> Vec<JournalEntry> {
        self.entries.values().cloned().collect()
    }

    /// Makes all records durable, or none of them.
    ///
    /// # Errors
    /// One of them is longer than any record may be.
    pub(super) fn append(&mut self, records: &[JournalRecord]) -> Result<Written, WorkerError> {
        let sizes = match self.write(records) {
            Ok(sizes) => sizes,
            Err(source) => return refusal(&source).ok_or_else(|| failed(&self.path, source)),
        };
        for (record, size) in records.iter().zip(sizes) {
            record.apply(&mut self.entries);
            self.weights.add(record, size);
        }
        self.compact();
        self.reserve();
        Ok(Written::Durable)
    }

    /// Returns how many bytes each takes.
    fn write(&mut self, records: &[JournalRecord]) -> io::Result<Vec<usize>> {
        let mut frames = Vec::with_capacity(records.len() * 256);
        let sizes: Vec<_> =
            records.iter().map(|record| frame::encode(record, &mut frames)).collect::<io::Result<_>>()?;
        if self.is_doubtful {
            // Alone: whether there is room behind it for what begins is seen below, as ever.
            self.rewrite()?;
        }
        let begins = records.iter().any(|record| matches!(record, JournalRecord::Accepted(_)));
        let left_alone = if begins { self.kept(records.len()) } else { 0 };
        self.make_room(frames.len() as u64 + left_alone)?;
        if let Err(error) = self.file.write_all(&frames) {
            // A part of it may be there.
            self.cut_off();
            self.is_doubtful |= !is_no_room(&error);
            return Err(error);
        }
        failpoint::hit("worker.journal.before");
        if let Err(error) = self.file.sync_data() {
            // What is only in memory is not for the next process, which would take it for durable.
            self.cut_off();
            self.is_doubtful = true;
            return Err(error);
        }
        failpoint::hit("worker.journal.after");
        self.length += frames.len() as u64;
        self.records += records.len();
        Ok(sizes)
    }

    /// Takes back what was written behind the records that are durable.
    fn cut_off(&mut self) {
        self.is_doubtful = self.file.set_len(self.length).is_err();
        self.reserved = 0;
    }

    /// What begins leaves so much of the disk to what ends, if there are so many runs more.
    fn kept(&self, more: usize) -> u64 {
        KEPT + KEPT_PER_RUN * (self.entries.len() + more) as u64
    }

    /// Keeps some of the disk for what comes next, so that whoever fills it does not stop the worker.
    fn reserve(&mut self) {
        let kept = self.kept(0);
        if self.length + kept > self.reserved {
            // Where there is no room now, it is asked for when it is needed.
            let _ = self.make_room(kept + AHEAD);
        }
    }

    /// Has the disk keep so many bytes behind the file.
    fn make_room(&mut self, bytes: u64) -> io::Result<()> {
        let end = self.length + bytes;
        if end <= self.reserved {
            return Ok(());
        }
        match fallocate(&self.file, FallocateFlags::KEEP_SIZE, self.length, bytes).map_err(io::Error::from) {
            Ok(()) => self.reserved = end,
            Err(error) if is_no_room(&error) => return Err(error),
            // Not every file system can do that. Then it shows when something is written.
            Err(error) => tracing::debug!(%error, "No room can be kept for the journal"),
        }
        Ok(())
    }

    /// Rewrites it if that is worth it.
    fn compact(&mut self) {
        let is_long = self.length > LONG_FROM + LONG_FACTOR * self.weights.total() as u64;
        let has_many = self.records > MANY_FROM.max(MANY_FACTOR * self.entries.len());
        if !(is_long || has_many) || self.length < self.rewrite_from {
            return;
        }
        if let Err(error) = self.rewrite() {
            // The old one is as good, only longer; and whichever of the two has the name has all that is known.
            tracing::warn!(path = %self.path.display(), %error, "The journal cannot be rewritten now");
            self.rewrite_from = self.length + REWRITE_AGAIN;
        }
    }

    /// Writes the file anew with what is still needed, in the place of the old one.
    fn rewrite(&mut self) -> io::Result<()> {
        let mut content = HEADER.to_vec();
        let mut records = 0;
        for record in self.entries.values().flat_map(JournalEntry::to_records) {
            frame::encode(&record, &mut content)?;
            records += 1;
        }
        let new = self.path.with_extension("new");
        let placed = write_new(&new, &content).and_then(|file| fs::rename(&new, &self.path).map(|()| file));
        let file = placed.inspect_err(|_| {
            // It would only take room.
            let _ = fs::remove_file(&new);
        })?;
        tracing::debug!(before = self.records, after = records, "Journal rewritten");
        self.file = file;
        (self.length, self.reserved, self.records, self.rewrite_from) = (content.len() as u64, 0, records, 0);
        // Until its name is durable a crash may bring the old file back, which has nothing of what comes next.
        self.is_doubtful = true;
        self.directory.sync_all()?;
        self.is_doubtful = false;
        Ok(())
    }
}

/// A file that can be appended to, with this in it, durably but for its name.
fn write_new(path: &Path, content: &[u8]) -> io::Result<File> {
    let mut file = File::options().create(true).append(true).open(path)?;
    file.set_len(0)?;
    file.write_all(content)?;
    file.sync_all()?;
    Ok(file)
}

/// What an error of the system makes of records; none: it is not one.
fn refusal(error: &io::Error) -> Option<Written> {
    Errno::from_io_error(error).map(|errno| if is_no_room(error) { Written::NoRoom } else { Written::Failed(errno) })
}

/// Whether it is only that somebody has to make room: on the disk, in a quota, or among the files that are open.
pub(super) fn is_no_room(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::NOSPC | Errno::DQUOT | Errno::MFILE | Errno::NFILE))
}
