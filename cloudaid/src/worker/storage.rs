//! What a running container stores. It is measured again and again: a quota of the file system or the engine would be exact,
//! and most machines have none.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use shared::id::AttemptKey;
use tokio::sync::Semaphore;

use super::outputs;
use crate::runtime::Runtime;

/// Between two looks at the files, at the least.
const PAUSE: Duration = Duration::from_secs(1);
/// The engine is asked at every so many looks: it has to walk through the layer.
const ASK_EVERY: u32 = 5;
/// And after a look that took long: nothing for so many times as long.
const REST: u32 = 20;

/// Measures one run.
#[derive(Debug)]
pub(super) struct StorageWatch {
    pub(super) key: AttemptKey,
    pub(super) runtime: Arc<dyn Runtime>,
    /// Engine calls are counted.
    pub(super) calls: Arc<Semaphore>,
    pub(super) output: PathBuf,
    pub(super) limit_bytes: u64,
}

impl StorageWatch {
    /// Returns what it stores when that is more than it may.
    pub(super) async fn exceeded(self) -> u64 {
        let mut layer = 0;
        for look in 0u32.. {
            let begin = Instant::now();
            if look % ASK_EVERY == ASK_EVERY - 1 {
                layer = self.layer().await.unwrap_or(layer);
            }
            let used = self.files().await.saturating_add(layer);
            if used > self.limit_bytes {
                return used;
            }
            tokio::time::sleep(PAUSE.max(begin.elapsed() * REST)).await;
        }
        std::future::pending().await
    }

    async fn files(&self) -> u64 {
        let (output, enough) = (self.output.clone(), self.limit_bytes);
        tokio::task::spawn_blocking(move || outputs::used(&output, enough)).await.unwrap_or(0)
    }

    /// None: the engine does not say.
    async fn layer(&self) -> Option<u64> {
        // The semaphore is never closed.
        let _slot = self.calls.acquire().await;
        self.runtime.layer_bytes(&self.key).await.ok()
    }
}
