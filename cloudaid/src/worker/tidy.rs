//! Starting comes before tidying up: to remove a container costs the engine about as much as to start one, and nobody
//! waits for it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::runtime::Runtime;

/// How long what has ended may lie about while others are being started. Bounds the disk that it takes.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long nothing may have been started before it counts as quiet: between two tasks of a burst there are moments in
/// which all wait for the master.
const QUIET: Duration = Duration::from_millis(300);
/// Removals at a time.
const REMOVALS: usize = 4;

/// How often it is looked whether the engine's disk has room.
const ROOM: Duration = Duration::from_secs(30);

/// Looks now and again whether images have to be removed.
pub(super) fn keep_room(runtime: Arc<dyn Runtime>, life: CancellationToken) {
    tokio::spawn(life.run_until_cancelled_owned(async move {
        let mut looks = interval(ROOM);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            if let Err(error) = runtime.keep_room().await {
                tracing::debug!(%error, "Images cannot be removed now");
            }
        }
    }));
}

/// When containers are removed.
#[derive(Debug)]
pub(super) struct Tidy {
    /// Containers that are being made or started.
    starting: watch::Sender<usize>,
    turns: Semaphore,
}

impl Default for Tidy {
    fn default() -> Self {
        Self { starting: watch::Sender::new(0), turns: Semaphore::new(REMOVALS) }
    }
}

/// A container is being made or started as long as this is there.
#[derive(Debug)]
pub(super) struct Starting(watch::Sender<usize>);

impl Drop for Starting {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

impl Tidy {
    /// A container is about to be made or started.
    pub(super) fn starting(&self) -> Starting {
        self.starting.send_modify(|count| *count += 1);
        Starting(self.starting.clone())
    }

    /// Returns when nothing is being started, or when it has taken too long, and others do not remove too much already.
    pub(super) async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        let deadline = Instant::now() + PATIENCE;
        // The semaphore is never closed. It comes first, because quiet may be over when the turn comes.
        let turn = self.turns.acquire().await.ok();
        // Either is good: quiet, or the end of patience.
        let _quiet = timeout_at(deadline, self.quiet()).await;
        turn
    }

    async fn quiet(&self) {
        let mut starting = self.starting.subscribe();
        // The sender is here, so it is never closed.
        while starting.wait_for(|count| *count == 0).await.is_ok() {
            if timeout(QUIET, starting.wait_for(|count| *count > 0)).await.is_err() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn it_waits_for_quiet_that_lasts_and_not_longer_than_it_has_patience() {
        let tidy = Tidy::default();
        let starting = tidy.starting();
        let begin = Instant::now();
        let early = timeout(Duration::from_secs(1), tidy.turn()).await;
        assert!(early.is_err(), "something is being started");
        drop(starting);
        let turn = tidy.turn();
        tokio::pin!(turn);
        assert!((&mut turn).now_or_never().is_none(), "the next may come at once");
        let starting = tidy.starting();
        assert!(timeout(QUIET * 2, &mut turn).await.is_err(), "it has come");
        drop(starting);
        assert!(turn.await.is_some());
        assert!(begin.elapsed() < PATIENCE);
    }

    #[tokio::test]
    async fn who_waits_for_others_looks_again_when_its_turn_comes() {
        let tidy = Tidy::default();
        let mut others = Vec::new();
        for _ in 0..REMOVALS {
            others.push(tidy.turn().await);
        }
        let late = tidy.turn();
        tokio::pin!(late);
        assert!(timeout(QUIET * 2, &mut late).await.is_err(), "too many remove already");
        let starting = tidy.starting();
        drop(others);
        assert!(timeout(QUIET * 2, &mut late).await.is_err(), "something is being started by now");
        drop(starting);
        assert!(late.await.is_some());
    }
}
