//! How far a run is, as far as others have to know.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::sync::watch;

/// Shared by a run, its worker, and those who take its files.
#[derive(Debug, Default)]
pub(super) struct Progress {
    accepted: AtomicBool,
    files_missing: AtomicBool,
    busy: AtomicUsize,
    /// Uploads that are under way.
    uploads: watch::Sender<usize>,
}

impl Progress {
    /// The worker has taken it.
    pub(super) fn accept(&self) {
        self.accepted.store(true, Ordering::Relaxed);
    }

    /// Files of it have not arrived that should have.
    pub(super) fn lose_files(&self) {
        self.files_missing.store(true, Ordering::Relaxed);
    }

    /// All files of it have arrived after all.
    pub(super) fn find_files(&self) {
        self.files_missing.store(false, Ordering::Relaxed);
    }

    /// Files of it begin to arrive.
    pub(super) fn begin_upload(&self) {
        self.begin();
        self.uploads.send_modify(|uploads| *uploads += 1);
    }

    /// They do not any more.
    pub(super) fn end_upload(&self) {
        self.uploads.send_modify(|uploads| *uploads -= 1);
        self.end();
    }

    /// Returns when nothing of it arrives any more.
    pub(super) async fn has_arrived(&self) {
        // It has its sender, so it is never closed.
        let _ = self.uploads.subscribe().wait_for(|uploads| *uploads == 0).await;
    }

    /// Whether files of it have not arrived that should have.
    pub(super) fn has_lost_files(&self) -> bool {
        self.files_missing.load(Ordering::Relaxed)
    }

    /// Something is being done with it that its worker need not name it for.
    pub(super) fn begin(&self) {
        self.busy.fetch_add(1, Ordering::Relaxed);
    }

    /// The same is over.
    pub(super) fn end(&self) {
        self.busy.fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether its worker has to name it in its heartbeats.
    pub(super) fn is_to_be_named(&self) -> bool {
        self.accepted.load(Ordering::Relaxed) && self.busy.load(Ordering::Relaxed) == 0
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn what_arrives_is_waited_for_and_what_comes_again_is_not_lost() {
        let progress = Progress::default();
        progress.accept();
        assert!(progress.has_arrived().now_or_never().is_some() && progress.is_to_be_named());
        progress.begin_upload();
        progress.begin_upload();
        assert!(progress.has_arrived().now_or_never().is_none() && !progress.is_to_be_named());
        progress.lose_files();
        progress.end_upload();
        assert!(progress.has_arrived().now_or_never().is_none() && progress.has_lost_files());
        progress.find_files();
        progress.end_upload();
        assert!(progress.has_arrived().now_or_never().is_some() && !progress.has_lost_files());
    }
}
