//! The embedded store: one SQLite file, `cloudai.db`, in the data directory.
//!
//! One thread owns the connection that writes, so commits are in a row without a lock; a few read-only connections
//! answer questions beside it, each from one consistent state (WAL). A lock on the directory keeps a second process
//! out, and the position in the file detects one that got in all the same.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use cloudaid_core::files::{InputFile, UploadRecord};
use cloudaid_core::record::{AttemptRecord, Change, ClusterRecord, ResultRecord, Snapshot, TaskRecord};
use shared::audit::AuditEntry;
use shared::id::{AttemptKey, BlobId, ElementId, Elements, InputId, TaskId, UserName};
use shared::time::WallTime;
use shared::view::TaskCounts;

use crate::store::coalesce::Batch;
use crate::store::{
    AuditQuery, CommitError, DumpCursor, FileCursor, FileName, FilePlace, FileQuery, Position, RunSize, Store,
    StoreError, StoredFile, StoredTask, TaskCursor, TaskQuery, blocking,
};

mod ahead;
mod backup;
mod connection;
mod directory;
mod dump;
mod list;
mod load;
mod lookup;
mod readers;
mod row;
mod schema;
mod strays;
mod uploads;
mod write;
mod writer;

pub use ahead::Kept;
pub use directory::DirectoryLock;

use ahead::{Ahead, Upkeep};
use readers::Readers;
use writer::Writer;

/// The embedded store. Dropping it waits for the commit in progress, if there is one.
#[derive(Debug)]
pub struct SqliteStore {
    // In the order in which they are dropped: the last connection to close is the writer's, which can leave the file
    // without a log, and the lock is given back when nothing writes any more.
    readers: Readers,
    /// None: it only answers questions.
    writer: Option<Writer>,
    /// Whether another store cannot be reached, and gets later what is written here.
    stands_in: bool,
    _lock: Option<DirectoryLock>,
}

impl SqliteStore {
    /// Opens the store in `data_dir`; makes both if they are not there, and brings an older store up to date. Blocks
    /// for a moment; call it at the start.
    pub fn open(data_dir: &Path) -> Result<Self, StoreError> {
        directory::create(data_dir)?;
        let lock = DirectoryLock::acquire(data_dir)?;
        Self::start(data_dir, Some(lock))
    }

    /// [`SqliteStore::open`], for those that must not block.
    pub async fn open_async(data_dir: &Path) -> Result<Self, StoreError> {
        let data_dir = data_dir.to_owned();
        blocking(move || Self::open(&data_dir)).await
    }

    /// Removes the directory of a store, if it is there. Nobody uses it.
    pub fn remove(data_dir: &Path) -> Result<(), StoreError> {
        match std::fs::remove_dir_all(data_dir) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(directory::io_error(data_dir)(error)),
            _ => Ok(()),
        }
    }

    fn start(data_dir: &Path, lock: Option<DirectoryLock>) -> Result<Self, StoreError> {
        let path = data_dir.join(connection::FILE);
        let connection = connection::prepare(&path)?;
        let writer = Writer::start(connection, &path)?;
        Ok(Self { readers: Readers::new(path), writer: Some(writer), stands_in: false, _lock: lock })
    }

    /// Whether there is a store in `data_dir`.
    #[must_use]
    pub fn exists(data_dir: &Path) -> bool {
        data_dir.join(connection::FILE).exists()
    }

    /// Opens the store in `data_dir` for questions only, though a master may be running on it. All are answered from the
    /// state at this moment, whatever is written meanwhile.
    pub fn open_read_only(data_dir: &Path) -> Result<Self, StoreError> {
        Self::open_file_read_only(&data_dir.join(connection::FILE))
    }

    /// The same for a file of any name, such as a backup.
    pub fn open_file_read_only(path: &Path) -> Result<Self, StoreError> {
        let connection = connection::open_pinned(path)?;
        let readers = Readers::pinned(path.to_owned(), connection);
        Ok(Self { readers, writer: None, stands_in: false, _lock: None })
    }

    /// Writes all that the store in `data_dir` holds at this moment to `file`, which is not there. A master may be running on
    /// it. Blocks until it is written.
    pub fn back_up(data_dir: &Path, file: &Path) -> Result<(), StoreError> {
        backup::write(&data_dir.join(connection::FILE), file)
    }

    /// Makes of a backup a store that takes commits, in `dir`, which is there and empty: one of an older version is
    /// brought up to date, and the backup stays as it was.
    pub fn open_copy(backup: &Path, dir: &Path) -> Result<Self, StoreError> {
        backup::write(backup, &dir.join(connection::FILE))?;
        Self::start(dir, None)
    }

    /// The same store, which keeps from now on what is written to it for another one.
    #[must_use]
    pub fn standing_in(self) -> Self {
        Self { stands_in: true, ..self }
    }

    /// Commits what another store, which has all earlier commits, gets next. `text` is the changes as JSON.
    pub async fn commit_ahead(
        &self,
        changes: Vec<Change>,
        text: String,
        expected: Position,
    ) -> Result<Position, CommitError> {
        let ahead = Ahead::of_next(text);
        self.writer().map_err(CommitError::Fatal)?.commit(Batch::of(changes), expected, Some(ahead)).await
    }

    /// Commits behind `after` that the other store may not have, in their order, `limit` at the most.
    pub async fn ahead(&self, after: Position, limit: usize) -> Result<Vec<Kept>, StoreError> {
        self.readers.read(move |connection| ahead::list(connection, after, limit)).await
    }

    /// How many commits behind `after` were acknowledged without the other store.
    pub async fn count_alone(&self, after: Position) -> Result<usize, StoreError> {
        self.readers.read(move |connection| ahead::count_alone(connection, after)).await
    }

    /// The other store has all commits up to this one.
    pub async fn forget_ahead(&self, through: Position) -> Result<(), StoreError> {
        self.writer()?.keep_up(Upkeep::Forget(through)).await
    }

    /// Counts on from the position of another store, which holds the same.
    pub async fn adopt(&self, position: Position) -> Result<(), StoreError> {
        self.writer()?.keep_up(Upkeep::Adopt(position)).await
    }

    /// The cluster's own facts, without all else that [`Store::load`] reads.
    pub async fn cluster(&self) -> Result<Option<ClusterRecord>, StoreError> {
        self.readers.read(|connection| Ok(load::counters(connection)?.cluster)).await
    }

    /// How many commits it counts.
    pub async fn position(&self) -> Result<Position, StoreError> {
        self.readers.read(write::position).await
    }

    fn writer(&self) -> Result<&Writer, StoreError> {
        self.writer.as_ref().ok_or(StoreError::ReadOnly)
    }

    /// A new store in `dir`, which belongs to nobody else.
    pub(crate) fn open_scratch(dir: &Path) -> Result<Self, StoreError> {
        Self::start(dir, None)
    }
}

#[async_trait]
impl Store for SqliteStore {
    fn name(&self) -> &'static str {
        "sqlite"
    }

    fn stands_in(&self) -> bool {
        self.stands_in
    }

    async fn probe(&self) -> Result<(), StoreError> {
        self.readers.read(|connection| Ok(connection.query_row("SELECT 1", [], |_| Ok(()))?)).await
    }

    async fn load(&self) -> Result<(Snapshot, Position), StoreError> {
        self.readers.read(load::load).await
    }

    async fn commit(&self, changes: Vec<Change>, expected: Position) -> Result<Position, CommitError> {
        let ahead = self.stands_in.then(|| Ahead::alone(&changes)).transpose().map_err(CommitError::Fatal)?;
        self.writer().map_err(CommitError::Fatal)?.commit(Batch::of(changes), expected, ahead).await
    }

    async fn list_tasks(&self, query: TaskQuery) -> Result<(Vec<StoredTask>, Option<TaskCursor>), StoreError> {
        self.readers.read(move |connection| list::list_tasks(connection, &query)).await
    }

    async fn count_tasks(&self, query: TaskQuery) -> Result<TaskCounts, StoreError> {
        self.readers.read(move |connection| list::count_tasks(connection, &query)).await
    }

    async fn list_audit(&self, query: AuditQuery) -> Result<(Vec<AuditEntry>, Option<u64>), StoreError> {
        self.readers.read(move |connection| list::list_audit(connection, &query)).await
    }

    async fn find_task(&self, id: TaskId) -> Result<Option<StoredTask>, StoreError> {
        self.readers.read(move |connection| lookup::task(connection, id)).await
    }

    async fn list_attempts(&self, element: ElementId) -> Result<Vec<AttemptRecord>, StoreError> {
        self.readers.read(move |connection| lookup::attempts(connection, element)).await
    }

    async fn find_result(&self, element: ElementId) -> Result<Option<ResultRecord>, StoreError> {
        self.readers.read(move |connection| lookup::result(connection, element)).await
    }

    async fn find_keys(&self, keys: Vec<(UserName, Arc<str>)>) -> Result<Vec<Option<Arc<TaskRecord>>>, StoreError> {
        self.readers.read(move |connection| lookup::keys(connection, &keys)).await
    }

    async fn list_failures(
        &self,
        task: TaskId,
        elements: Elements,
        limit: usize,
    ) -> Result<Vec<ResultRecord>, StoreError> {
        self.readers.read(move |connection| lookup::failures(connection, task, elements, limit)).await
    }

    async fn list_files(
        &self,
        task: TaskId,
        elements: Elements,
        after: Option<FilePlace>,
        limit: usize,
    ) -> Result<Vec<StoredFile>, StoreError> {
        self.readers.read(move |connection| lookup::files(connection, (task, elements), after, limit)).await
    }

    async fn find_files(
        &self,
        task: TaskId,
        elements: Elements,
        attempt: Option<u32>,
        name: FileName,
    ) -> Result<Vec<StoredFile>, StoreError> {
        self.readers.read(move |connection| lookup::files_at(connection, (task, elements), attempt, &name)).await
    }

    async fn list_run_files(&self, task: TaskId, elements: Elements) -> Result<Vec<StoredFile>, StoreError> {
        self.readers.read(move |connection| lookup::run_files(connection, task, elements)).await
    }

    async fn list_run_sizes(&self, task: TaskId, elements: Elements) -> Result<Vec<RunSize>, StoreError> {
        self.readers.read(move |connection| uploads::run_sizes(connection, task, elements)).await
    }

    async fn list_run_blobs(&self, element: ElementId, attempt: u32) -> Result<BTreeSet<BlobId>, StoreError> {
        self.readers.read(move |connection| uploads::run_blobs(connection, element, attempt)).await
    }

    async fn find_upload(&self, element: ElementId, attempt: u32) -> Result<Option<UploadRecord>, StoreError> {
        self.readers.read(move |connection| uploads::find(connection, element, attempt)).await
    }

    async fn list_uploads(&self, limit: usize) -> Result<Vec<AttemptKey>, StoreError> {
        self.readers.read(move |connection| uploads::list(connection, limit)).await
    }

    async fn list_input_files(&self, id: InputId) -> Result<Vec<InputFile>, StoreError> {
        self.readers.read(move |connection| lookup::input_files(connection, id)).await
    }

    async fn find_input_file(&self, id: InputId, path: Vec<u8>) -> Result<Option<InputFile>, StoreError> {
        self.readers.read(move |connection| lookup::input_file(connection, id, &path)).await
    }

    async fn list_tasks_with_files(&self, ended_before: WallTime, limit: usize) -> Result<Vec<TaskId>, StoreError> {
        self.readers.read(move |connection| lookup::tasks_with_files(connection, ended_before, limit)).await
    }

    async fn list_user_files(&self, query: FileQuery) -> Result<(Vec<StoredFile>, Option<FileCursor>), StoreError> {
        self.readers.read(move |connection| list::list_user_files(connection, &query)).await
    }

    async fn dump_tasks(
        &self,
        from: DumpCursor,
        limit: usize,
    ) -> Result<(Vec<Change>, Option<DumpCursor>), StoreError> {
        self.readers.read(move |connection| dump::page(connection, from, limit)).await
    }

    async fn list_strays(&self, limit: usize) -> Result<Vec<String>, StoreError> {
        self.readers.read(move |connection| strays::list(connection, limit)).await
    }

    async fn count_ended(&self) -> Result<TaskCounts, StoreError> {
        self.readers.read(lookup::count_ended).await
    }
}

#[cfg(test)]
mod tests;
