//! One upload of a run at a time: a later one takes the place of an earlier one, whose worker has lost the answer.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use shared::id::AttemptKey;
use tokio::sync::OwnedMutexGuard;
use tokio_util::sync::CancellationToken;

/// All uploads that go on.
#[derive(Debug, Default)]
pub(crate) struct UploadTurns(Arc<Table>);

type Table = Mutex<HashMap<AttemptKey, Present>>;

/// The newest upload of a run.
#[derive(Debug)]
struct Present {
    /// Held by the one that goes on.
    alone: Arc<tokio::sync::Mutex<()>>,
    replaced: CancellationToken,
}

/// The right to upload.
pub(super) struct Turn {
    replaced: CancellationToken,
    seat: Hold,
}

/// Keeps later uploads waiting.
pub(super) type Hold = Arc<Seat>;

/// One that has the turn, or waits for it. The last one takes the run from the table.
pub(super) struct Seat {
    table: Arc<Table>,
    key: AttemptKey,
    alone: Option<Arc<tokio::sync::Mutex<()>>>,
    guard: Option<OwnedMutexGuard<()>>,
}

impl UploadTurns {
    /// Ends the upload that goes on, if there is one, and waits until it has.
    pub(super) async fn take(&self, key: AttemptKey) -> Turn {
        let replaced = CancellationToken::new();
        let alone = {
            let mut table = self.0.lock();
            let present = table
                .entry(key)
                .or_insert_with(|| Present { alone: Arc::default(), replaced: CancellationToken::new() });
            std::mem::replace(&mut present.replaced, replaced.clone()).cancel();
            Arc::clone(&present.alone)
        };
        let mut seat = Seat { table: Arc::clone(&self.0), key, alone: Some(Arc::clone(&alone)), guard: None };
        seat.guard = Some(alone.lock_owned().await);
        Turn { replaced, seat: Arc::new(seat) }
    }
}

impl Turn {
    /// For work that goes on to its end also when the upload does not.
    pub(super) fn hold(&self) -> Hold {
        Arc::clone(&self.seat)
    }

    /// Does it until another one comes: then none.
    pub(super) async fn run<T>(&self, upload: impl Future<Output = T>) -> Option<T> {
        self.replaced.run_until_cancelled(upload).await
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut table = self.table.lock();
        self.guard = None;
        self.alone = None;
        // Nobody else comes by it while the table is locked.
        if table.get(&self.key).is_some_and(|present| Arc::strong_count(&present.alone) == 1) {
            table.remove(&self.key);
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
        // Work of the second goes on when its call does not: the third waits for it.
        let hold = second.hold();
        drop(second);
        let mut third = Box::pin(turns.take(key));
        assert!(futures_util::poll!(third.as_mut()).is_pending());
        drop(hold);
        let third = third.await;
        // One that no longer waits leaves nothing.
        let mut fourth = Box::pin(turns.take(key));
        assert!(futures_util::poll!(fourth.as_mut()).is_pending());
        drop(fourth);
        drop(third);
        assert!(turns.0.lock().is_empty());
        assert_eq!(turns.take(key).await.run(async { 8 }).await, Some(8));
    }
}
