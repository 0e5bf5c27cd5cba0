//! The store in MongoDB. A commit is one insert into `JOURNAL`; the collections that people and questions read follow at
//! once, and are caught up at the start.
//!
//! `journal` (commits), `projector` and `project` (what shows them in the collections), `documents` and `codec` (records as
//! documents), `load`, `lookup`, `list`, `dump` and `strays` (questions), `connect` (from a URI to a store), `server` and
//! `fault` (commands and what their errors mean), `mirror` and `import` (the embedded store that follows and stands in),
//! `backup` and `hold` (one state of a store that is in use).

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use cloudaid_core::files::{InputFile, UploadRecord};
use cloudaid_core::record::{AttemptRecord, Change, ResultRecord, Snapshot, TaskRecord};
use mongodb::bson::doc;
use shared::audit::AuditEntry;
use shared::id::{AttemptKey, BlobId, ElementId, Elements, InputId, TaskId, UserName};
use shared::time::WallTime;
use shared::view::TaskCounts;
use tokio::sync::{Mutex, mpsc};
use tokio::time::{Instant, sleep, timeout};

use crate::store::{
    AuditQuery, CommitError, DumpCursor, FileCursor, FileName, FilePlace, FileQuery, Position, RunSize, Store,
    StoreError, StoredFile, StoredTask, TaskCursor, TaskQuery, pages,
};

mod backup;
mod check;
mod codec;
mod collections;
mod connect;
mod documents;
mod dump;
mod fault;
mod hold;
mod import;
mod journal;
mod list;
mod load;
mod lookup;
mod mirror;
mod project;
mod projector;
mod server;
mod strays;
mod uploads;

pub use connect::MongoConfig;
pub use import::Standing;

use journal::{Entry, Journal, Outcome};
use mirror::Mirror;
use projector::{Projector, Shown};
use server::Server;

/// How long a server is waited for at the start, and how often it is tried.
const PATIENCE: Duration = Duration::from_secs(5);
const RETRY: Duration = Duration::from_millis(100);
/// How long a question waits for the collections to show what was committed before it.
const SHOWN_LIMIT: Duration = Duration::from_secs(2);
/// The same for one that can be answered from what was shown before.
const COUNT_LIMIT: Duration = Duration::from_millis(500);
/// How long a question may take that submissions wait for, and one that a commit waits for: who submits shall hear within a
/// second, whatever the server does.
const KEYS_LIMIT: Duration = Duration::from_millis(250);
const CHECK_LIMIT: Duration = Duration::from_millis(250);
/// How often its limit is doubled for those that come after it.
const SLOW_CHECKS: u32 = 6;
/// Keys that are remembered as free.
const ABSENT: usize = 100_000;
/// How soon a server that is well answers.
const PROBE_LIMIT: Duration = Duration::from_millis(500);

/// The store in MongoDB.
#[derive(Debug)]
pub struct MongoStore {
    server: Server,
    journal: Arc<Journal>,
    shown: Arc<Shown>,
    head: Mutex<Head>,
    /// The position of the head, for questions.
    committed: AtomicU64,
    /// Keys that were asked for and that no submission had: only a commit of this handle can change that.
    absent: parking_lot::Mutex<HashSet<String>>,
    trips: Arc<AtomicU64>,
    mirror: Mirror,
}

/// Where commits are made.
#[derive(Debug)]
struct Head {
    position: u64,
    epoch: u32,
    /// The highest sequence of a submission.
    last_sequence: u64,
    /// Checks before a commit that took too long, less those that did not.
    slow_checks: u32,
    /// Keys of submissions that may not be shown yet, with their position.
    recent: HashMap<String, (TaskId, u64)>,
    queue: mpsc::UnboundedSender<Entry>,
}

impl MongoStore {
    /// Connects, makes what is missing, and catches up with the journal.
    ///
    /// # Errors
    /// The server cannot be reached, lets nobody in or nobody write, is too old, or holds what cannot be understood.
    pub async fn open(config: &MongoConfig) -> Result<Self, StoreError> {
        patiently(|| Self::try_open(config)).await
    }

    /// The same, but only where there is something: nothing is made.
    ///
    /// # Errors
    /// There is nothing, or see [`MongoStore::open`].
    pub async fn open_existing(config: &MongoConfig) -> Result<Self, StoreError> {
        let is_there = patiently(|| async {
            let server = connect::connect(config).await?.server;
            Ok(load::cluster(&server).await?.is_some() || Journal::new(server).head().await? > 0)
        });
        if is_there.await? { Self::open(config).await } else { Err(StoreError::Missing { path: config.place() }) }
    }

    async fn try_open(config: &MongoConfig) -> Result<Self, StoreError> {
        let connected = connect::connect(config).await?;
        let server = connected.server;
        let patient = server.patient();
        collections::ensure(&patient, config.database()).await?;
        let caught_up = load::catch_up(&patient, &Journal::new(patient.clone())).await?;
        let shown = Arc::new(Shown::new(caught_up.position));
        *shown.sequences.lock() = load::sequences(&patient).await?;
        *shown.runs.lock() = load::runs(&patient).await?;
        *shown.ended.lock() = Some(load::count_ended(&patient).await?);
        let journal = Arc::new(Journal::new(server.clone()));
        let (queue, waiting) = mpsc::unbounded_channel();
        let projector =
            Projector { server: server.clone(), journal: journal.clone(), shown: shown.clone(), queue: waiting };
        tokio::spawn(projector.run());
        let head = Head {
            position: caught_up.position,
            epoch: caught_up.epoch,
            last_sequence: caught_up.last_sequence,
            slow_checks: 0,
            recent: HashMap::new(),
            queue,
        };
        Ok(Self {
            server,
            journal,
            shown,
            committed: AtomicU64::new(head.position),
            absent: parking_lot::Mutex::default(),
            head: Mutex::new(head),
            trips: connected.trips,
            mirror: Mirror::default(),
        })
    }

    /// Waits until what was committed before can be read.
    async fn settled(&self) -> Result<(), StoreError> {
        let limit = self.server.show_limit(SHOWN_LIMIT);
        self.shown.wait_for(self.committed.load(Ordering::Acquire), limit).await
    }

    /// The keys of these submissions that are known to be free. What is forgotten with them is asked for again.
    fn take_absent(&self, changes: &[Change]) -> HashSet<String> {
        let mut absent = self.absent.lock();
        if absent.len() > ABSENT {
            absent.clear();
        }
        let keys = changes.iter().filter_map(|change| match change {
            Change::NewTask(record) if record.key.is_some() => Some(documents::dedup(record)),
            _ => None,
        });
        keys.filter_map(|key| absent.take(&key)).collect()
    }
}

fn no_answer() -> StoreError {
    StoreError::Unreachable("no answer in time".to_owned())
}

#[async_trait]
impl Store for MongoStore {
    fn name(&self) -> &'static str {
        "mongodb"
    }

    fn round_trips(&self) -> Option<u64> {
        Some(self.trips.load(Ordering::Relaxed))
    }

    async fn probe(&self) -> Result<(), StoreError> {
        if let Some(failure) = &*self.shown.failure.lock() {
            return Err(StoreError::Server(failure.clone()));
        }
        self.server.command(PROBE_LIMIT, doc! { "ping": 1 }).await?;
        Ok(())
    }

    async fn load(&self) -> Result<(Snapshot, Position), StoreError> {
        let head = self.head.lock().await;
        self.settled().await?;
        if self.journal.head().await? != head.position {
            return Err(StoreError::Server("another master has written to it meanwhile".to_owned()));
        }
        Ok((load::load(&self.server).await?, Position(head.position)))
    }

    async fn commit(&self, changes: Vec<Change>, expected: Position) -> Result<Position, CommitError> {
        let mut head = self.head.lock().await;
        if let Some(failure) = &*self.shown.failure.lock() {
            return Err(CommitError::Fatal(StoreError::Server(failure.clone())));
        }
        if head.position != expected.0 {
            let found = self.journal.head().await?;
            return Err(CommitError::Fenced { expected, found: Position(found) });
        }
        let absent = self.take_absent(&changes);
        let check = check::check(&self.server, &self.shown, &head, &changes, &absent);
        // Whoever tries again has nobody waiting any more, and gets as long as it takes.
        match timeout(CHECK_LIMIT * (1 << head.slow_checks), check).await {
            Ok(checked) => {
                checked?;
                head.slow_checks = head.slow_checks.saturating_sub(1);
            }
            Err(_) => {
                head.slow_checks = (head.slow_checks + 1).min(SLOW_CHECKS);
                return Err(CommitError::Unavailable(no_answer()));
            }
        }
        let text = journal::text(&changes).map_err(CommitError::Fatal)?;
        self.mirror.prepare(&changes, &text, expected).await;
        let entry = Entry { position: head.position + 1, changes: Arc::new(changes) };
        let epoch = entry.changes.iter().rev().find_map(|change| match change {
            Change::Cluster(record) => Some(record.epoch.0),
            _ => None,
        });
        match self.journal.append(&entry, text, epoch.unwrap_or(head.epoch)).await? {
            Outcome::Kept => {}
            Outcome::Taken => {
                let found = self.journal.head().await.unwrap_or(entry.position);
                return Err(CommitError::Fenced { expected, found: Position(found) });
            }
        }
        head.advance(&entry, epoch, &self.shown);
        self.committed.store(entry.position, Ordering::Release);
        let position = Position(entry.position);
        // The projector is gone only if it has failed, which the next commit sees.
        let _ = head.queue.send(entry);
        Ok(position)
    }

    async fn list_tasks(&self, query: TaskQuery) -> Result<(Vec<StoredTask>, Option<TaskCursor>), StoreError> {
        self.settled().await?;
        list::list_tasks(&self.server, &query).await
    }

    async fn find_task(&self, id: TaskId) -> Result<Option<StoredTask>, StoreError> {
        self.settled().await?;
        lookup::task(&self.server, id).await
    }

    async fn list_attempts(&self, element: ElementId) -> Result<Vec<AttemptRecord>, StoreError> {
        self.settled().await?;
        lookup::attempts(&self.server, element).await
    }

    async fn find_result(&self, element: ElementId) -> Result<Option<ResultRecord>, StoreError> {
        self.settled().await?;
        lookup::result(&self.server, element).await
    }

    async fn list_failures(
        &self,
        task: TaskId,
        elements: Elements,
        limit: usize,
    ) -> Result<Vec<ResultRecord>, StoreError> {
        self.settled().await?;
        lookup::failures(&self.server, task, elements, limit).await
    }

    async fn find_keys(&self, keys: Vec<(UserName, Arc<str>)>) -> Result<Vec<Option<Arc<TaskRecord>>>, StoreError> {
        let found = async {
            self.settled().await?;
            lookup::keys(&self.server, &keys).await
        };
        let found = timeout(KEYS_LIMIT, found).await.map_err(|_| no_answer())??;
        let mut absent = self.absent.lock();
        let unknown = keys.iter().zip(&found).filter(|(_, found)| found.is_none());
        absent.extend(unknown.map(|((user, key), _)| documents::dedup_of(user, key)));
        Ok(found)
    }

    async fn list_files(
        &self,
        task: TaskId,
        elements: Elements,
        after: Option<FilePlace>,
        limit: usize,
    ) -> Result<Vec<StoredFile>, StoreError> {
        self.settled().await?;
        Ok(pages::page(lookup::run_files(&self.server, task, elements).await?, after.as_ref(), limit))
    }

    async fn find_files(
        &self,
        task: TaskId,
        elements: Elements,
        attempt: Option<u32>,
        name: FileName,
    ) -> Result<Vec<StoredFile>, StoreError> {
        self.settled().await?;
        Ok(pages::named(lookup::run_files(&self.server, task, elements).await?, attempt, &name))
    }

    async fn list_run_files(&self, task: TaskId, elements: Elements) -> Result<Vec<StoredFile>, StoreError> {
        self.settled().await?;
        lookup::run_files(&self.server, task, elements).await
    }

    async fn list_run_sizes(&self, task: TaskId, elements: Elements) -> Result<Vec<RunSize>, StoreError> {
        self.settled().await?;
        uploads::run_sizes(&self.server, task, elements).await
    }

    async fn list_run_blobs(&self, element: ElementId, attempt: u32) -> Result<BTreeSet<BlobId>, StoreError> {
        self.settled().await?;
        uploads::run_blobs(&self.server, element, attempt).await
    }

    async fn find_upload(&self, element: ElementId, attempt: u32) -> Result<Option<UploadRecord>, StoreError> {
        self.settled().await?;
        uploads::find(&self.server, element, attempt).await
    }

    async fn list_uploads(&self, limit: usize) -> Result<Vec<AttemptKey>, StoreError> {
        self.settled().await?;
        uploads::keys(&self.server, doc! {}, limit).await
    }

    async fn list_input_files(&self, id: InputId) -> Result<Vec<InputFile>, StoreError> {
        self.settled().await?;
        lookup::input_files(&self.server, id).await
    }

    async fn find_input_file(&self, id: InputId, path: Vec<u8>) -> Result<Option<InputFile>, StoreError> {
        self.settled().await?;
        lookup::input_file(&self.server, id, &path).await
    }

    async fn list_tasks_with_files(&self, ended_before: WallTime, limit: usize) -> Result<Vec<TaskId>, StoreError> {
        self.settled().await?;
        lookup::tasks_with_files(&self.server, ended_before, limit).await
    }

    async fn list_user_files(&self, query: FileQuery) -> Result<(Vec<StoredFile>, Option<FileCursor>), StoreError> {
        self.settled().await?;
        list::list_user_files(&self.server, &query).await
    }

    async fn count_tasks(&self, query: TaskQuery) -> Result<TaskCounts, StoreError> {
        self.settled().await?;
        list::count_tasks(&self.server, &query).await
    }

    async fn list_audit(&self, query: AuditQuery) -> Result<(Vec<AuditEntry>, Option<u64>), StoreError> {
        self.settled().await?;
        list::list_audit(&self.server, &query).await
    }

    async fn dump_tasks(
        &self,
        from: DumpCursor,
        limit: usize,
    ) -> Result<(Vec<Change>, Option<DumpCursor>), StoreError> {
        self.settled().await?;
        dump::page(&self.server, from, limit).await
    }

    async fn list_strays(&self, limit: usize) -> Result<Vec<String>, StoreError> {
        self.settled().await?;
        strays::list(&self.server, limit).await
    }

    async fn count_ended(&self) -> Result<TaskCounts, StoreError> {
        let settled = self.shown.wait_for(self.committed.load(Ordering::Acquire), COUNT_LIMIT).await;
        let known = *self.shown.ended.lock();
        match known {
            // Of a server that does not answer the last figures are better than none.
            Some(counts) => Ok(counts),
            None => {
                let counted = async {
                    settled?;
                    load::count_ended(&self.server).await
                };
                match counted.await {
                    Ok(counts) => {
                        *self.shown.last_ended.lock() = counts;
                        Ok(counts)
                    }
                    Err(StoreError::Unreachable(_)) => Ok(*self.shown.last_ended.lock()),
                    Err(error) => Err(error),
                }
            }
        }
    }
}

impl Head {
    /// A commit was made.
    fn advance(&mut self, entry: &Entry, epoch: Option<u32>, shown: &Shown) {
        self.position = entry.position;
        self.epoch = epoch.unwrap_or(self.epoch);
        let visible = *shown.position.borrow();
        self.recent.retain(|_, (_, position)| *position > visible);
        let mut sequences = shown.sequences.lock();
        for change in entry.changes.iter() {
            match change {
                Change::NewTask(record) => {
                    self.last_sequence = self.last_sequence.max(record.sequence);
                    sequences.insert(record.id, record.sequence);
                    if record.key.is_some() {
                        self.recent.insert(documents::dedup(record), (record.id, entry.position));
                    }
                }
                Change::Totals(totals) => self.last_sequence = self.last_sequence.max(totals.last_sequence),
                _ => {}
            }
        }
    }
}

/// Elections and restarts pass.
async fn patiently<T, F: Future<Output = Result<T, StoreError>>>(attempt: impl Fn() -> F) -> Result<T, StoreError> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match attempt().await {
            Err(StoreError::Unreachable(_)) if Instant::now() < deadline => sleep(RETRY).await,
            outcome => return outcome,
        }
    }
}
