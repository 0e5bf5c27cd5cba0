//! Where facts are kept: one trait, and one conformance suite ([`contract`]) that every implementation passes.
//!
//! A commit is all or nothing and durable when it returns. It names the position that it builds on; if somebody else
//! has written meanwhile, nothing is kept and the answer is [`CommitError::Fenced`].

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use cloudaid_core::files::{FileUsage, InputFile, UploadRecord};
use cloudaid_core::record::{AttemptRecord, Change, FileRecord, Progress, ResultRecord, Snapshot, TaskRecord};
use shared::audit::AuditEntry;
use shared::id::{AttemptKey, BlobId, ElementId, Elements, InputId, TaskId, UserName, WorkerId};
use shared::task::TaskState;
use shared::time::WallTime;
use shared::view::TaskCounts;

pub mod check;
pub mod coalesce;
pub mod contract;
pub mod dump;
mod files;
pub mod memory;
pub mod mongo;
mod pages;
pub mod sqlite;
pub mod strays;
pub mod summary;
pub mod transfer;
pub mod walk;

pub use dump::DumpCursor;
pub use files::FileName;
pub(crate) use pages::PageRoom;
pub use pages::{FileCursor, FilePlace, FileQuery};

/// Does what blocks off the threads that must not.
///
/// # Errors
/// Those of `work`, or the thread that did it is gone.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| StoreError::Closed)?
}

/// Counts the commits of a store. A commit at position n makes n + 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position(pub u64);

/// The durable facts of a cluster.
#[async_trait]
pub trait Store: Send + Sync + fmt::Debug + 'static {
    /// A name for people: `sqlite`, `memory`.
    fn name(&self) -> &'static str;

    /// Whether it stands in for another one that could not be reached, and does not know what that one knows.
    fn stands_in(&self) -> bool {
        false
    }

    /// Messages to a server so far, if it has one.
    fn round_trips(&self) -> Option<u64> {
        None
    }

    /// Whether it answers now.
    async fn probe(&self) -> Result<(), StoreError>;

    /// Everything that has not ended, and the position to build the first commit on.
    async fn load(&self) -> Result<(Snapshot, Position), StoreError>;

    /// Makes all `changes` durable, or none. An empty list is a commit too.
    async fn commit(&self, changes: Vec<Change>, expected: Position) -> Result<Position, CommitError>;

    /// A page of submissions, newest first, and the cursor of the next page.
    async fn list_tasks(&self, query: TaskQuery) -> Result<(Vec<StoredTask>, Option<TaskCursor>), StoreError>;

    /// One submission.
    async fn find_task(&self, id: TaskId) -> Result<Option<StoredTask>, StoreError>;

    /// The runs of one element, oldest first.
    async fn list_attempts(&self, element: ElementId) -> Result<Vec<AttemptRecord>, StoreError>;

    /// How an element ended.
    async fn find_result(&self, element: ElementId) -> Result<Option<ResultRecord>, StoreError>;

    /// How elements of a submission ended that neither succeeded nor were cancelled: by index, `limit` at the most.
    async fn list_failures(
        &self,
        task: TaskId,
        elements: Elements,
        limit: usize,
    ) -> Result<Vec<ResultRecord>, StoreError>;

    /// The submissions that were made with these keys, in the order of the keys.
    async fn find_keys(&self, keys: Vec<(UserName, Arc<str>)>) -> Result<Vec<Option<Arc<TaskRecord>>>, StoreError>;

    /// The output files of elements of a submission: of the last run that has any, by element and path; those behind
    /// `after`, `limit` at the most, and fewer where their paths are long. Of the element of `after` they are of the run that
    /// this names, also if there is a later one by now.
    async fn list_files(
        &self,
        task: TaskId,
        elements: Elements,
        after: Option<FilePlace>,
        limit: usize,
    ) -> Result<Vec<StoredFile>, StoreError>;

    /// Of these files the ones with this name, by element; or those of the run with this number of each.
    async fn find_files(
        &self,
        task: TaskId,
        elements: Elements,
        attempt: Option<u32>,
        name: FileName,
    ) -> Result<Vec<StoredFile>, StoreError>;

    /// The output files of all runs of elements of a submission, by element, run and path.
    async fn list_run_files(&self, task: TaskId, elements: Elements) -> Result<Vec<StoredFile>, StoreError>;

    /// How much of output files each run of elements of a submission has, if it has any: by element and run.
    async fn list_run_sizes(&self, task: TaskId, elements: Elements) -> Result<Vec<RunSize>, StoreError>;

    /// Where the contents of the output files of a run are, also those of an upload that has not ended.
    async fn list_run_blobs(&self, element: ElementId, attempt: u32) -> Result<BTreeSet<BlobId>, StoreError>;

    /// How far an upload of output files is that has not ended. No other question shows the files of its run.
    async fn find_upload(&self, element: ElementId, attempt: u32) -> Result<Option<UploadRecord>, StoreError>;

    /// Runs of which the upload has not ended, `limit` at the most.
    async fn list_uploads(&self, limit: usize) -> Result<Vec<AttemptKey>, StoreError>;

    /// The files of an input, by path.
    async fn list_input_files(&self, id: InputId) -> Result<Vec<InputFile>, StoreError>;

    /// One of them.
    async fn find_input_file(&self, id: InputId, path: Vec<u8>) -> Result<Option<InputFile>, StoreError>;

    /// Submissions that ended before a time and have output files: by id, `limit` at the most.
    async fn list_tasks_with_files(&self, ended_before: WallTime, limit: usize) -> Result<Vec<TaskId>, StoreError>;

    /// A page of the output files of all submissions of a user, of each what [`Store::list_files`] gives, newest
    /// submission first; and the cursor of the next page.
    async fn list_user_files(&self, query: FileQuery) -> Result<(Vec<StoredFile>, Option<FileCursor>), StoreError>;

    /// How many submissions there are in each state, of those that a query selects; its page does not matter.
    async fn count_tasks(&self, query: TaskQuery) -> Result<TaskCounts, StoreError>;

    /// One page of the audit log, and where the next one begins.
    async fn list_audit(&self, query: AuditQuery) -> Result<(Vec<AuditEntry>, Option<u64>), StoreError>;

    /// A page of all submissions, ended or not, with all that is known of them, as the changes that make them, and where
    /// the next page begins. In the order that [`dump`] tells, about `limit` rows of it.
    async fn dump_tasks(&self, from: DumpCursor, limit: usize)
    -> Result<(Vec<Change>, Option<DumpCursor>), StoreError>;

    /// Rows that belong to nothing and that no other question shows, and what else only the store itself can find wrong
    /// with it: in words, each with the id that it is about, `limit` at the most.
    async fn list_strays(&self, limit: usize) -> Result<Vec<String>, StoreError>;

    /// Elements in final states, over the whole life of the cluster (the other counts are zero).
    async fn count_ended(&self) -> Result<TaskCounts, StoreError>;
}

/// What a run has of output files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunSize {
    /// Of what.
    pub element: ElementId,
    /// Its number.
    pub attempt: u32,
    /// All of them together.
    pub size: FileUsage,
}

/// A submission with what the store knows of its progress.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredTask {
    /// As accepted.
    pub record: Arc<TaskRecord>,
    /// Where it stands.
    pub progress: Progress,
    /// The last run of element 0, where the submission has one element.
    pub last_attempt: Option<AttemptRecord>,
    /// The end of element 0, where the submission has one element.
    pub result: Option<ResultRecord>,
}

/// An output file and the run that wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredFile {
    /// The element.
    pub element: ElementId,
    /// The run.
    pub attempt: u32,
    /// The file.
    pub file: FileRecord,
}

/// Where a page ends: the sequence of its last submission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TaskCursor(pub u64);

/// Which submissions to list. All conditions hold together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskQuery {
    /// In this state (as a whole).
    pub state: Option<TaskState>,
    /// Of this user.
    pub user: Option<UserName>,
    /// With all of these labels.
    pub labels: Vec<(String, String)>,
    /// With a run on this worker.
    pub worker: Option<WorkerId>,
    /// Submitted at this time or later.
    pub since: Option<WallTime>,
    /// Submitted before this time.
    pub until: Option<WallTime>,
    /// After this page.
    pub after: Option<TaskCursor>,
    /// The most to return, 1 to 1,000.
    pub limit: usize,
}

impl Default for TaskQuery {
    fn default() -> Self {
        Self {
            state: None,
            user: None,
            labels: Vec::new(),
            worker: None,
            since: None,
            until: None,
            after: None,
            limit: 100,
        }
    }
}

impl TaskQuery {
    /// The most to return, within bounds.
    pub(crate) fn page_size(&self) -> usize {
        self.limit.clamp(1, 1000)
    }

    /// Cuts what was found, one more than the page if there are more, to the page. Returns the cursor of the next one.
    pub(crate) fn end_page(&self, found: &mut Vec<StoredTask>) -> Option<TaskCursor> {
        end_page(found, self.page_size()).map(|last| TaskCursor(last.record.sequence))
    }
}

/// Cuts what was found, one more than the page if there are more, to the page. Returns its last, if there are more.
fn end_page<T>(found: &mut Vec<T>, page_size: usize) -> Option<&T> {
    let more = found.len() > page_size;
    found.truncate(page_size);
    found.last().filter(|_| more)
}

/// Which entries of the audit log to list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditQuery {
    /// Where to begin.
    pub page: AuditPage,
    /// Of this user.
    pub user: Option<UserName>,
    /// At this time or later.
    pub since: Option<WallTime>,
    /// The most to return, 1 or more.
    pub limit: usize,
}

impl AuditQuery {
    /// Cuts what was found, one more than the page if there are more, to the page. Returns where the next one begins.
    pub(crate) fn end_page(&self, found: &mut Vec<AuditEntry>) -> Option<u64> {
        end_page(found, self.limit).map(|last| last.sequence)
    }
}

/// Where a page of the audit log begins, and its order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuditPage {
    /// The newest first, those before this one.
    Before(Option<u64>),
    /// The oldest first, those after this one.
    After(u64),
}

/// Why a commit did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// Another process has written: nothing was kept, and this one must stop.
    #[error("another master has written to the store (it is at commit {}, this one at {})", found.0, expected.0)]
    Fenced {
        /// What this process believed.
        expected: Position,
        /// What the store says.
        found: Position,
    },
    /// The store cannot be trusted any more in this process (for example a failed fsync): exit, and recover at the next
    /// start.
    #[error("the store failed: {0}")]
    Fatal(#[source] StoreError),
    /// Nothing was kept; the same commit may succeed later.
    #[error("the store is not available: {0}")]
    Unavailable(#[source] StoreError),
    /// It is not known whether it was kept; the same commit, at the same position, is safe to repeat.
    #[error("the outcome of the commit is not known: {0}")]
    Unknown(#[source] StoreError),
}

/// A store that cannot be opened or read.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process has it open.
    #[error("the data directory {path} is in use by another process{holder}")]
    InUse {
        /// The directory.
        path: String,
        /// ` (process 123)` if it is known.
        holder: String,
    },
    /// A newer version of CloudAI wrote it.
    #[error(
        "the store was written by a newer version of cloudaid (schema {found}, this one knows {known}): start that version"
    )]
    TooNew {
        /// Schema in the store.
        found: u32,
        /// Newest schema known here.
        known: u32,
    },
    /// The database said no.
    #[error("database: {0}")]
    Database(#[from] rusqlite::Error),
    /// The operating system said no.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// MongoDB does not answer.
    #[error("MongoDB cannot be reached: {0}")]
    Unreachable(String),
    /// MongoDB does not let us.
    #[error("MongoDB refuses: {0}")]
    NotAllowed(String),
    /// MongoDB said no.
    #[error("MongoDB: {0}")]
    Server(String),
    /// An older version of CloudAI wrote it, and it is only to be read.
    #[error("the store was written by an older version of cloudaid (schema {found}, this one knows {known})")]
    TooOld {
        /// Schema in the store.
        found: u32,
        /// Schema that can be read here.
        known: u32,
    },
    /// There is nothing to read.
    #[error("there is no store at {path}")]
    Missing {
        /// The file.
        path: String,
    },
    /// It only answers questions.
    #[error("the store was opened to be read, and takes no commits")]
    ReadOnly,
    /// The data directory is of another cluster than MongoDB.
    #[error("the MongoDB at {place} {found}, and the data directory is of cluster {expected}")]
    OtherCluster {
        /// Host and database.
        place: String,
        /// What is there.
        found: String,
        /// What should be.
        expected: String,
    },
    /// What was written while MongoDB was away cannot go there any more.
    #[error(
        "the embedded store in {path} has {commits} commits that were made while MongoDB could not be reached, and another \
         master has written to MongoDB since"
    )]
    Diverged {
        /// Its directory.
        path: String,
        /// How many.
        commits: usize,
    },
    /// What is stored cannot be understood.
    #[error("the store holds something that cannot be read: {0}")]
    Corrupt(String),
    /// The store's thread is gone.
    #[error("the store is closed")]
    Closed,
}
