//! Starting comes before tidying up: to remove a container costs the engine about as much as to start one, and nobody
//! waits for it.

use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit, watch};

/// How long what has ended may lie about while others are being started. Bounds the disk that it takes.
const PATIENCE: Duration = Duration::from_secs(30);
/// Removals at a time.
const REMOVALS: usize = 4;

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
        let mut starting = self.starting.subscribe();
        let quiet = async { starting.wait_for(|count| *count == 0).await.is_ok() };
        // Either is good: quiet, or the end of patience.
        let _quiet = tokio::time::timeout(PATIENCE, quiet).await;
        // The semaphore is never closed.
        self.turns.acquire().await.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_waits_for_quiet_and_not_longer_than_it_has_patience() {
        let tidy = Tidy::default();
        let starting = tidy.starting();
        let begin = tokio::time::Instant::now();
        let early = tokio::time::timeout(Duration::from_millis(50), tidy.turn()).await;
        assert!(early.is_err(), "something is being started");
        drop(starting);
        assert!(tidy.turn().await.is_some());
        assert!(begin.elapsed() < PATIENCE);
    }
}
