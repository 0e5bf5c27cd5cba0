//! What is kept: the records that the store holds, and the changes that a batch makes to them.
//!
//! A [`Change`] names the whole new value of the part it touches, so applying it twice is the same as once, and of two
//! changes of one part in a batch the later one is enough.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use shared::array::Array;
use shared::audit::{AuditEntry, Chain};
use shared::confinement::Confinement;
use shared::gpu::GpuLease;
use shared::id::{
    AttemptKey, BlobId, ClusterId, ElementId, Epoch, InputId, LoginId, TaskId, TokenId, UserName, WorkerId,
};
use shared::link::Outcome;
use shared::ranges::RangeSet;
use shared::registry::RegistryName;
use shared::task::{AttemptState, TaskSpec, TaskState, Verdict, VerdictKind};
use shared::time::WallTime;
use shared::view::{Tally, TaskCounts};
use shared::worker::{Cordon, WorkerFacts};

use crate::account::{TokenRecord, UserRecord};
use crate::admission::{Admission, JoinTokenRecord, PendingRecord};
use crate::files::{FileUsage, GoneFile, InputFile, InputRecord, Leftover, UploadRecord};
use crate::guesses::{GuessCount, GuessKey};
use crate::login::LoginRecord;
use crate::recent::Recent;
use crate::registry::RegistryRecord;

/// One durable change. All changes of a batch are committed together or not at all.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Change {
    /// The cluster's own facts.
    Cluster(ClusterRecord),
    /// A new submission. Never sent twice for one id.
    NewTask(Arc<TaskRecord>),
    /// The same work with another name or other labels.
    Spec(TaskId, Arc<TaskSpec>),
    /// A submission that has ended is no more, with its runs, results and files; its bytes on disk still have to go.
    Gone(TaskId),
    /// Output files that are no more; their bytes may still have to go.
    FilesGone(Arc<[GoneFile]>),
    /// All output files of a run are no more, also those of an upload that has not ended. Says whether their bytes still
    /// have to go.
    RunFilesGone(AttemptKey, bool),
    /// Uploaded files, new or changed.
    Input(InputRecord),
    /// Files of an input: new ones, or that they have arrived.
    InputFiles(InputId, Arc<[InputFile]>),
    /// An input is no more, with all its files; its bytes on disk still have to go.
    InputGone(InputId),
    /// What a user keeps.
    FileUsage(UserName, FileUsage),
    /// Still kept although nothing names it, taken over from another store.
    Left(Leftover),
    /// What was left is gone too.
    Swept(Leftover),
    /// Where a submission stands now.
    Progress(TaskId, Progress),
    /// A run, new or changed.
    Attempt(AttemptRecord),
    /// The end of an element. Never sent twice for one element.
    Result(ResultRecord),
    /// A worker, new or changed; none: it is no more.
    Worker(WorkerId, Option<WorkerRecord>),
    /// A join token, new or used; none: it is no more.
    JoinToken(TokenId, Option<JoinTokenRecord>),
    /// A worker that waits to be let in; none: it waits no longer.
    Pending(WorkerId, Option<PendingRecord>),
    /// What a registry knows us by; none: it does no more.
    Registry(RegistryName, Option<RegistryRecord>),
    /// An account, new or changed.
    User(UserRecord),
    /// A personal token, new or changed; none: it is no more.
    Token(TokenId, Option<TokenRecord>),
    /// A new entry of the audit log. Never changed, never sent twice.
    Audit(AuditEntry),
    /// A login, new or used; none: it is no more.
    Login(LoginId, Option<LoginRecord>),
    /// Wrong passwords in a row; none: they are forgotten.
    Guess(GuessKey, Option<GuessCount>),
    /// The output files of one run, all of them.
    Files(AttemptKey, Arc<[FileRecord]>),
    /// More output files of a run: they come to those that are known.
    FilesAdded(AttemptKey, Arc<[FileRecord]>),
    /// How far the upload of a run's output files is; none: it has ended, and its files are there for everybody.
    Upload(AttemptKey, Option<UploadRecord>),
    /// What no record shows, taken over from another store, when all its records are here.
    Totals(Totals),
}

/// The cluster's own facts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterRecord {
    /// Made at the first start.
    pub cluster: ClusterId,
    /// Raised at every start.
    pub epoch: Epoch,
}

/// What counts on over the whole life of the cluster, though its submissions are deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Totals {
    /// The highest sequence ever given to a submission.
    pub last_sequence: u64,
    /// Elements in final states.
    pub ended: TaskCounts,
}

/// A submission as it was accepted. Nothing of it ever changes but its name and labels, while it waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskRecord {
    /// Its id.
    pub id: TaskId,
    /// Place in the order of submissions, over the whole life of the cluster.
    pub sequence: u64,
    /// Whose it is.
    pub user: UserName,
    /// What runs.
    pub spec: Arc<TaskSpec>,
    /// Its elements; none: a plain task, which has one with the index 0.
    pub array: Option<Arc<Array>>,
    /// The submission of which this one runs elements again.
    pub retry_of: Option<TaskId>,
    /// The client's idempotency key and the digest of the request that it came with.
    pub key: Option<IdempotencyKey>,
    /// When it was accepted.
    pub submitted_at: WallTime,
}

impl TaskRecord {
    /// How many elements it has.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.array.as_ref().map_or(1, |array| array.indices.len())
    }

    /// The indices of its elements.
    #[must_use]
    pub fn indices(&self) -> RangeSet {
        self.array.as_ref().map_or_else(|| RangeSet::first(1), |array| array.indices.clone())
    }

    /// Whether it has an element with this index.
    #[must_use]
    pub fn has(&self, index: u32) -> bool {
        self.array.as_ref().map_or(index == 0, |array| array.indices.contains(index))
    }
}

/// A client's promise that two requests with the same key are one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct IdempotencyKey {
    /// As the client wrote it; unique per user.
    pub key: Arc<str>,
    /// Digest of the request, to tell a retry from a mistake.
    pub digest: [u8; 16],
}

/// Where a submission stands: the part of it that changes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Progress {
    /// Elements by state.
    pub tally: Tally,
    /// Elements that wait and were never given to a worker.
    pub untouched: RangeSet,
    /// Elements that wait for another run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requeued: Vec<Requeued>,
    /// Elements that ended.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub ended: BTreeMap<VerdictKind, RangeSet>,
    /// Elements that someone asked to cancel and that a worker still has to stop.
    #[serde(default, skip_serializing_if = "RangeSet::is_empty")]
    pub cancelling: RangeSet,
    /// Elements whose worker was lost, and that may run once at most, or that no other one could take: they may still be
    /// running there.
    #[serde(default, skip_serializing_if = "RangeSet::is_empty")]
    pub unreachable: RangeSet,
    /// Elements whose worker is drained, so that they are being stopped there, to run elsewhere.
    #[serde(default, skip_serializing_if = "RangeSet::is_empty")]
    pub evicting: RangeSet,
    /// Elements of which runs were given back in good order, by index.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub spared: Vec<Spared>,
    /// How the last runs of an array ended; empty: it has not begun to fail, is over, or is none.
    #[serde(default, skip_serializing_if = "Recent::is_empty")]
    pub recent: Recent,
    /// The image by its content, as its first run has had it; none: it came from no registry, or nothing has run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// When the first container started.
    pub started_at: Option<WallTime>,
    /// When the last element ended.
    pub finished_at: Option<WallTime>,
}

impl Progress {
    /// That of a submission of which nothing has run.
    #[must_use]
    pub fn untouched(indices: RangeSet) -> Self {
        let tally = Tally { queued: indices.len(), ..Tally::default() };
        Self { tally, untouched: indices, ..Self::default() }
    }

    /// The state that stands for all elements.
    #[must_use]
    pub fn state(&self) -> TaskState {
        self.tally.summary()
    }
}

/// An element that was moved from worker to worker because operators wanted it so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spared {
    /// Which.
    pub index: u32,
    /// How many of the runs that the infrastructure ended were ended in this way, and are not held against it.
    pub runs: u32,
}

/// An element that waits for another run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Requeued {
    /// Which.
    pub index: u32,
    /// Runs so far.
    pub attempts: u32,
    /// Those of them that the infrastructure ended.
    pub infrastructure_failures: u32,
    /// Bytes of memory that it gets, where that is more than its task asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
    /// How long it does not run after it was put back.
    #[serde(default, skip_serializing_if = "Duration::is_zero")]
    pub pause: Duration,
}

/// A run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptRecord {
    /// Which.
    pub key: AttemptKey,
    /// Where.
    pub worker: WorkerId,
    /// How far.
    pub state: AttemptState,
    /// How it ended; there if and only if `state` is ended.
    pub verdict: Option<Verdict>,
    /// Earlier runs of this element that the infrastructure ended.
    pub infrastructure_failures: u32,
    /// Bytes of memory that it has, where that is more than its task asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
    /// The GPUs that it has; empty: none, or whichever its worker picks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gpus: Vec<GpuLease>,
    /// What its container is kept from, where the pool of its worker makes that more than its task is kept from elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confinement: Option<Confinement>,
    /// What of its log and its outputs was not collected, and why; of the last run of an element its result says that.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// When it was placed.
    pub placed_at: WallTime,
    /// When its container started.
    pub started_at: Option<WallTime>,
    /// When it ended.
    pub finished_at: Option<WallTime>,
}

/// The end of an element.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResultRecord {
    /// Which.
    pub element: ElementId,
    /// How.
    pub verdict: Verdict,
    /// The last run; 0 if it was cancelled before the first.
    pub attempt: u32,
    /// Where the last run was.
    pub worker: Option<WorkerId>,
    /// When the last run's container started.
    pub started_at: Option<WallTime>,
    /// When it ended.
    pub finished_at: WallTime,
    /// What the worker reported of the last run.
    pub outcome: Option<Outcome>,
}

/// A worker that has registered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerRecord {
    /// Its name.
    pub id: WorkerId,
    /// What it proves itself with.
    pub admission: Admission,
    /// What it last said of itself.
    pub facts: WorkerFacts,
    /// When it first registered.
    pub registered_at: WallTime,
    /// When it last registered.
    pub seen_at: WallTime,
    /// Why it gets no new work, if an operator wants it so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cordon: Option<Cordon>,
}

/// An output file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRecord {
    /// Relative to /output; any bytes but NUL. Data only, never part of a path on the master's disk.
    pub path: Vec<u8>,
    /// Bytes.
    pub size: u64,
    /// BLAKE3 of the content.
    pub blake3: [u8; 32],
    /// Where the content is kept; none: under its BLAKE3, as it was before contents had names of their own.
    pub blob: Option<BlobId>,
    /// Small files are kept together: where in `blob` this one begins; none: it is all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<u64>,
}

/// Everything that the core needs to go on after a restart: what has not ended.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Snapshot {
    /// None at the very first start.
    pub cluster: Option<ClusterRecord>,
    /// The highest sequence ever given to a submission; 0 if there was none.
    pub last_sequence: u64,
    /// All accounts.
    pub users: Vec<UserRecord>,
    /// All personal tokens.
    pub tokens: Vec<TokenRecord>,
    /// Where the audit log ends.
    pub audit: Chain,
    /// All logins.
    pub logins: Vec<LoginRecord>,
    /// Wrong passwords in a row.
    pub guesses: Vec<(GuessKey, GuessCount)>,
    /// What may still be kept although nothing names it.
    pub unswept: Vec<Leftover>,
    /// All inputs.
    pub inputs: Vec<InputRecord>,
    /// The contents of inputs that have not arrived.
    pub missing: Vec<(InputId, BlobId)>,
    /// What users keep.
    pub file_usage: Vec<(UserName, FileUsage)>,
    /// All workers.
    pub workers: Vec<WorkerRecord>,
    /// All join tokens.
    pub join_tokens: Vec<JoinTokenRecord>,
    /// Workers that wait to be let in.
    pub pending: Vec<PendingRecord>,
    /// All registries that know us.
    pub registries: Vec<RegistryRecord>,
    /// Submissions with at least one element that has not ended, by sequence.
    pub tasks: Vec<(Arc<TaskRecord>, Progress)>,
    /// Runs that have not ended.
    pub attempts: Vec<AttemptRecord>,
}

impl Snapshot {
    /// Whether it is of a store into which another one was copied, but not to the end: the cluster's own facts, which are
    /// the first that a store of its own gets, are the last that a copy gets.
    #[must_use]
    pub fn is_unfinished_copy(&self) -> bool {
        self.cluster.is_none() && *self != Self::default()
    }
}
