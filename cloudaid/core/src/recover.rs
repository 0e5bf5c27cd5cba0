//! From what the store holds to a cluster that goes on: the same path at every start.

use std::collections::BTreeMap;
use std::sync::Arc;

use shared::id::{AttemptKey, ClusterId, Epoch, TaskId};
use shared::task::AttemptState;
use shared::time::Now;
use shared::view::{Tally, TaskCounts};

use crate::alarm::Alarms;
use crate::cluster::{Cluster, count};
use crate::effect::Effect;
use crate::kept::Kept;
use crate::ledger::Ledger;
use crate::queue::{Queue, Shape};
use crate::record::{AttemptRecord, Change, ClusterRecord, Snapshot};
use crate::scheduler::Scheduler;
use crate::settings::Settings;
use crate::step::{ring, submit};
use crate::task::{Run, RunPhase, Task};
use crate::worker::Worker;

/// What the store holds contradicts itself. Nothing is guessed: a person has to look.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecoverError {
    /// A run whose task is not there.
    #[error("the store holds {0}, but not its task")]
    OrphanAttempt(AttemptKey),
    /// A run whose element also waits, or has ended.
    #[error("the store holds {0} as live, but its element waits or has ended")]
    Contradiction(AttemptKey),
    /// Elements that are nowhere, or in two places.
    #[error("of {task} the store holds {found} elements instead of {expected}")]
    Elements {
        /// The task.
        task: TaskId,
        /// Elements found.
        found: u32,
        /// Elements of the submission.
        expected: u32,
    },
}

impl Cluster {
    /// The cluster as the store last saw it, at the beginning of a new epoch. `fresh` names the cluster if there was
    /// none. The effects must be durable before anything else is done: they raise the epoch, and with it every fence.
    ///
    /// Workers are not connected at first, and none is given up before the start grace is over.
    ///
    /// # Errors
    /// The snapshot contradicts itself.
    pub fn recover(
        settings: Settings,
        scheduler: Box<dyn Scheduler>,
        snapshot: Snapshot,
        fresh: ClusterId,
        now: Now,
    ) -> Result<(Self, Vec<Effect>), RecoverError> {
        let identity = match snapshot.cluster {
            Some(last) => ClusterRecord { cluster: last.cluster, epoch: Epoch(last.epoch.0 + 1) },
            None => ClusterRecord { cluster: fresh, epoch: Epoch(1) },
        };
        let mut cluster = Self {
            settings,
            identity,
            started: now,
            awake: now.boot,
            tasks: BTreeMap::new(),
            workers: snapshot
                .workers
                .into_iter()
                .map(|record| (record.id.clone(), Worker::absent(record, now)))
                .collect(),
            join_tokens: snapshot.join_tokens.into_iter().map(|token| (token.id, token)).collect(),
            registries: snapshot.registries.into_iter().map(|record| (record.registry.clone(), record)).collect(),
            pending: snapshot.pending.into_iter().map(|pending| (pending.worker.clone(), pending)).collect(),
            queue: Queue::default(),
            ledger: Ledger::default(),
            kept: Kept::default(),
            tokens: snapshot.tokens.into_iter().map(|token| (token.id, token)).collect(),
            audit: snapshot.audit,
            logins: snapshot.logins.into_iter().map(|login| (login.id, login)).collect(),
            inputs: snapshot.inputs.into_iter().map(|input| (input.id, input)).collect(),
            missing: BTreeMap::new(),
            input_readers: BTreeMap::new(),
            file_usage: snapshot.file_usage.into_iter().collect(),
            users: snapshot.users.into_iter().map(|user| (user.name.clone(), user)).collect(),
            keys: BTreeMap::new(),
            totals: TaskCounts::default(),
            last_sequence: snapshot.last_sequence,
            last_fence: 0,
            draining: false,
            scheduler,
            dirty: Default::default(),
            alarms: Alarms::default(),
            plan_unfinished: false,
            plan_stale: true,
        };
        for (input, blob) in snapshot.missing {
            cluster.missing.entry(input).or_default().insert(blob);
        }
        for (record, progress) in snapshot.tasks {
            let record = submit::as_strict_as(&cluster.settings, record);
            let shape = cluster.queue.intern(Shape::of(&record));
            if let Some(key) = &record.key {
                cluster.keys.insert((record.user.clone(), Arc::clone(&key.key)), record.id);
            }
            if let Some(input) = record.spec.input {
                *cluster.input_readers.entry(input).or_default() += 1;
            }
            let id = record.id;
            let task = Task { record, shape, progress, live: BTreeMap::new(), resting: Default::default() };
            cluster.tasks.insert(id, task);
        }
        for attempt in snapshot.attempts {
            cluster.recover_run(attempt)?;
        }
        cluster.recover_queue()?;
        for (id, worker) in &mut cluster.workers {
            worker.reserved_at_registration = cluster.ledger.reserved(id);
        }
        ring::recover(&mut cluster, now);
        Ok((cluster, vec![Effect::Save(Change::Cluster(identity))]))
    }

    fn recover_run(&mut self, attempt: AttemptRecord) -> Result<(), RecoverError> {
        let key = attempt.key;
        let task = self.tasks.get_mut(&key.task).ok_or(RecoverError::OrphanAttempt(key))?;
        let progress = &task.progress;
        let elsewhere = progress.untouched.contains(key.index)
            || progress.requeued.iter().any(|waiting| waiting.index == key.index)
            || progress.ended.values().any(|ended| ended.contains(key.index))
            || !task.record.has(key.index);
        let phase = match (attempt.state, attempt.started_at) {
            (AttemptState::Running, Some(started_at)) => RunPhase::Running { started_at },
            (AttemptState::Running | AttemptState::Pending, _) => RunPhase::Pending,
            (AttemptState::Ended, _) => return Err(RecoverError::Contradiction(key)),
        };
        if elsewhere {
            return Err(RecoverError::Contradiction(key));
        }
        self.ledger.reserve(&attempt.worker, key.element(), task.resources(attempt.memory));
        let run = Run {
            attempt: key.attempt,
            fence: key.fence,
            worker: attempt.worker,
            infrastructure_failures: attempt.infrastructure_failures,
            memory: attempt.memory,
            gpus: attempt.gpus,
            confinement: attempt.confinement,
            placed_at: attempt.placed_at,
            placed: self.started.boot,
            overdue: false,
            phase,
        };
        match task.live.insert(key.index, run) {
            None => Ok(()),
            Some(_) => Err(RecoverError::Contradiction(key)),
        }
    }

    fn recover_queue(&mut self) -> Result<(), RecoverError> {
        for (id, task) in &mut self.tasks {
            let tally = task.tally();
            count(&mut self.totals, &Tally::default(), &tally);
            task.progress.tally = tally;
            let found = tally.queued + tally.pending + tally.running + tally.completed + tally.failed + tally.cancelled;
            let expected = task.record.count();
            if found != expected {
                return Err(RecoverError::Elements { task: *id, found, expected });
            }
            for memory in task.waiting_memories() {
                self.queue.insert(&task.shape_with(memory), task.record.sequence, *id);
            }
        }
        Ok(())
    }
}
