//! The thread that owns the connection that writes.

use std::path::Path;
use std::sync::mpsc;
use std::thread::{Builder, JoinHandle};

use rusqlite::{Connection, ErrorCode};
use tokio::sync::oneshot;

use super::ahead::{self, Ahead, Upkeep};
use super::directory::io_error;
use super::write;
use crate::store::coalesce::Batch;
use crate::store::{CommitError, Position, StoreError};

/// Pages of the log (4 KiB each) after which they are moved into the file.
const CHECKPOINT_PAGES: i64 = 4096;

/// Pages of the log at which even new readers wait until it is empty, lest it grow without bound under steady reading.
const FULL_CHECKPOINT_PAGES: i64 = 32 * CHECKPOINT_PAGES;

/// Commits, one after the other.
#[derive(Debug)]
pub(super) struct Writer {
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

enum Job {
    Commit {
        batch: Box<Batch>,
        expected: Position,
        ahead: Option<Ahead>,
        answer: oneshot::Sender<Result<Position, CommitError>>,
    },
    KeepUp(Upkeep, oneshot::Sender<Result<(), StoreError>>),
}

impl Writer {
    /// Starts the thread.
    pub(super) fn start(connection: Connection, path: &Path) -> Result<Self, StoreError> {
        let (jobs, queue) = mpsc::channel();
        let thread = Builder::new().name("store-writer".into()).spawn(move || run(connection, &queue));
        Ok(Self { jobs: Some(jobs), thread: Some(thread.map_err(io_error(path))?) })
    }

    /// Commits. A caller that does not wait for the answer does not stop the commit.
    pub(super) async fn commit(
        &self,
        batch: Batch,
        expected: Position,
        ahead: Option<Ahead>,
    ) -> Result<Position, CommitError> {
        let closed = || CommitError::Fatal(StoreError::Closed);
        let (answer, answered) = oneshot::channel();
        let jobs = self.jobs.as_ref().ok_or_else(closed)?;
        let batch = Box::new(batch);
        jobs.send(Job::Commit { batch, expected, ahead, answer }).map_err(|_| closed())?;
        answered.await.map_err(|_| closed())?
    }

    /// See [`Upkeep`].
    pub(super) async fn keep_up(&self, upkeep: Upkeep) -> Result<(), StoreError> {
        let (answer, answered) = oneshot::channel();
        let jobs = self.jobs.as_ref().ok_or(StoreError::Closed)?;
        jobs.send(Job::KeepUp(upkeep, answer)).map_err(|_| StoreError::Closed)?;
        answered.await.map_err(|_| StoreError::Closed)?
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.jobs = None;
        // A thread that panicked has said so already.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// Commits until the store is dropped, or until something fails that makes the file's state uncertain: a page whose
/// write failed may look clean to the next fsync, so nothing is tried again in this process.
fn run(mut connection: Connection, queue: &mpsc::Receiver<Job>) {
    while let Ok(job) = queue.recv() {
        let (batch, expected, ahead, answer) = match job {
            Job::Commit { batch, expected, ahead, answer } => (batch, expected, ahead, answer),
            Job::KeepUp(upkeep, answer) => {
                let _ = answer.send(ahead::keep_up(&mut connection, upkeep));
                continue;
            }
        };
        let outcome = write::commit(&mut connection, &batch, expected, ahead.as_ref());
        let failed = matches!(outcome, Err(CommitError::Fatal(_)));
        // Nobody waits any more: the position tells.
        let _ = answer.send(outcome);
        let checkpoint = if failed { Ok(()) } else { checkpoint(&connection) };
        if let Err(error) = &checkpoint {
            tracing::error!(%error, "the store's log cannot be moved into its file; no more commits");
        }
        if failed || checkpoint.is_err() {
            // Closing would move the log into the file and delete it; the next process shall find it as it is.
            std::mem::forget(connection);
            return;
        }
    }
}

/// Moves the log into the file when it is long. Here and not in the commit, which it would delay.
fn checkpoint(connection: &Connection) -> rusqlite::Result<()> {
    let outcome = match log_pages(connection, "NOOP") {
        Ok((all, _)) if all >= FULL_CHECKPOINT_PAGES => log_pages(connection, "RESTART"),
        Ok((_, waiting)) if waiting >= CHECKPOINT_PAGES => log_pages(connection, "PASSIVE"),
        other => other,
    };
    let code = outcome.as_ref().err().and_then(rusqlite::Error::sqlite_error_code);
    match code {
        // No room, or a reader in the way: the log keeps what it has until the next time.
        Some(ErrorCode::DatabaseBusy | ErrorCode::DiskFull) => Ok(()),
        _ => outcome.map(drop),
    }
}

/// The pages in the log after a checkpoint of this mode, and those of them that are not in the file yet.
fn log_pages(connection: &Connection, mode: &str) -> rusqlite::Result<(i64, i64)> {
    connection.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |row| {
        let (all, moved): (i64, i64) = (row.get(1)?, row.get(2)?);
        Ok((all, all - moved))
    })
}
