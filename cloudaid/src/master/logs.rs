//! Keeps what tasks write: for each run both streams in the order of arrival, in one append-only file, or in several where
//! only the beginning and the end are kept (see `keep.rs` and `thin.rs`), or a worker has said that a part will never come.
//!
//! A file is a row of records (see `frame.rs`) of what has come together, with the stream of each piece, its offset in that
//! stream, the time and a checksum. So the interleaving and the times are kept, a worker may send a chunk again after any
//! failure, and what a crash tore off is found and cut when the file is next used. Nothing but a small index is in memory, and no file stays open.
//!
//! Absent on purpose: whether a run may write here. The session that calls [`LogStore::append`] has checked that.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use parking_lot::Mutex;
use shared::id::{AttemptKey, ElementId, TaskId};
use shared::link::LogStream;
use shared::time::WallTime;
use tokio::sync::Semaphore;

mod batch;
mod begin;
mod cache;
mod disk;
mod follow;
mod frame;
mod frames;
mod index;
mod keep;
mod list;
mod load;
mod log;
mod mixed;
mod pack;
mod part;
mod range;
mod remove;
mod search;
mod tail;
mod thin;

pub use follow::LogChunks;
pub use keep::{KEEP_MIN, Keep};
pub use list::StoredLog;
pub use range::LogRange;
pub use search::{Found, LINE_LIMIT, Match, Search};

use cache::Cache;
use disk::Disk;
use log::Log;

/// The most bytes of one [`LogStore::read`].
pub const READ_LIMIT: usize = 1024 * 1024;
/// Files written at a time: their syncs share commits of the file system's journal.
const APPEND_AT_ONCE: usize = 8;
/// Logs read at a time, by all readers together. Each takes a thread with its memory, and a disk gives no more to more.
static READS: Semaphore = Semaphore::const_new(READS_AT_ONCE);
const READS_AT_ONCE: usize = 4;

/// All logs below one directory. Cheap to clone.
#[derive(Debug, Clone)]
pub struct LogStore {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    directory: PathBuf,
    keep: Keep,
    cache: Cache,
    /// Held by who takes logs away: what is cleared while it is removed would come again, as the file that says how much there
    /// was.
    taking: Mutex<()>,
    /// Bytes since the start.
    appended: AtomicU64,
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

    /// The later place in each stream.
    fn max(self, other: Self) -> Self {
        Self { stdout: self.stdout.max(other.stdout), stderr: self.stderr.max(other.stderr) }
    }

    fn plus(self, other: Self) -> Self {
        Self { stdout: self.stdout + other.stdout, stderr: self.stderr + other.stderr }
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

/// What stands next in a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogItem {
    /// Bytes.
    Chunk(LogChunk),
    /// Bytes that are not kept.
    Cut(LogCut),
}

/// What of a log was cut out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogCut {
    /// The first bytes that are gone.
    pub from: LogOffsets,
    /// The first that are there again.
    pub to: LogOffsets,
}

impl LogCut {
    /// How many bytes of each stream.
    #[must_use]
    pub fn bytes(self) -> LogOffsets {
        let Self { from, to } = self;
        LogOffsets { stdout: to.stdout.saturating_sub(from.stdout), stderr: to.stderr.saturating_sub(from.stderr) }
    }
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
    /// The logs below `directory`, which is made if it is not there. All that comes is kept.
    ///
    /// # Errors
    /// The directory cannot be made.
    pub fn open(directory: &Path) -> io::Result<Self> {
        Self::open_keeping(directory, Keep::ALL)
    }

    /// As [`Self::open`], keeping so much of each log.
    ///
    /// # Errors
    /// As there.
    pub fn open_keeping(directory: &Path, keep: Keep) -> io::Result<Self> {
        std::fs::create_dir_all(directory)?;
        if let Some(parent) = directory.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            std::fs::File::open(parent)?.sync_all()?;
        }
        Ok(Self {
            inner: Arc::new(Inner {
                directory: directory.to_owned(),
                keep,
                cache: Cache::default(),
                taking: Mutex::default(),
                appended: AtomicU64::new(0),
            }),
        })
    }

    /// How much of each stream is durable.
    ///
    /// # Errors
    /// The file cannot be read.
    pub async fn offsets(&self, key: &AttemptKey) -> io::Result<LogOffsets> {
        let log = self.log(key.element(), key.attempt);
        unhindered(move || log.durable_offsets()).await
    }

    /// Appends pieces in their order. When this returns, what was accepted is durable. One answer per run.
    ///
    /// Bytes that are there already are skipped, so a piece may come twice or overlap.
    pub async fn append(&self, pieces: Vec<LogPiece>) -> Vec<(AttemptKey, Result<LogOffsets, LogRefusal>)> {
        let bytes: usize = pieces.iter().map(|piece| piece.data.len()).sum();
        self.inner.appended.fetch_add(bytes as u64, Ordering::Relaxed);
        let groups = batch::by_run(pieces).into_iter().map(|(key, pieces)| {
            let log = self.log(key.element(), key.attempt);
            async move {
                let appended = tokio::task::spawn_blocking(move || log.append(&pieces)).await;
                (key, appended.unwrap_or_else(|error| Err(io::Error::other(error).into())))
            }
        });
        stream::iter(groups).buffered(APPEND_AT_ONCE).collect().await
    }

    /// What this run has written next stands at `to`: what is missing before that is nowhere any more, and those who read
    /// are told that it is cut out. Durable when this returns. Returns how much of each stream there is with it.
    ///
    /// # Errors
    /// The log cannot be written; the same may be said again later.
    pub async fn cut(&self, key: &AttemptKey, to: LogOffsets) -> io::Result<LogOffsets> {
        let log = self.log(key.element(), key.attempt);
        unhindered(move || log.cut(to)).await
    }

    /// Nothing more will come for this run: its followers need not wait. Not kept over a restart; by then the task's
    /// state says the same.
    pub fn seal(&self, element: ElementId, attempt: u32) {
        if let Some(log) = self.inner.cache.find((element, attempt)) {
            log.seal();
        }
    }

    /// The selected bytes from `offset`, at most `limit` and at most [`READ_LIMIT`]. Less only at the end. Over what was cut
    /// out it goes on with what follows.
    ///
    /// # Errors
    /// The log cannot be read or is damaged.
    pub async fn read(
        &self,
        element: ElementId,
        attempt: u32,
        select: impl Into<LogSelect>,
        offset: u64,
        limit: usize,
    ) -> io::Result<Bytes> {
        let limit = limit.min(READ_LIMIT);
        self.range(element, attempt, select, offset, limit as u64).await?.next(limit).await
    }

    /// The selected bytes from `offset` on that are there now, at most `limit`. An offset counts what was cut out too, a
    /// limit does not.
    ///
    /// # Errors
    /// The log cannot be read or is damaged.
    pub async fn range(
        &self,
        element: ElementId,
        attempt: u32,
        select: impl Into<LogSelect>,
        offset: u64,
        limit: u64,
    ) -> io::Result<LogRange> {
        let (log, select) = (self.log(element, attempt), select.into());
        blocking(move || LogRange::start(log, select, offset, limit)).await
    }

    /// How many bytes of each stream there were, also of what was cut out.
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
        let (directory, inner) = (self.shard(&task.to_string()), Arc::clone(&self.inner));
        unhindered(move || {
            let _taking = inner.taking.lock();
            let removed = remove::logs(&directory, task);
            inner.cache.forget(task);
            removed
        })
        .await
    }

    /// Removes what is kept of a run. That it was there, and how much, is still known: all of it is cut out. Returns the bytes
    /// that this freed; none of a log that was removed meanwhile.
    ///
    /// # Errors
    /// The log cannot be read, or what takes its place cannot be written.
    pub async fn clear(&self, element: ElementId, attempt: u32) -> io::Result<u64> {
        let store = self.clone();
        blocking(move || {
            let _taking = store.inner.taking.lock();
            // Not before: what was known of one that has been removed is as wrong as it is old.
            store.log(element, attempt).clear()
        })
        .await
    }

    /// Bytes that have come since the start, whether they were kept or not.
    pub(super) fn appended(&self) -> u64 {
        self.inner.appended.load(Ordering::Relaxed)
    }

    /// The directories that logs are in: each holds some of them.
    ///
    /// # Errors
    /// They cannot be listed.
    pub(super) async fn shards(&self) -> io::Result<Vec<PathBuf>> {
        let directory = self.inner.directory.clone();
        blocking(move || list::shards(&directory)).await
    }

    /// The logs in one of them that hold something.
    ///
    /// # Errors
    /// They cannot be listed.
    pub(super) async fn stored(&self, shard: PathBuf) -> io::Result<Vec<StoredLog>> {
        blocking(move || list::of_shard(&shard)).await
    }

    fn log(&self, element: ElementId, attempt: u32) -> Arc<Log> {
        let make = || Log::new(Disk::new(self.path(element, attempt)), self.inner.keep);
        self.inner.cache.get((element, attempt), make)
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

/// Runs `work` on a thread that may block, when it is its turn.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    let _turn = READS.acquire().await.map_err(io::Error::other)?;
    unhindered(work).await
}

/// The same for what workers wait for: no reader holds it up.
async fn unhindered<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(io::Error::other(error)))
}

#[cfg(test)]
mod tests;
