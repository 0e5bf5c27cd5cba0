//! One upload of a run at a time: a later one takes the place of an earlier one, whose worker has lost the answer.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use shared::id::AttemptKey;
use tokio::sync::OwnedMutexGuard;
use tokio_util::sync::CancellationToken;

/// All uploads that go on.
#[derive(Debug, Default)]
pub(crate) struct UploadTurns(Arc<Mutex<HashMap<AttemptKey, Present>>>);

/// The newest upload of a run.
#[derive(Debug, Clone)]
struct Present {
    /// Held by the one that goes on.
    alone: Arc<tokio::sync::Mutex<()>>,
    replaced: CancellationToken,
}

/// The right to upload.
pub(super) struct Turn {
    turns: Arc<Mutex<HashMap<AttemptKey, Present>>>,
    key: AttemptKey,
    replaced: CancellationToken,
    alone: Hold,
}

/// Keeps later uploads waiting.
pub(super) type Hold = Arc<OwnedMutexGuard<()>>;

impl UploadTurns {
    /// Ends the upload that goes on, if there is one, and waits until it has.
    pub(super) async fn take(&self, key: AttemptKey) -> Turn {
        let replaced = CancellationToken::new();
        let alone = {
            let mut turns = self.0.lock();
            let present = turns
                .entry(key)
                .or_insert_with(|| Present { alone: Arc::default(), replaced: CancellationToken::new() });
            std::mem::replace(&mut present.replaced, replaced.clone()).cancel();
            Arc::clone(&present.alone)
        };
        Turn { turns: Arc::clone(&self.0), key, replaced, alone: Arc::new(alone.lock_owned().await) }
    }
}

impl Turn {
    /// For work that goes on to its end also when the upload does not.
    pub(super) fn hold(&self) -> Hold {
        Arc::clone(&self.alone)
    }

    /// Does it until another one comes: then none.
    pub(super) async fn run<T>(&self, upload: impl Future<Output = T>) -> Option<T> {
        self.replaced.run_until_cancelled(upload).await
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut turns = self.turns.lock();
        // Whoever has replaced this one takes it away.
        if !self.replaced.is_cancelled() {
            turns.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use shared::id::{Fence, TaskId};

    use super::*;

    #[tokio::test]
    async fn a_later_one_ends_an_earlier_one_and_waits_for_it() {
        let key = AttemptKey { task: TaskId(7_u128.into()), index: 0, attempt: 1, fence: Fence(9) };
        let turns = UploadTurns::default();
        let first = turns.take(key).await;
        let (done, second) = tokio::join!(
            async {
                let done = first.run(std::future::pending::<()>()).await;
                drop(first);
                done
            },
            turns.take(key),
        );
        assert_eq!(done, None);
        assert_eq!(second.run(async { 7 }).await, Some(7));
        drop(second);
        assert!(turns.0.lock().is_empty());
        assert_eq!(turns.take(key).await.run(async { 8 }).await, Some(8));
    }
}
