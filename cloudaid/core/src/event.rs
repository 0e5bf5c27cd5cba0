//! What has happened, for people and machines that watch. Nothing is decided by an event.

use shared::id::{AttemptKey, TaskId, TaskRef, UserName, WorkerId};
use shared::task::{TaskState, Verdict};
use shared::worker::WorkerFacts;

/// A fact, published after it became durable. `task` is how people know what it is about: a plain task by its own id, an
/// element of an array with its index.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "the fields are named after what they hold")]
pub enum Event {
    /// A submission was accepted.
    TaskSubmitted { task: TaskId, user: UserName, name: Option<String>, count: u32 },
    /// A run was given to a worker.
    AttemptPlaced { task: TaskRef, key: AttemptKey, worker: WorkerId },
    /// Its container runs.
    AttemptStarted { task: TaskRef, key: AttemptKey, worker: WorkerId },
    /// It is over. `again`: the element waits for another run.
    AttemptEnded { task: TaskRef, key: AttemptKey, worker: WorkerId, verdict: Verdict, again: bool },
    /// An element is over.
    ElementEnded { task: TaskRef, verdict: Verdict },
    /// All elements are over.
    TaskEnded { task: TaskId, state: TaskState },
    /// Someone asked to cancel.
    CancelRequested { task: TaskId, elements: u32 },
    /// A worker has registered.
    WorkerRegistered { worker: WorkerId, facts: WorkerFacts, kept: usize, stopped: usize },
    /// Three heartbeats are missing.
    WorkerSuspected { worker: WorkerId },
    /// It was heard of again.
    WorkerRecovered { worker: WorkerId },
    /// Its connection is closed.
    WorkerDisconnected { worker: WorkerId, live_attempts: usize },
    /// It was silent for too long: its runs were given up.
    WorkerLost { worker: WorkerId, attempts: usize },
    /// A worker's word was refused and changed nothing.
    ReportRefused { worker: WorkerId, key: AttemptKey, reason: RefusedReport },
}

/// Why a report changed nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RefusedReport {
    /// The run had ended already: a repetition.
    Repeated,
    /// A later run of the same element exists, or this one was given up.
    Superseded,
    /// The run belongs to another worker.
    ForeignWorker,
    /// There never was such a run.
    Unknown,
}

impl RefusedReport {
    /// In words.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Repeated => "it had ended already",
            Self::Superseded => "it was given up, another attempt took its place",
            Self::ForeignWorker => "it belongs to another worker",
            Self::Unknown => "there is no such attempt",
        }
    }
}
