//! What the HTTP API answers: explicit types, so that nothing slips out that was not meant to. Names are contracts.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::confinement::Confinement;
use crate::gpu::GpuLease;
use crate::id::{InputId, UserName, WorkerId};
use crate::policy::RunPolicy;
use crate::pull::{PullPolicy, PullProgress};
use crate::resources::Resources;
use crate::selector::WorkerSelector;
use crate::task::{AttemptState, Command, TaskState, Verdict};
use crate::time::WallTime;

pub use account::{
    AuthorityView, CreateTokenRequest, CreateUserRequest, InviteRequest, InviteView, KeysView, LoginRequest, LoginView,
    LogoutRequest, MeView, NewTokenView, PasswordRequest, RefreshRequest, RegisterRequest, SetupRequest, TokenListView,
    TokenView, UpdateUserRequest, UserListView, UserView,
};
pub use admission::{
    ApproveWorkerRequest, CordonRequest, CreateWorkerTokenRequest, DrainRequest, NewWorkerTokenView,
    PendingWorkerListView, PendingWorkerView, RegisterWorkerRequest, WorkerTokenListView, WorkerTokenView,
};
pub use audit::AuditListView;
pub use counts::{Tally, TaskCounts};
pub use dry_run::{DryRunView, Fit, FitView};
pub use elements::ElementGroupView;
pub use files::{UserFileView, UserFilesView};
pub use history::{TaskUsageView, TimelineView};
pub use inputs::{
    AnnounceRequest, AnnouncedFile, DeletedFilesView, FileUsageView, FilesView, InputFileView, InputListView,
    InputSummaryView, InputView,
};
pub use internal::{
    ClassView, InternalStateView, LeaseView, LedgerRunView, LedgerView, LinkView, OpenTaskView, SchedulerView,
    SettingsView,
};
pub use log_search::{LogMatchView, LogSearchView};
pub use registries::{RegistryListView, RegistryView, SetRegistryRequest};
pub use repair::{RepairStatus, RepairView, RunView, WorkerRepairView};
pub use store::StoreState;
pub use telemetry::{EventFrame, EventKind, EventView, TelemetryFrame, TelemetryView};
pub use wait::{WAIT_SECONDS_LIMIT, WAIT_TASKS_LIMIT, WaitRequest, WaitView};
pub use workers::{GpuView, WorkerListView, WorkerView};

mod account;
mod admission;
mod audit;
mod counts;
mod dry_run;
mod elements;
mod files;
mod history;
mod inputs;
mod internal;
mod log_search;
mod registries;
mod repair;
mod store;
mod telemetry;
mod wait;
mod workers;

/// The answer to a submission.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SubmitView {
    /// The id of the whole submission.
    pub task_id: String,
    /// Where it stands now.
    pub state: TaskState,
    /// Elements.
    pub count: u32,
    /// Of an array: the indices of its elements, and how many may be with workers at a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub array: Option<String>,
    /// What the submitter should know, for example that it can never run on the present workers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// Whether an earlier request with the same `Idempotency-Key` made it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub replayed: bool,
}

/// One line of the answer to an NDJSON submission: the `line` (1-based) and either the fields of [`SubmitView`] or
/// `error`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SubmitLineView {
    /// 1-based.
    pub line: u64,
    /// What became of it.
    #[serde(flatten)]
    pub result: SubmitLineResult,
}

/// See [`SubmitLineView`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(untagged)]
pub enum SubmitLineResult {
    /// Accepted and durable.
    Accepted(SubmitView),
    /// Refused; nothing of it was kept.
    Refused(crate::error::ErrorBody),
}

/// A task, or one element of an array.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TaskView {
    /// `task-<ulid>`; as it was asked for, with `.<index>` for one element and `.<first>-<last>` for several.
    pub task_id: String,
    /// For people.
    pub name: Option<String>,
    /// Where it stands. Of an array: the first of running, pending, queued that any element is in; after the end failed
    /// or cancelled if any element is, else completed.
    pub state: TaskState,
    /// Of the last attempt that ended; 128 + n for a signal.
    pub exit_code: Option<i32>,
    /// How it ended.
    pub verdict: Option<Verdict>,
    /// Where it runs or ran last.
    pub worker_id: Option<WorkerId>,
    /// All runs, oldest first.
    pub attempts: Vec<AttemptView>,
    /// What happened to it, where one task or element was asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub timeline: Vec<TimelineView>,
    /// What its last run has used, once it has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<TaskUsageView>,
    /// When it was accepted.
    pub submitted_at: WallTime,
    /// When its (first) container started.
    pub started_at: Option<WallTime>,
    /// When it ended.
    pub finished_at: Option<WallTime>,
    /// Whose it is.
    pub user: UserName,
    /// Image reference.
    pub image: String,
    /// The image by its content, as its first run has had it and all others have it too; none: it came from no registry,
    /// is to be pulled each time or not at all, or nothing has run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pinned_image: Option<String>,
    /// When it is pulled.
    #[serde(default, skip_serializing_if = "PullPolicy::is_default")]
    pub pull: PullPolicy,
    /// What its container is kept from: that of its last run, where the pool of a worker makes it more.
    #[serde(default, skip_serializing_if = "Confinement::is_default")]
    pub confinement: Confinement,
    /// What runs.
    pub command: Command,
    /// What it asked for.
    pub resources: Resources,
    /// For filters.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Only this worker may run it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dispatched_to: Option<WorkerId>,
    /// Only workers with such labels may run it.
    #[serde(default, skip_serializing_if = "WorkerSelector::is_empty")]
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>))]
    pub worker_labels: WorkerSelector,
    /// Uploaded files that it reads at /input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<InputId>,
    /// Elements, or those of them that were asked for.
    pub count: u32,
    /// Of an array: the indices of all its elements, and how many may be with workers at a time: `0-99:2%10`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub array: Option<String>,
    /// Of an array: how many elements are in each state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub elements: Option<Tally>,
    /// Of an array, where one task was asked for: its elements, those that look alike together, by their smallest index.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<ElementGroupView>,
    /// The task of which this one runs elements again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_of: Option<String>,
    /// Whether someone asked to cancel it and it has not ended yet.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cancelling: bool,
    /// Whether its worker is not heard of, and it may run once at most or no other one could take it: it waits for that.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unreachable: bool,
    /// How long it may wait and run, and whether it runs again; as in its submission.
    #[serde(default, skip_serializing_if = "RunPolicy::is_default")]
    pub policy: RunPolicy,
    /// What of /output was not collected, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub output_notes: Vec<String>,
}

/// One run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AttemptView {
    /// 1 is the first.
    pub attempt: u32,
    /// Where.
    pub worker_id: WorkerId,
    /// How far.
    pub state: AttemptState,
    /// How it ended.
    pub verdict: Option<Verdict>,
    /// Bytes of memory that it had, where that is more than its task asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// The GPUs that it had, where its worker knows them one by one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gpus: Vec<GpuLease>,
    /// How far its image is, while that is fetched, and what keeps it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pulling: Option<PullProgress>,
    /// What of its log and its /output was not collected, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// When it was placed on the worker.
    pub placed_at: WallTime,
    /// When its container started.
    pub started_at: Option<WallTime>,
    /// When it ended.
    pub finished_at: Option<WallTime>,
}

/// The answer to `GET /health/...`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HealthView {
    /// `live` or `ready`.
    pub status: String,
}

/// The answer to `GET /health/ready`, where all is well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ReadyView {
    /// `ready`.
    pub status: String,
    /// `ok`: it can be read and takes commits.
    pub store: String,
    /// `ok`: there is room on it.
    pub disk: String,
    /// `ok`: no other master has taken over.
    pub leadership: String,
}

/// A page of tasks, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TaskListView {
    /// The page. `attempts` is empty here; ask for one task to see them.
    pub tasks: Vec<TaskView>,
    /// Give it as `cursor` to get the next page; none: this was the last.
    pub next_cursor: Option<String>,
}

/// The body of `POST /api/tasks/{id}/retry`; it may be left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct RetryRequest {
    /// Run also those again that succeeded.
    #[serde(default)]
    pub all: bool,
}

/// The answer to a cancel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CancelView {
    /// As it was asked for.
    pub task_id: String,
    /// Where it stands now; `running` with `cancelling` until its worker has stopped it.
    pub state: TaskState,
    /// Whether a worker still has to stop it.
    pub cancelling: bool,
}

/// What waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct QueueView {
    /// Elements that wait, all together.
    pub waiting: u64,
    /// The first of them, in the order in which they are considered.
    pub tasks: Vec<QueuedView>,
}

/// A task that waits, or the waiting part of an array.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct QueuedView {
    /// 1 is the first.
    pub position: u64,
    /// The submission.
    pub task_id: String,
    /// For people.
    pub name: Option<String>,
    /// Whose it is.
    pub user: UserName,
    /// Elements of it that wait.
    pub waiting: u32,
    /// What one element asks for.
    pub resources: Resources,
    /// When it was accepted.
    pub submitted_at: WallTime,
    /// Why, in one line.
    pub reason: String,
}

/// The cluster in numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StatusView {
    /// Version of the master.
    pub version: String,
    /// The cluster's id.
    pub cluster_id: String,
    /// Starts of the master.
    pub epoch: u32,
    /// Registered workers.
    pub total_workers: u32,
    /// Those that get work.
    pub active_workers: u32,
    /// Elements by state; the final states count what the store holds.
    pub tasks: TaskCounts,
    /// What the active workers have.
    pub capacity: Resources,
    /// What is reserved of it.
    pub allocated: Resources,
    /// Which store keeps the facts.
    pub store: String,
    /// Whether it does so as it should.
    #[serde(default)]
    pub store_state: StoreState,
    /// Whether the master takes on no new work because it is about to stop.
    pub draining: bool,
    /// When the master started.
    pub started_at: WallTime,
}

/// Why a task waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WhyView {
    /// As it was asked for.
    pub task_id: String,
    /// Where it stands.
    pub state: TaskState,
    /// The answer in one line.
    pub summary: String,
    /// Its place among all that waits; 1 is the first.
    pub position: Option<u64>,
    /// Whether no present worker could ever run it, even when idle.
    pub can_never_run: bool,
    /// What stands in the way, the most frequent first.
    pub reasons: Vec<ReasonView>,
    /// What would help, for a person.
    pub hint: String,
}

/// One thing that stands in the way, and on how many workers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ReasonView {
    /// A word of a closed list: see the core's `explain`.
    pub code: String,
    /// Workers that it concerns.
    pub workers: u32,
    /// In words.
    pub message: String,
}

/// An output file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FileView {
    /// Relative to /output. Bytes that are not UTF-8 are shown as U+FFFD here; `path_hex` has them.
    pub path: String,
    /// The exact bytes of the path in hex, where they are not UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_hex: Option<String>,
    /// Bytes.
    pub size: u64,
    /// BLAKE3 of the content, in hex.
    pub blake3: String,
    /// The element that wrote it.
    pub index: u32,
    /// The run that wrote it.
    pub attempt: u32,
}

/// The output files of a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FileListView {
    /// As it was asked for.
    pub task_id: String,
    /// By element and path; of the last attempt that has any.
    pub files: Vec<FileView>,
}

/// The body of `POST /api/shutdown`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ShutdownRequest {
    /// Start nothing new and wait until what runs has ended.
    #[serde(default)]
    pub drain: bool,
}

/// The answer to a shutdown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ShutdownView {
    /// Attempts that are still live; they go on at their workers if the master does not wait for them.
    pub live_attempts: u64,
    /// Whether the master waits for them.
    pub draining: bool,
}

/// A control frame (text) of `/ws/tasks/{id}/logs`. Log bytes come as binary frames: one byte for the stream (1 stdout,
/// 2 stderr), eight for the offset of the first byte (big endian), with `times=true` eight for the time at which they
/// arrived (Unix milliseconds, big endian), then the bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum LogEvent {
    /// What follows is the log of this run.
    Attempt {
        /// Its number.
        attempt: u32,
        /// Where in stdout the first byte that follows stands.
        #[serde(default)]
        stdout_offset: u64,
        /// The same of stderr.
        #[serde(default)]
        stderr_offset: u64,
    },
    /// Bytes that would follow were cut out of the log, which goes on behind them.
    Cut {
        /// Where in stdout it goes on.
        stdout_offset: u64,
        /// The same of stderr.
        stderr_offset: u64,
        /// Bytes of stdout that were cut out.
        stdout_bytes: u64,
        /// The same of stderr.
        stderr_bytes: u64,
    },
    /// Where the task stands has changed.
    State {
        /// Now.
        state: TaskState,
    },
    /// All of the log that was wanted was sent, and the task has ended unless only what there is was wanted. The last frame.
    End {
        /// How it ended.
        state: TaskState,
        /// As in [`TaskView`].
        exit_code: Option<i32>,
        /// As in [`TaskView`].
        verdict: Option<Verdict>,
    },
    /// The log cannot be had. The last frame.
    Error {
        /// Why.
        error: crate::error::ApiError,
    },
}
