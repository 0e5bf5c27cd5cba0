//! Keeps what tasks write: one append-only file per run, both streams in the order of arrival.
//!
//! A file is a row of frames (see `frame.rs`), each with its stream, its offset in that stream, the time and a checksum. So
//! the interleaving and the times are kept, a worker may send a chunk again after any failure, and what a crash tore
//! off is found and cut when the file is next used. Nothing but a small index is in memory, and no file stays open.
//!
//! Absent on purpose: whether a run may write here. The session that calls [`LogStore::append`] has checked that.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use shared::id::{AttemptKey, ElementId, TaskId};
use shared::link::LogStream;
use shared::time::WallTime;

mod begin;
mod cache;
mod follow;
mod frame;
mod index;
mod log;
mod read;
mod remove;
mod search;
mod tail;

pub use follow::LogChunks;
pub use search::{Found, LINE_LIMIT, Match, Search};

use cache::Cache;
use log::Log;

/// The most bytes of one [`LogStore::read`].
pub const READ_LIMIT: usize = 1024 * 1024;
/// Files written at a time: their syncs share commits of the file system's journal.
const APPEND_AT_ONCE: usize = 8;

/// All logs below one directory. Cheap to clone.
#[derive(Debug, Clone)]
pub struct LogStore {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    directory: PathBuf,
    cache: Cache,
}

/// Bytes of each stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LogOffsets {
    /// Of standard output.
    pub stdout: u64,
    /// Of standard error.
    pub stderr: u64,
}

impl LogOffsets {
    /// Of one stream.
    #[must_use]
    pub fn of(self, stream: LogStream) -> u64 {
        match stream {
            LogStream::Stdout => self.stdout,
            LogStream::Stderr => self.stderr,
        }
    }

    fn of_mut(&mut self, stream: LogStream) -> &mut u64 {
        match stream {
            LogStream::Stdout => &mut self.stdout,
            LogStream::Stderr => &mut self.stderr,
        }
    }
}

/// A piece to append.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogPiece {
    /// The run that wrote it.
    pub key: AttemptKey,
    /// Where it wrote it.
    pub stream: LogStream,
    /// Where in the stream the first byte of `data` stands.
    pub offset: u64,
    /// What it wrote.
    pub data: Bytes,
}

/// A piece that was appended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogChunk {
    /// The stream.
    pub stream: LogStream,
    /// Where in the stream the first byte of `data` stands.
    pub offset: u64,
    /// When it arrived here.
    pub at: WallTime,
    /// The bytes.
    pub data: Bytes,
}

/// Why a piece was not appended. What came before it in the same call was.
#[derive(Debug, thiserror::Error)]
pub enum LogRefusal {
    /// Bytes are missing before it.
    #[error("a chunk at {offset} leaves a gap: {stream} ends at {end}; send on from there", stream = stream.as_str())]
    Gap {
        /// The stream.
        stream: LogStream,
        /// Where the chunk begins.
        offset: u64,
        /// Where the stream ends.
        end: u64,
    },
    /// The log could not be written; the same pieces may be sent again later.
    #[error("the log cannot be written: {0}")]
    Io(#[from] io::Error),
}

/// Which bytes of a log to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogSelect {
    /// One stream.
    One(LogStream),
    /// Both in order of arrival; an offset counts the bytes of both.
    Both,
}

impl LogSelect {
    pub(crate) fn takes(self, stream: LogStream) -> bool {
        match self {
            Self::One(one) => one == stream,
            Self::Both => true,
        }
    }

    /// How many of the bytes are selected.
    #[must_use]
    pub fn count(self, offsets: LogOffsets) -> u64 {
        match self {
            Self::One(stream) => offsets.of(stream),
            Self::Both => offsets.stdout.saturating_add(offsets.stderr),
        }
    }
}

impl From<LogStream> for LogSelect {
    fn from(stream: LogStream) -> Self {
        Self::One(stream)
    }
}

impl LogStore {
    /// The logs below `directory`, which is made if it is not there.
    ///
    /// # Errors
    /// The directory cannot be made.
    pub fn open(directory: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(directory)?;
        if let Some(parent) = directory.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            std::fs::File::open(parent)?.sync_all()?;
        }
        Ok(Self { inner: Arc::new(Inner { directory: directory.to_owned(), cache: Cache::default() }) })
    }

    /// How much of each stream is durable.
    ///
    /// # Errors
    /// The file cannot be read.
    pub async fn offsets(&self, key: &AttemptKey) -> io::Result<LogOffsets> {
        let log = self.log(key.element(), key.attempt);
        blocking(move || log.durable_offsets()).await
    }

    /// Appends pieces in their order. When this returns, what was accepted is durable. One answer per run.
    ///
    /// Bytes that are there already are skipped, so a piece may come twice or overlap.
    pub async fn append(&self, pieces: Vec<LogPiece>) -> Vec<(AttemptKey, Result<LogOffsets, LogRefusal>)> {
        let groups = group(pieces).into_iter().map(|(key, pieces)| {
            let log = self.log(key.element(), key.attempt);
            async move {
                let appended = tokio::task::spawn_blocking(move || log.append(&pieces)).await;
                (key, appended.unwrap_or_else(|error| Err(io::Error::other(error).into())))
            }
        });
        stream::iter(groups).buffered(APPEND_AT_ONCE).collect().await
    }

    /// Nothing more will come for this run: its followers need not wait. Not kept over a restart; by then the task's
    /// state says the same.
    pub fn seal(&self, element: ElementId, attempt: u32) {
        if let Some(log) = self.inner.cache.find((element, attempt)) {
            log.seal();
        }
    }

    /// The selected bytes from `offset`, at most `limit` and at most [`READ_LIMIT`]. Less only at the end.
    ///
    /// # Errors
    /// The file cannot be read or is damaged.
    pub async fn read(
        &self,
        element: ElementId,
        attempt: u32,
        select: impl Into<LogSelect>,
        offset: u64,
        limit: usize,
    ) -> io::Result<Bytes> {
        let (log, select) = (self.log(element, attempt), select.into());
        blocking(move || read::range(&log, select, offset, limit.min(READ_LIMIT))).await
    }

    /// How many bytes of each stream there are to read.
    ///
    /// # Errors
    /// The file cannot be read.
    pub async fn size(&self, element: ElementId, attempt: u32) -> io::Result<LogOffsets> {
        let log = self.log(element, attempt);
        blocking(move || log.offsets()).await
    }

    /// Everything from `from` on, in order of arrival, now and as it comes.
    ///
    /// # Errors
    /// The file cannot be read.
    pub async fn chunks_from(&self, element: ElementId, attempt: u32, from: LogOffsets) -> io::Result<LogChunks> {
        let log = self.log(element, attempt);
        blocking(move || LogChunks::start(log, from)).await
    }

    /// Where the last `count` lines begin, in order of arrival: each stream from there on is these lines. Of a line of many
    /// MiB the beginning may be missing.
    ///
    /// # Errors
    /// The file cannot be read or is damaged.
    pub async fn start_of_last(
        &self,
        element: ElementId,
        attempt: u32,
        select: LogSelect,
        count: usize,
    ) -> io::Result<LogOffsets> {
        let log = self.log(element, attempt);
        blocking(move || begin::last_lines(&log, select, count)).await
    }

    /// Where what arrived at `since` or later begins.
    ///
    /// # Errors
    /// The file cannot be read.
    pub async fn start_since(&self, element: ElementId, attempt: u32, since: WallTime) -> io::Result<LogOffsets> {
        let log = self.log(element, attempt);
        blocking(move || begin::since(&log, since)).await
    }

    /// The last `count` lines in order of arrival, without their line ends. Only the end of the file is read, so a line
    /// of several MiB loses its beginning.
    ///
    /// # Errors
    /// The file cannot be read or is damaged.
    pub async fn tail_lines(
        &self,
        element: ElementId,
        attempt: u32,
        count: usize,
    ) -> io::Result<Vec<(LogStream, Vec<u8>)>> {
        self.tail_lines_of(element, attempt, LogSelect::Both, count).await
    }

    /// As [`Self::tail_lines`], of the selected streams.
    ///
    /// # Errors
    /// The file cannot be read or is damaged.
    pub async fn tail_lines_of(
        &self,
        element: ElementId,
        attempt: u32,
        select: LogSelect,
        count: usize,
    ) -> io::Result<Vec<(LogStream, Vec<u8>)>> {
        let log = self.log(element, attempt);
        blocking(move || tail::lines(&log, select, count)).await
    }

    /// The lines that match, as many as one answer holds.
    ///
    /// # Errors
    /// The file cannot be read or is damaged.
    pub async fn search(&self, element: ElementId, attempt: u32, search: Search) -> io::Result<Found> {
        let log = self.log(element, attempt);
        blocking(move || search::matches(&log, &search)).await
    }

    /// Removes all logs of a task. Nothing writes to them any more.
    ///
    /// # Errors
    /// Some of them cannot be removed.
    pub async fn remove(&self, task: TaskId) -> io::Result<()> {
        self.inner.cache.forget(task);
        let directory = self.shard(&task.to_string());
        blocking(move || remove::logs(&directory, task)).await
    }

    fn log(&self, element: ElementId, attempt: u32) -> Arc<Log> {
        self.inner.cache.get((element, attempt), || Log::new(self.path(element, attempt)))
    }

    /// `<last two of the task's id>/<task>.<index>-<attempt>.log`: the last digits are random, so the directories fill
    /// evenly.
    fn path(&self, element: ElementId, attempt: u32) -> PathBuf {
        self.shard(&element.task.to_string()).join(format!("{element}-{attempt}.log"))
    }

    fn shard(&self, task: &str) -> PathBuf {
        self.inner.directory.join(&task[task.len() - 2..])
    }
}

/// The pieces of each run, runs in the order of their first piece.
fn group(pieces: Vec<LogPiece>) -> Vec<(AttemptKey, Vec<LogPiece>)> {
    let mut places = std::collections::HashMap::new();
    let mut groups: Vec<(AttemptKey, Vec<LogPiece>)> = Vec::new();
    for piece in pieces {
        let place = *places.entry(piece.key).or_insert(groups.len());
        match groups.get_mut(place) {
            Some((_, group)) => group.push(piece),
            None => groups.push((piece.key, vec![piece])),
        }
    }
    groups
}

/// Runs `work` on a thread that may block.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(io::Error::other(error)))
}

#[cfg(test)]
mod tests;
