//! The whole state of the master's core, for people who debug. Secrets and environments are not in it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{TaskCounts, UserView};
use crate::id::{UserName, WorkerId};
use crate::resources::Resources;
use crate::selector::WorkerSelector;
use crate::task::{TaskState, VerdictKind};
use crate::time::WallTime;

/// What the core knows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct InternalStateView {
    /// The cluster's id.
    pub cluster_id: String,
    /// Starts of the master.
    pub epoch: u32,
    /// When it started.
    pub started_at: WallTime,
    /// The newest place in the order of submissions.
    pub last_sequence: u64,
    /// The newest fence of this start; `epoch << 32 | last_fence` is what runs carry.
    pub last_fence: u32,
    /// Whether it starts nothing new.
    pub draining: bool,
    /// The policy and what it remembers.
    pub scheduler: SchedulerView,
    /// What it decides by.
    pub settings: SettingsView,
    /// Elements of all open tasks, by state.
    pub totals: TaskCounts,
    /// Accounts, without their passwords.
    pub users: Vec<UserView>,
    /// Idempotency keys of open tasks.
    pub idempotency_keys: u64,
    /// What waits, by class.
    pub queue: Vec<ClassView>,
    /// What is reserved, by worker.
    pub ledger: Vec<LedgerView>,
    /// How long each worker is still believed.
    pub leases: Vec<LeaseView>,
    /// The connections of workers.
    pub links: Vec<LinkView>,
    /// Tasks that have not ended.
    pub tasks: Vec<OpenTaskView>,
    /// Properties that must always hold and do not. Empty unless there is a fault in the master.
    pub violations: Vec<String>,
}

/// The scheduler.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SchedulerView {
    /// The name of its policy.
    pub policy: String,
    /// What it remembers, in the words of the program.
    pub memory: String,
    /// Whether its last plan was cut off, so that another pass follows.
    pub unfinished: bool,
}

/// The numbers that the core decides by. Times are in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[allow(missing_docs, reason = "named as the settings of the configuration")]
pub struct SettingsView {
    pub heartbeat_ms: u64,
    pub suspect_ms: u64,
    pub lease_ms: u64,
    pub reassign_ms: u64,
    pub start_grace_ms: u64,
    /// How much longer runs are kept where half of all workers are silent at once.
    pub mass_loss_hold_ms: u64,
    pub stop_grace_ms: u64,
    pub infrastructure_attempts: u32,
    pub placements_per_pass: u64,
}

/// Tasks that are equal to the scheduler.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ClassView {
    /// What one element asks for.
    pub resources: Resources,
    /// Only this worker may run them.
    pub worker_id: Option<WorkerId>,
    /// Only workers with such labels may run them.
    #[serde(default, skip_serializing_if = "WorkerSelector::is_empty")]
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>))]
    pub worker_labels: WorkerSelector,
    /// Whose they are.
    pub user: UserName,
    /// Tasks with waiting elements.
    pub tasks: u64,
    /// Elements that wait.
    pub waiting: u64,
    /// Those of them that could be placed if there were room.
    pub placeable: u64,
    /// The place of the first task in the order of submissions.
    pub first_sequence: u64,
}

/// What is reserved on a worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LedgerView {
    /// Which.
    pub worker_id: WorkerId,
    /// All that it has.
    pub capacity: Resources,
    /// What its live runs have reserved.
    pub reserved: Resources,
    /// What was reserved when it registered.
    pub reserved_at_registration: Resources,
    /// Its live runs.
    pub runs: Vec<LedgerRunView>,
}

/// A live run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LedgerRunView {
    /// `task-<ulid>.<index>`.
    pub element_id: String,
    /// Its number.
    pub attempt: u32,
    /// What every message about it carries.
    pub fence: u64,
    /// `pending` or `running`.
    pub state: TaskState,
    /// What it has reserved.
    pub resources: Resources,
    /// When it was placed.
    pub placed_at: WallTime,
    /// When its container started.
    pub started_at: Option<WallTime>,
    /// How many runs before it the infrastructure ended.
    pub infrastructure_failures: u32,
    /// Whether somebody wants it cancelled.
    pub cancelling: bool,
}

/// How long a worker is still believed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LeaseView {
    /// Which.
    pub worker_id: WorkerId,
    /// `up`, `suspect`, `down` (its runs are believed to go on) or `lost` (they were given up).
    pub link: String,
    /// The connection, while there is one.
    pub session: Option<u64>,
    /// How long ago it was heard of, in milliseconds.
    pub heard_ms_ago: u64,
    /// In how many milliseconds it becomes the next of these, if it stays silent; none: nothing more follows.
    pub expires_in_ms: Option<u64>,
}

/// A connection of a worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LinkView {
    /// Its number; grows with every connection.
    pub session: u64,
    /// Whose it is.
    pub worker_id: Option<WorkerId>,
    /// Messages that the master has sent on it.
    pub sent: u64,
    /// Those of them that still wait to leave.
    pub waiting: u64,
    /// Reports up to this number have been taken.
    pub reports_through: u64,
    /// Reports that were taken ahead of one that is missing.
    pub reports_ahead: u64,
}

/// A task that has not ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OpenTaskView {
    /// Its id.
    pub task_id: String,
    /// Its place in the order of submissions.
    pub sequence: u64,
    /// Whose it is.
    pub user: UserName,
    /// Where it stands.
    pub state: TaskState,
    /// Elements.
    pub count: u32,
    /// The most elements with workers at a time.
    pub limit: Option<u32>,
    /// Elements that were never given to a worker: `0-9,12`.
    pub untouched: String,
    /// Elements that wait for another run.
    pub requeued: Vec<u32>,
    /// Elements with workers.
    pub live: Vec<u32>,
    /// Elements that a worker still has to stop.
    pub cancelling: String,
    /// Elements that have ended, by how.
    pub ended: BTreeMap<VerdictKind, String>,
}
