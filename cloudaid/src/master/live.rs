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
    /// Whether there may be live runs that are not known here, because the store that knows them could not be reached.
    keeps_unknown: bool,
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
    /// Of a store that stands in for another one, or of the one itself.
    pub(crate) fn new(keeps_unknown: bool) -> Self {
        Self { runs: Mutex::default(), keeps_unknown }
    }

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

    /// The same, or nobody here knows.
    pub(crate) fn may_contain(&self, key: AttemptKey) -> bool {
        self.contains(key) || self.keeps_unknown
    }

    /// Whether a run with this number is the present one of its element, or nobody here knows.
    pub(crate) fn may_hold(&self, element: ElementId, attempt: u32) -> bool {
        self.find(element).is_some_and(|run| run.key.attempt == attempt) || self.keeps_unknown
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
    /// Says that it is not; whoever sent it shall stop and drop what it made. `unavailable`: nobody here knows, so it shall
    /// keep it.
    pub fn check(&self, key: AttemptKey, worker: &WorkerId) -> Result<(), ApiError> {
        match self.find(key.element()) {
            Some(run) if run.key == key && run.worker == *worker => return Ok(()),
            None if self.keeps_unknown => {
                return Err(ApiError::new(
                    ErrorCode::Unavailable,
                    format!("{key} is not known while MongoDB cannot be reached"),
                    "keep it, and send it again later",
                ));
            }
            Some(_) | None => {}
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_here_knows_is_kept_where_another_store_may_know_it() {
        let key = AttemptKey { task: TaskId(7_u128.into()), index: 0, attempt: 1, fence: shared::id::Fence(9) };
        let worker: WorkerId = "w".parse().expect("a name");
        let code = |live: &LiveRuns, key| live.check(key, &worker).map_err(|error| error.code);
        let (usual, standing_in) = (LiveRuns::new(false), LiveRuns::new(true));
        assert_eq!(code(&usual, key), Err(ErrorCode::Conflict));
        assert_eq!(code(&standing_in, key), Err(ErrorCode::Unavailable));
        let later = AttemptKey { attempt: 2, fence: shared::id::Fence(10), ..key };
        for live in [usual, standing_in] {
            live.insert(LiveRun { key: later, shown: key.task.into(), worker: worker.clone() });
            assert_eq!(code(&live, later), Ok(()));
            assert_eq!(code(&live, key), Err(ErrorCode::Conflict), "an earlier run is given up wherever it is known");
        }
    }
}
