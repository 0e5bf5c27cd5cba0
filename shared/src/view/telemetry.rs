//! What workers and tasks do, as it happens.

use serde::{Deserialize, Serialize};

use super::WorkerView;
use crate::error::ApiError;
use crate::id::{UserName, WorkerId};
use crate::task::{TaskState, Verdict};
use crate::time::WallTime;

/// All workers at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TelemetryView {
    /// When.
    pub at: WallTime,
    /// By name.
    pub workers: Vec<WorkerView>,
}

/// A text frame of `/ws/telemetry`: the first is a snapshot, each that follows says what has changed since the one before.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum TelemetryFrame {
    /// All that is watched.
    Snapshot {
        /// Grows by one with every delta; a snapshot has that of the last one.
        sequence: u64,
        /// By name.
        workers: Vec<WorkerView>,
    },
    /// What has changed.
    Delta {
        /// One more than that of the frame before.
        sequence: u64,
        /// Those that have changed, as they are now.
        workers: Vec<WorkerView>,
        /// Those that are no more.
        removed: Vec<WorkerId>,
    },
    /// The client was too slow for some deltas; a snapshot follows.
    Lagged {
        /// So many.
        missed: u64,
    },
    /// The last frame.
    Error {
        /// Why.
        error: ApiError,
    },
}

/// What has happened to a task or a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// A submission was accepted.
    TaskSubmitted,
    /// It has another name or other labels.
    TaskEdited,
    /// Somebody asked to cancel it.
    CancelRequested,
    /// A run was given to a worker.
    AttemptPlaced,
    /// Its container runs.
    AttemptStarted,
    /// A run is over.
    AttemptEnded,
    /// An element is over.
    ElementEnded,
    /// All of it is over.
    TaskEnded,
    /// It was deleted.
    TaskDeleted,
    /// A worker has registered.
    WorkerRegistered,
    /// It was not heard of for a while.
    WorkerSuspected,
    /// It was heard of again.
    WorkerRecovered,
    /// Its connection is closed.
    WorkerDisconnected,
    /// It was given up; what it ran runs elsewhere.
    WorkerLost,
    /// It was taken out of the cluster; what it ran runs elsewhere.
    WorkerUnregistered,
}

/// An event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventView {
    /// Where it stands among all: whoever comes again with it as `after` gets what came later.
    pub cursor: String,
    /// When.
    pub at: WallTime,
    /// What.
    pub kind: EventKind,
    /// To which task or element.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_id: Option<String>,
    /// Whose it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<UserName>,
    /// Which run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// Which worker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker_id: Option<WorkerId>,
    /// Where the task stands then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<TaskState>,
    /// How it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
}

/// A text frame of `/ws/events`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum EventFrame {
    /// Something has happened.
    Event {
        /// What.
        #[serde(flatten)]
        event: EventView,
    },
    /// Events before the next one are not known any more: look at tasks and workers anew.
    Lagged,
    /// The last frame.
    Error {
        /// Why.
        error: ApiError,
    },
}
