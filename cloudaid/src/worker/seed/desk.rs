//! What the gateway knows: the tasks, the agent's session, the master.
//!
//! What is said about a task is on disk before it is acted on, or answered.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use shared::id::{AttemptKey, ClusterId, Epoch, Fence, WorkerId};
use shared::link::{AttemptChange, CancelOrder, Hello, Report, ToWorker, Welcome};
use shared::proto::seed::{RunningTask, Task as WireTask};
use shared::resources::Resources;
use shared::worker::Usage;
use tokio::sync::{Mutex as AsyncMutex, mpsc, watch};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::acks::Acks;
use super::ledger::{End, Ledger, Record};
use super::master::Master;
use super::report;
use super::spool::Spool;
use super::task::{self, STOP_GRACE};
use crate::clock;
use state::{Session, State, Task};

mod state;

/// How often the agent says how busy the machine is, and we to the master.
pub(super) const HEARTBEAT: Duration = Duration::from_secs(5);
/// The agent is in this process: it is never taken for lost.
const LEASE: Duration = Duration::from_secs(u32::MAX as u64 / 1000);
/// The most tasks that have not ended.
const LIVE_LIMIT: usize = 4096;
const TIDY_EVERY: Duration = Duration::from_secs(60);

/// All that the two sides share.
#[derive(Debug)]
pub(super) struct Desk {
    name: WorkerId,
    ledger: Arc<Ledger>,
    /// Whoever changes what the ledger says.
    turn: AsyncMutex<()>,
    state: Mutex<State>,
    /// Changes with every registration, also by the same master.
    master: watch::Sender<Option<Master>>,
    /// What the agent offers; known once it is there.
    capacity: watch::Sender<Option<Resources>>,
    usage: Mutex<Usage>,
    pub(super) reports: report::Slots,
    life: CancellationToken,
}

/// One task, for who works on it.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub(super) record: Record,
    pub(super) spool: Arc<Spool>,
}

impl Desk {
    pub(super) fn new(
        name: WorkerId,
        ledger: Ledger,
        known: Vec<Record>,
        master: Option<Master>,
        life: CancellationToken,
    ) -> Self {
        let mut state = State::default();
        for record in known {
            state.last_fence = state.last_fence.max(record.assignment.key.fence.0);
            let spool = Spool::new(ledger.directory(record.assignment.key.task));
            if let Some(end) = &record.end {
                spool.end(end.status);
            }
            state.insert(record, Arc::new(spool));
        }
        Self {
            name,
            ledger: Arc::new(ledger),
            turn: AsyncMutex::default(),
            state: Mutex::new(state),
            master: watch::Sender::new(master),
            capacity: watch::Sender::new(None),
            usage: Mutex::default(),
            reports: report::Slots::default(),
            life,
        }
    }

    pub(super) fn name(&self) -> &WorkerId {
        &self.name
    }

    pub(super) fn cluster(&self) -> ClusterId {
        self.ledger.cluster()
    }

    pub(super) fn ledger(&self) -> Arc<Ledger> {
        Arc::clone(&self.ledger)
    }

    pub(super) fn master(&self) -> Option<Master> {
        self.master.borrow().clone()
    }

    pub(super) fn watch_master(&self) -> watch::Receiver<Option<Master>> {
        self.master.subscribe()
    }

    pub(super) fn watch_capacity(&self) -> watch::Receiver<Option<Resources>> {
        self.capacity.subscribe()
    }

    pub(super) fn usage(&self) -> Usage {
        *self.usage.lock()
    }

    pub(super) fn used(&self, usage: Usage) {
        *self.usage.lock() = usage;
    }

    /// A master has let us register: it may give us tasks.
    pub(super) fn admit(&self) {
        self.state.lock().admitted = true;
    }

    /// A master has registered us: from now on it is ours, and after a restart too.
    pub(super) async fn registered_by(&self, master: Master) -> io::Result<()> {
        let _turn = self.turn.lock().await;
        let ledger = self.ledger();
        let saved = master.clone();
        blocking(move || ledger.save_master(&saved)).await?;
        self.admit();
        self.master.send_replace(Some(master));
        Ok(())
    }

    /// Takes a task, once: one that is known is not run again.
    ///
    /// # Errors
    /// Why it is not taken, in words for the master.
    pub(super) async fn assign(self: &Arc<Self>, task: WireTask) -> Result<&'static str, String> {
        let _turn = self.turn.lock().await;
        let fence = {
            let mut state = self.state.lock();
            if !state.admitted {
                return Err("this worker waits for its master to register it (MasterRegister)".to_owned());
            }
            if let Some(known) = state.by_wire_id(&task.task_id) {
                // Who asks again does not know that it has ended.
                return Ok(match known.record.end.clone() {
                    Some(end) => {
                        self.report(known, end);
                        "it has ended and is reported again"
                    }
                    None => "it is here already",
                });
            }
            if state.live().count() >= LIVE_LIMIT {
                return Err(format!("this worker holds {LIVE_LIMIT} tasks and takes no more before some have ended"));
            }
            state.last_fence += 1;
            Fence(state.last_fence)
        };
        let record = task::accept(task, fence)?;
        let spool = Arc::new(Spool::new(self.ledger.directory(record.assignment.key.task)));
        self.save(record.clone()).await.map_err(|error| {
            tracing::error!(%error, "A task cannot be written down and is refused");
            "the disk of this worker cannot be written; its log says more".to_owned()
        })?;
        let mut state = self.state.lock();
        state.say(ToWorker::Assign(vec![record.assignment.clone()]));
        state.insert(record, spool);
        Ok("accepted")
    }

    /// Stops a task; its end is reported as any other.
    ///
    /// # Errors
    /// Why not, in words for the master.
    pub(super) async fn cancel(&self, wire_id: &str) -> Result<&'static str, String> {
        let _turn = self.turn.lock().await;
        let known = self.state.lock().by_wire_id(wire_id).map(|task| task.record.clone());
        let mut record = known.ok_or_else(|| "there is no such task here".to_owned())?;
        if record.end.is_some() {
            return Ok("it has ended");
        }
        record.cancelled = true;
        self.save(record.clone()).await.map_err(|error| {
            tracing::error!(%error, "A cancellation cannot be written down and is refused");
            "the disk of this worker cannot be written; its log says more".to_owned()
        })?;
        let mut state = self.state.lock();
        state.say(ToWorker::Cancel(vec![order(&record)]));
        state.replace(record);
        Ok("it is being stopped")
    }

    /// What a master may look at or stop, by its own name for it.
    pub(super) fn find(&self, wire_id: &str) -> Option<Known> {
        self.state.lock().by_wire_id(wire_id).map(|task| task.known())
    }

    /// A task that the agent works on; none if it is nobody's, or has ended.
    pub(super) fn live(&self, key: AttemptKey) -> Option<Known> {
        self.state.lock().live_with(key).map(|task| task.known())
    }

    /// All that a heartbeat has to name: what is left out counts as lost.
    pub(super) fn running(&self) -> Vec<RunningTask> {
        self.state.lock().live().map(|task| task::running(&task.record)).collect()
    }

    /// The agent is there: it hears what to do with what it holds, and what it does not know of yet.
    pub(super) fn begin(&self, hello: &Hello, say: mpsc::UnboundedSender<ToWorker>) -> u64 {
        let mut state = self.state.lock();
        let decisions = hello.inventory.iter().map(|held| (held.key, state.decide(held.key))).collect();
        let held: BTreeSet<_> = hello.inventory.iter().map(|held| held.key).collect();
        let missing = state.live().map(|task| &task.record.assignment).filter(|missing| !held.contains(&missing.key));
        let missing: Vec<_> = missing.cloned().collect();
        let cancelled = state.live().filter(|task| task.record.cancelled).map(|task| order(&task.record)).collect();
        state.sessions += 1;
        let number = state.sessions;
        state.session = Some(Session { number, say, acks: Acks::default() });
        let (cluster, epoch) = (self.cluster(), Epoch(1));
        state.say(ToWorker::Welcome(Welcome { cluster, epoch, heartbeat: HEARTBEAT, lease: LEASE, decisions }));
        state.say(ToWorker::Assign(missing));
        state.say(ToWorker::Cancel(cancelled));
        drop(state);
        self.capacity.send_replace(Some(hello.facts.capacity));
        number
    }

    /// The agent says how far a run is. An end is acknowledged when the master has taken it.
    pub(super) fn reported(self: &Arc<Self>, session: u64, report: Report) {
        let Report { sequence, key, change } = report;
        let mut state = self.state.lock();
        let State { tasks, session: current, .. } = &mut *state;
        let Some(current) = current.as_mut().filter(|current| current.number == session) else { return };
        let task = tasks.get_mut(&key.task).filter(|task| task.record.end.is_none());
        match (change, task) {
            (AttemptChange::Finished(outcome), Some(task)) => {
                current.acks.owe(sequence, key);
                let end = End::from(&outcome);
                task.spool.end(end.status);
                self.report(task, end);
            }
            (AttemptChange::Finished(_) | AttemptChange::Started { .. } | AttemptChange::Preparing, _) => {
                current.acks.take(sequence);
            }
        }
        current.acknowledge();
    }

    /// The master has taken an end, or will never: it is remembered, and the agent forgets it.
    pub(super) async fn settle(&self, mut record: Record, end: End) -> io::Result<()> {
        let _turn = self.turn.lock().await;
        let key = record.assignment.key;
        record.end = Some(End { at: clock::wall(), ..end });
        self.save(record.clone()).await?;
        let mut state = self.state.lock();
        state.replace(record);
        if let Some(task) = state.tasks.get_mut(&key.task) {
            task.reporting = false;
        }
        if let Some(session) = &mut state.session {
            session.acks.settle(key);
            session.acknowledge();
        }
        Ok(())
    }

    /// Forgets what has ended a while ago, now and again.
    pub(super) async fn keep_tidy(self: Arc<Self>) {
        let mut turns = tokio::time::interval(TIDY_EVERY);
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            turns.tick().await;
            let _turn = self.turn.lock().await;
            let old = self.state.lock().take_old(clock::wall().0);
            let ledger = self.ledger();
            let removed = blocking(move || old.into_iter().try_for_each(|task| ledger.remove(task)));
            if let Err(error) = removed.await {
                tracing::warn!(%error, "The log of a task that has ended cannot be removed; it is tried at the next start");
            }
        }
    }

    fn report(self: &Arc<Self>, task: &mut Task, end: End) {
        if !std::mem::replace(&mut task.reporting, true) {
            let report = report::until_taken(Arc::clone(self), task.known(), end);
            tokio::spawn(self.life.clone().run_until_cancelled_owned(report));
        }
    }

    async fn save(&self, record: Record) -> io::Result<()> {
        let ledger = self.ledger();
        blocking(move || ledger.save(&record)).await
    }
}

fn order(record: &Record) -> CancelOrder {
    CancelOrder { key: record.assignment.key, grace: STOP_GRACE, time_limit: None }
}

/// Work with a disk, where it delays nothing else.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(io::Error::other(error)))
}
