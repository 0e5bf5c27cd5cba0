//! Files of a run that are on their way.

use std::sync::Arc;

use shared::id::{AttemptKey, WorkerId};

use super::progress::Progress;

/// As long as there is one its run is not taken for lost. One that is dropped before its files are whole has lost them.
#[derive(Debug)]
pub(crate) struct Arriving {
    key: AttemptKey,
    worker: WorkerId,
    progress: Arc<Progress>,
    is_whole: bool,
}

impl Arriving {
    pub(super) fn new(key: AttemptKey, worker: WorkerId, progress: Arc<Progress>) -> Self {
        progress.begin();
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
        if !self.is_whole {
            self.progress.lose_files();
        }
        self.progress.end();
    }
}
