//! Files of a run that are on their way.

use std::sync::Arc;

use shared::id::{AttemptKey, WorkerId};

use super::progress::Progress;

/// As long as there is one its run is not taken for lost. One that is dropped before its files are whole has
/// lost them, until they come again.
#[derive(Debug)]
pub(crate) struct Arriving {
    key: AttemptKey,
    worker: WorkerId,
    progress: Arc<Progress>,
    is_whole: bool,
}

impl Arriving {
    pub(super) fn new(key: AttemptKey, worker: WorkerId, progress: Arc<Progress>) -> Self {
        progress.begin_upload();
        Self { key, worker, progress, is_whole: false }
    }

    /// Whose they are.
    pub(crate) fn key(&self) -> AttemptKey {
        self.key
    }

    /// Who sends them.
    pub(crate) fn worker(&self) -> &WorkerId {
        &self.worker
    }

    /// All of them are recorded.
    pub(crate) fn is_whole(&mut self) {
        self.is_whole = true;
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        match self.is_whole {
            // A worker sends all of its files, also when it sends them again.
            true => self.progress.find_files(),
            false => self.progress.lose_files(),
        }
        self.progress.end_upload();
    }
}
