//! A task that has asked for it stands still while its log waits for the master, so that the engine, which keeps only so much
//! of a log, never has to drop any.

use std::sync::Arc;
use std::time::Duration;

use shared::id::AttemptKey;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::runtime::Runtime;

/// How long a log may wait before it is held against the task: links have hiccups.
const PATIENCE: Duration = Duration::from_secs(1);
/// Before what the engine did not do is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// Holds one run.
#[derive(Debug)]
pub(super) struct Hold {
    pub(super) key: AttemptKey,
    pub(super) runtime: Arc<dyn Runtime>,
    /// Whether its log waits.
    pub(super) waits: watch::Receiver<bool>,
    /// It is not held any more from then on: it has ended, or is to hear a signal.
    pub(super) over: CancellationToken,
}

impl Hold {
    /// Returns when it is over, and the run is not held.
    pub(super) async fn keep(mut self) {
        let over = self.over.clone();
        // An earlier life may have left it frozen.
        self.freeze(false).await;
        over.run_until_cancelled(self.hold()).await;
        self.freeze(false).await;
    }

    async fn hold(&mut self) {
        while self.waits.wait_for(|waits| *waits).await.is_ok() {
            if timeout(PATIENCE, self.waits.wait_for(|waits| !waits)).await.is_ok() {
                continue;
            }
            tracing::warn!(task = %self.key, "It stands still until its log is at the master");
            self.freeze(true).await;
            if self.waits.wait_for(|waits| !waits).await.is_err() {
                return;
            }
            self.freeze(false).await;
            tracing::info!(task = %self.key, "It goes on: its log is at the master");
        }
    }

    async fn freeze(&self, frozen: bool) {
        while let Err(error) = self.runtime.freeze(&self.key, frozen).await {
            tracing::warn!(task = %self.key, %error, "The container could not be {}", if frozen { "frozen" } else { "thawed" });
            tokio::time::sleep(AGAIN).await;
        }
    }
}
