//! Follows the journal: shows commits in the collections as soon as they are made, those that wait together.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use cloudaid_core::record::Change;
use mongodb::bson::{DateTime, doc};
use parking_lot::Mutex;
use shared::id::{AttemptKey, TaskId};
use shared::task::AttemptState;
use shared::view::TaskCounts;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::collections::MARKED;
use super::fault::Fault;
use super::hold;
use super::journal::{Entry, Journal};
use super::project::{Gain, Open, Projection};
use super::server::Server;
use crate::pause::Pauses;
use crate::store::StoreError;

/// The most changes that are shown together.
const CHANGES: usize = 20_000;
/// Commits, and changes, after which the journal is trimmed: what is left is shown again at the next start.
const TRIM_EVERY: u64 = 64;
const TRIM_CHANGES: usize = 4000;
/// How long marks of deleted documents stay. A projection that is later than this does not come.
const MARK_FOR: Duration = Duration::from_secs(3600);

/// What the projector and the store both know.
#[derive(Debug)]
pub(super) struct Shown {
    /// Up to where commits are shown.
    pub(super) position: watch::Sender<u64>,
    /// Why it goes no further.
    pub(super) failure: Mutex<Option<String>>,
    /// Of submissions that have not ended.
    pub(super) sequences: Mutex<HashMap<TaskId, u64>>,
    /// Runs that have not ended.
    pub(super) runs: Mutex<HashSet<AttemptKey>>,
    /// Ended elements, where that is known.
    pub(super) ended: Mutex<Option<TaskCounts>>,
    /// How many there were when that was last known.
    pub(super) last_ended: Mutex<TaskCounts>,
}

impl Shown {
    pub(super) fn new(position: u64) -> Self {
        Self {
            position: watch::channel(position).0,
            failure: Mutex::default(),
            sequences: Mutex::default(),
            runs: Mutex::default(),
            ended: Mutex::default(),
            last_ended: Mutex::default(),
        }
    }

    /// Waits until all up to `position` is shown.
    pub(super) async fn wait_for(&self, position: u64, limit: Duration) -> Result<(), StoreError> {
        let mut shown = self.position.subscribe();
        let waited = tokio::time::timeout(limit, shown.wait_for(|shown| *shown >= position)).await;
        match (waited, &*self.failure.lock()) {
            (Ok(Ok(_)), _) => Ok(()),
            (_, Some(failure)) => Err(StoreError::Server(failure.clone())),
            (Ok(Err(_)), None) => Err(StoreError::Closed),
            (Err(_), None) => Err(StoreError::Unreachable("what was written cannot be read yet".to_owned())),
        }
    }

    /// What of it these changes are about.
    fn open(&self, changes: &[Change]) -> Open {
        let (sequences, runs) = (self.sequences.lock(), self.runs.lock());
        let mut open = Open::default();
        for change in changes {
            if let Change::Attempt(attempt) = change {
                open.runs.extend(runs.get(&attempt.key));
            }
            if let Some(task) = super::project::part_of(change) {
                open.sequences.extend(sequences.get(&task).map(|sequence| (task, *sequence)));
            }
        }
        open
    }

    fn gain(&self, gain: &Gain) {
        let mut known = self.ended.lock();
        if gain.recount {
            if let Some(known) = known.take() {
                *self.last_ended.lock() = known;
            }
        } else if let Some(known) = &mut *known {
            known.completed += gain.ended.completed;
            known.failed += gain.ended.failed;
            known.cancelled += gain.ended.cancelled;
        }
    }
}

/// Shows commits in their order, until nobody commits any more.
pub(super) struct Projector {
    pub(super) server: Server,
    pub(super) journal: Arc<Journal>,
    pub(super) shown: Arc<Shown>,
    pub(super) queue: mpsc::UnboundedReceiver<Entry>,
}

impl Projector {
    pub(super) async fn run(mut self) {
        let (mut trimmed, mut shown, mut tidied) = (*self.shown.position.borrow(), 0, None::<Instant>);
        while let Some((position, changes)) = self.next().await {
            let count = changes.len();
            if let Err(error) = self.show(position, changes).await {
                tracing::error!("The collections do not follow the journal any more: {error}");
                *self.shown.failure.lock() = Some(error.to_string());
                // Whoever waits looks again.
                self.shown.position.send_modify(|_| ());
                return;
            }
            self.shown.position.send_replace(position);
            shown += count;
            if (position >= trimmed + TRIM_EVERY || shown >= TRIM_CHANGES) && self.trim(position).await.is_ok() {
                (trimmed, shown) = (position, 0);
            }
            if tidied.is_none_or(|at| at.elapsed() > MARK_FOR) && tidy(&self.server).await.is_ok() {
                tidied = Some(Instant::now());
            }
        }
    }

    /// The position was known before holds are looked for: one that is made later begins behind it.
    async fn trim(&self, position: u64) -> Result<(), Fault> {
        if hold::any(&self.server).await? { Ok(()) } else { self.journal.trim(position).await }
    }

    /// The commits that wait.
    async fn next(&mut self) -> Option<(u64, Arc<Vec<Change>>)> {
        let Entry { mut position, mut changes } = self.queue.recv().await?;
        while changes.len() < CHANGES
            && let Ok(more) = self.queue.try_recv()
        {
            position = more.position;
            Arc::make_mut(&mut changes).extend(more.changes.iter().cloned());
        }
        Some((position, changes))
    }

    async fn show(&self, position: u64, changes: Arc<Vec<Change>>) -> Result<(), StoreError> {
        let gain = show(&self.server, &self.shown, position, &changes).await?;
        self.shown.gain(&gain);
        let (mut sequences, mut runs) = (self.shown.sequences.lock(), self.shown.runs.lock());
        for change in changes.iter() {
            match change {
                Change::Attempt(attempt) if attempt.state == AttemptState::Ended => {
                    runs.remove(&attempt.key);
                }
                Change::Attempt(attempt) => {
                    runs.insert(attempt.key);
                }
                Change::Progress(id, progress) if progress.state().is_final() => {
                    sequences.remove(id);
                }
                Change::Gone(id) => {
                    sequences.remove(id);
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// Shows changes, however often that has to be tried.
pub(super) async fn show(
    server: &Server,
    shown: &Shown,
    position: u64,
    changes: &[Change],
) -> Result<Gain, StoreError> {
    let mut pauses = Pauses::default();
    loop {
        let open = shown.open(changes);
        match Projection::new(server, position).show(changes.to_vec(), &open).await {
            Ok(gain) => return Ok(gain),
            Err(fault) if fault.is_passing() => {
                let pause = pauses.next().min(Duration::from_secs(1));
                tracing::debug!("Commits up to {position} are not shown yet: {}", fault.into_error());
                tokio::time::sleep(pause).await;
            }
            Err(fault) => return Err(fault.into_error()),
        }
    }
}

/// Removes old marks.
pub(super) async fn tidy(server: &Server) -> Result<(), Fault> {
    let before = DateTime::from_millis(DateTime::now().timestamp_millis() - MARK_FOR.as_millis() as i64);
    for name in MARKED {
        server.delete(name, vec![doc! { "q": { "gone": { "$lt": before } }, "limit": 0 }]).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_counted_last_is_there_until_it_is_counted_again() {
        let shown = Shown::new(0);
        let ended = |completed| TaskCounts { completed, ..TaskCounts::default() };
        *shown.ended.lock() = Some(ended(7));
        shown.gain(&Gain { ended: ended(1), recount: false });
        for _ in 0..2 {
            shown.gain(&Gain { ended: ended(1), recount: true });
            assert_eq!((*shown.ended.lock(), *shown.last_ended.lock()), (None, ended(8)));
        }
    }
}
