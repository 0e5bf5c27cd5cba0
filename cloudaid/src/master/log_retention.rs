//! Removes logs that have been kept for long enough, and those that there is no room for.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::time::{Duration, Instant};

use shared::error::{ApiError, ErrorCode};
use shared::id::ElementId;
use shared::task::TaskState;
use shared::time::WallTime;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::handle::ClusterHandle;
use super::logs::{LogStore, StoredLog};
use crate::clock::ago;
use crate::config::TaskLogSettings;

/// How often is looked whether something is to be done.
const LOOK: Duration = Duration::from_secs(1);
/// How often all logs are looked at for their age, at the least and at the most. In between: ten times within the shortest
/// retention.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(3600));
/// Of the time that looking at all logs has taken: nothing for so many times as long.
const REST: u32 = 20;
/// And after a look that failed.
const AFTER_TROUBLE: Duration = Duration::from_secs(60);
/// Logs that are remembered while the oldest are looked for. Where more have to be looked at, all are listed once more for each so
/// many.
const OLDEST: usize = 10_000;

/// Removes logs until the end. What cannot be done now is done later.
pub(super) async fn run(
    cluster: ClusterHandle,
    logs: LogStore,
    settings: TaskLogSettings,
    shutdown: CancellationToken,
) {
    let Some(mut keeper) = Keeper::new(cluster, logs, settings) else { return };
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while shutdown.run_until_cancelled(looks.tick()).await.is_some() {
        if let Some(Err(error)) = shutdown.run_until_cancelled(keeper.look()).await {
            warn!("Logs that are to go stay for now: {}", error.message);
        }
    }
}

/// Knows what may be kept.
struct Keeper {
    cluster: ClusterHandle,
    logs: LogStore,
    settings: TaskLogSettings,
    /// The shorter of the two retentions.
    shortest: Option<Duration>,
    /// When all logs are looked at for their age.
    ages_at: Instant,
    /// Not before this: looking at all logs is not for free.
    rested_at: Instant,
    /// Bytes at the last look, and how many had been appended by then; none before the first.
    seen: Option<(u64, u64)>,
}

impl Keeper {
    /// None if all is kept for ever.
    fn new(cluster: ClusterHandle, logs: LogStore, settings: TaskLogSettings) -> Option<Self> {
        let shortest = settings.retention.into_iter().chain(settings.failed_retention).min();
        let now = Instant::now();
        let keeper = Self { cluster, logs, settings, shortest, ages_at: now, rested_at: now, seen: None };
        (shortest.is_some() || settings.total.is_some()).then_some(keeper)
    }

    async fn look(&mut self) -> Result<(), ApiError> {
        let begin = Instant::now();
        if begin < self.rested_at {
            return Ok(());
        }
        let old = self.shortest.filter(|_| self.ages_at <= begin);
        let is_much = self.settings.total.is_some_and(|total| self.estimate().is_none_or(|bytes| bytes > total));
        let looked = async {
            if let Some(shortest) = old {
                self.ages_at = begin + (shortest / 10).clamp(PAUSES.0, PAUSES.1);
                self.by_age(shortest).await?;
            }
            if is_much { self.by_size().await } else { Ok(()) }
        };
        let looked = looked.await;
        if old.is_some() || is_much {
            let least = if looked.is_ok() { Duration::ZERO } else { AFTER_TROUBLE };
            self.rested_at = Instant::now() + least.max(begin.elapsed() * REST);
        }
        looked
    }

    /// What all logs come to, if nothing was removed since the last look.
    fn estimate(&self) -> Option<u64> {
        self.seen.map(|(bytes, appended)| bytes.saturating_add(self.logs.appended() - appended))
    }

    async fn by_age(&self, shortest: Duration) -> Result<(), ApiError> {
        for shard in self.logs.shards().await.map_err(|error| unreadable(&error))? {
            for log in self.logs.stored(shard).await.map_err(|error| unreadable(&error))? {
                // What was written later belongs to a task that ended later.
                if log.written > ago(shortest) {
                    continue;
                }
                let Some((ended_at, failed)) = self.end(log.element).await? else { continue };
                let retention = if failed { self.settings.failed_retention } else { self.settings.retention };
                if retention.is_some_and(|retention| ended_at <= ago(retention)) {
                    self.clear(&log).await;
                }
            }
        }
        Ok(())
    }

    /// The oldest go until there is room, but for those of tasks that have not ended.
    async fn by_size(&mut self) -> Result<(), ApiError> {
        let Some(most) = self.settings.total else { return Ok(()) };
        // None of the oldest may be one that can go.
        let mut looked_at = None;
        loop {
            let appended = self.logs.appended();
            let (mut total, mut oldest) = (0, Oldest::after(looked_at));
            for shard in self.logs.shards().await.map_err(|error| unreadable(&error))? {
                for log in self.logs.stored(shard).await.map_err(|error| unreadable(&error))? {
                    total += log.bytes;
                    oldest.push(log);
                }
            }
            let are_all = oldest.are_all();
            looked_at = oldest.last();
            let mut freed = 0;
            for log in oldest.into_sorted() {
                if total - freed <= most {
                    break;
                }
                if self.end(log.element).await?.is_some() {
                    freed += self.clear(&log).await.min(total - freed);
                }
            }
            self.seen = Some((total - freed, appended));
            if total - freed <= most || are_all {
                return Ok(());
            }
        }
    }

    /// When the task ended, and whether it failed; none if it has not, or is not known.
    async fn end(&self, element: ElementId) -> Result<Option<(WallTime, bool)>, ApiError> {
        match self.cluster.task(element.into()).await {
            Ok(task) => Ok(task.finished_at.map(|at| (at, task.state == TaskState::Failed))),
            Err(error) if error.code == ErrorCode::TaskNotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Returns what that has freed. One that cannot be removed does not keep the others.
    async fn clear(&self, log: &StoredLog) -> u64 {
        let StoredLog { element, attempt, .. } = *log;
        match self.logs.clear(element, attempt).await {
            Ok(0) => 0,
            Ok(freed) => {
                info!("The log of attempt {attempt} of {element} was removed: {freed} bytes");
                freed
            }
            Err(error) => {
                warn!("The log of attempt {attempt} of {element} is to go and stays for now: {error}");
                0
            }
        }
    }
}

/// What is first: when it was written, then the larger one.
type Place = (WallTime, Reverse<u64>, ElementId, u32);

/// The logs that were written first, of those after a place.
struct Oldest {
    after: Option<Place>,
    /// The latest of them on top.
    logs: BinaryHeap<Place>,
}

impl Oldest {
    fn after(after: Option<Place>) -> Self {
        Self { after, logs: BinaryHeap::new() }
    }

    fn push(&mut self, log: StoredLog) {
        let place = (log.written, Reverse(log.bytes), log.element, log.attempt);
        if self.after.is_some_and(|after| place <= after) {
            return;
        }
        self.logs.push(place);
        if self.logs.len() > OLDEST {
            self.logs.pop();
        }
    }

    /// Whether there are no more.
    fn are_all(&self) -> bool {
        self.logs.len() < OLDEST
    }

    fn last(&self) -> Option<Place> {
        self.logs.peek().copied()
    }

    fn into_sorted(self) -> impl Iterator<Item = StoredLog> {
        let log = |(written, Reverse(bytes), element, attempt)| StoredLog { element, attempt, bytes, written };
        self.logs.into_sorted_vec().into_iter().map(log)
    }
}

fn unreadable(error: &io::Error) -> ApiError {
    ApiError::new(ErrorCode::Internal, format!("the logs cannot be read: {error}"), "look at the data directory")
}

#[cfg(test)]
mod tests {
    use shared::id::TaskId;

    use super::*;

    fn log(index: u32) -> StoredLog {
        let task = TaskId(7_u128.into());
        // Many are written in the same moment.
        StoredLog {
            element: ElementId { task, index },
            attempt: 1,
            bytes: 1,
            written: WallTime(i64::from(index / 100)),
        }
    }

    #[test]
    fn all_logs_are_looked_at_however_many_there_are_and_each_once() {
        let count = u32::try_from(2 * OLDEST + 1).expect("small");
        let (mut after, mut seen) = (None, Vec::new());
        let mut rounds = 0;
        loop {
            let mut oldest = Oldest::after(after);
            (0..count).rev().for_each(|index| oldest.push(log(index)));
            let are_all = oldest.are_all();
            after = oldest.last();
            seen.extend(oldest.into_sorted().map(|log| log.element.index));
            rounds += 1;
            if are_all {
                break;
            }
        }
        assert_eq!(rounds, 3);
        assert!(seen.into_iter().eq(0..count), "the oldest first");
    }
}
