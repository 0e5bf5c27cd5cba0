//! Which runs are live, and who watches which task: kept by the driver from what it has committed, read by everybody
//! without asking it.

use std::collections::HashMap;

use parking_lot::Mutex;
use shared::error::{ApiError, ErrorCode};
use shared::id::{AttemptKey, ElementId, TaskId, TaskRef, WorkerId};
use tokio::sync::watch;

/// The runs that workers hold.
#[derive(Debug, Default)]
pub struct LiveRuns {
    runs: Mutex<HashMap<ElementId, LiveRun>>,
}

/// A run that a worker holds.
#[derive(Debug, Clone)]
pub(crate) struct LiveRun {
    /// Which.
    pub(crate) key: AttemptKey,
    /// How people know its element.
    pub(crate) shown: TaskRef,
    /// Whose it is.
    pub(crate) worker: WorkerId,
}

impl LiveRuns {
    pub(crate) fn insert(&self, run: LiveRun) {
        self.runs.lock().insert(run.key.element(), run);
    }

    pub(crate) fn remove(&self, key: AttemptKey) {
        let mut runs = self.runs.lock();
        if runs.get(&key.element()).is_some_and(|run| run.key == key) {
            runs.remove(&key.element());
        }
    }

    /// Whether `key` is the present run of its element.
    pub(crate) fn contains(&self, key: AttemptKey) -> bool {
        self.find(key.element()).is_some_and(|run| run.key == key)
    }

    /// The present run of an element.
    pub(crate) fn find(&self, element: ElementId) -> Option<LiveRun> {
        self.runs.lock().get(&element).cloned()
    }

    /// The runs that a worker holds.
    pub(crate) fn of(&self, worker: &WorkerId) -> Vec<LiveRun> {
        self.runs.lock().values().filter(|run| run.worker == *worker).cloned().collect()
    }

    /// Whether `key` is the present run of its element, and this worker's.
    ///
    /// # Errors
    /// Says that it is not; whoever sent it shall stop and drop what it made.
    pub fn check(&self, key: AttemptKey, worker: &WorkerId) -> Result<(), ApiError> {
        if self.find(key.element()).is_some_and(|run| run.key == key && run.worker == *worker) {
            return Ok(());
        }
        Err(ApiError::new(
            ErrorCode::Conflict,
            format!("{key} is not a live attempt of {worker}"),
            "it was given up or has ended: stop it and drop what it made",
        ))
    }
}

/// Who watches which task.
#[derive(Debug, Default)]
pub(crate) struct Watchers {
    by_task: Mutex<HashMap<TaskId, watch::Sender<u64>>>,
}

impl Watchers {
    /// Changes whenever the task has changed.
    pub(crate) fn subscribe(&self, task: TaskId) -> watch::Receiver<u64> {
        let mut by_task = self.by_task.lock();
        // Who watched tasks that nobody watches any more is put away when the next one comes.
        by_task.retain(|_, sender| sender.receiver_count() > 0);
        by_task.entry(task).or_insert_with(|| watch::channel(0).0).subscribe()
    }

    /// The task has changed.
    pub(crate) fn bump(&self, task: TaskId) {
        if let Some(sender) = self.by_task.lock().get(&task) {
            sender.send_modify(|version| *version += 1);
        }
    }
}
