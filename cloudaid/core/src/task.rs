//! A submission while any of its elements is not over.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use shared::confinement::Confinement;
use shared::gpu::GpuLease;
use shared::id::{AttemptKey, ElementId, Elements, Fence, TaskRef, WorkerId};
use shared::link::CancelOrder;
use shared::resources::Resources;
use shared::task::{AttemptState, TaskState, Verdict};
use shared::time::{BootTime, WallTime};
use shared::view::Tally;

use crate::queue::Shape;
use crate::record::{AttemptRecord, Progress, Requeued, Spared, TaskRecord};
use crate::settings::Settings;

/// While so many elements of an array wait to run again, none is begun that has not run: each of them is kept on its own.
pub(crate) const AGAIN: usize = 1000;

/// Untouched elements are ranges, ended ones are ranges, and only what a worker holds is an element of its own.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Task {
    pub(crate) record: Arc<TaskRecord>,
    /// The class it queues in; what has got more memory waits in one of its own, see [`Task::shape_with`].
    pub(crate) shape: Arc<Shape>,
    /// All but the tally, which [`Task::tally`] derives.
    pub(crate) progress: Progress,
    pub(crate) live: BTreeMap<u32, Run>,
    /// Those that wait for another run, and do not run yet.
    pub(crate) resting: BTreeSet<u32>,
}

/// A run that a worker holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) attempt: u32,
    pub(crate) fence: Fence,
    pub(crate) worker: WorkerId,
    pub(crate) infrastructure_failures: u32,
    /// Bytes, where that is more than its task asks for.
    pub(crate) memory: Option<u64>,
    /// Empty: none, or whichever its worker picks.
    pub(crate) gpus: Vec<GpuLease>,
    /// What it is kept from, where that is more than its task is elsewhere.
    pub(crate) confinement: Option<Confinement>,
    pub(crate) placed_at: WallTime,
    /// When it was placed, or when this master started.
    pub(crate) placed: BootTime,
    /// Whether its worker was told that its time is up.
    pub(crate) overdue: bool,
    pub(crate) phase: RunPhase,
}

/// How far a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RunPhase {
    /// Given to its worker.
    Pending,
    /// Its container runs.
    Running { started_at: WallTime },
}

impl RunPhase {
    pub(crate) fn state(self) -> TaskState {
        match self {
            Self::Pending => TaskState::Pending,
            Self::Running { .. } => TaskState::Running,
        }
    }
}

impl Task {
    pub(crate) fn element(&self, index: u32) -> ElementId {
        ElementId { task: self.record.id, index }
    }

    pub(crate) fn key(&self, index: u32, run: &Run) -> AttemptKey {
        AttemptKey { task: self.record.id, index, attempt: run.attempt, fence: run.fence }
    }

    /// How people know an element: a plain task has no index.
    pub(crate) fn shown(&self, index: u32) -> TaskRef {
        let elements = if self.record.array.is_some() { Elements::One(index) } else { Elements::All };
        TaskRef { task: self.record.id, elements }
    }

    /// The most elements that may be with workers at once, if there is such a limit.
    pub(crate) fn limit(&self) -> Option<u32> {
        self.record.array.as_ref()?.limit
    }

    /// What its runs are made of.
    pub(crate) fn image(&self) -> &String {
        self.progress.image.as_ref().unwrap_or(&self.record.spec.image)
    }

    /// What a run has.
    pub(crate) fn resources(&self, memory: Option<u64>) -> Resources {
        let asked = self.record.spec.resources;
        Resources { memory_bytes: memory.unwrap_or(asked.memory_bytes), ..asked }
    }

    /// The class of those of its elements that get so much memory.
    pub(crate) fn shape_with(&self, memory: Option<u64>) -> Arc<Shape> {
        match memory {
            None => Arc::clone(&self.shape),
            Some(_) => Arc::new(Shape { resources: self.resources(memory), ..(*self.shape).clone() }),
        }
    }

    /// How much memory those of its elements get that wait in a class, where that is more than it asks for.
    pub(crate) fn memory_in(&self, shape: &Shape) -> Option<u64> {
        let memory = shape.resources.memory_bytes;
        (memory != self.record.spec.resources.memory_bytes).then_some(memory)
    }

    /// The memory that its waiting elements get, each amount once.
    pub(crate) fn waiting_memories(&self) -> BTreeSet<Option<u64>> {
        let untouched = (!self.progress.untouched.is_empty()).then_some(None);
        self.progress.requeued.iter().map(|waiting| waiting.memory).chain(untouched).collect()
    }

    /// The memory of the first of these elements that waits, where that is more than it asks for.
    pub(crate) fn next_memory(&self, elements: Elements) -> Option<u64> {
        let (first, last) = elements.bounds();
        let untouched = self.progress.untouched.next_within(first, last);
        let again = self.progress.requeued.iter().find(|waiting| elements.include(waiting.index))?;
        if untouched.is_some_and(|index| index < again.index) { None } else { again.memory }
    }

    /// Elements that wait in a class.
    pub(crate) fn waiting_in(&self, shape: &Shape) -> u32 {
        let memory = self.memory_in(shape);
        let again = self.progress.requeued.iter().filter(|waiting| waiting.memory == memory).count() as u32;
        again + if memory.is_none() { self.progress.untouched.len() } else { 0 }
    }

    /// Elements that wait in a class and may be given to a worker now. They share what the task may have at once.
    pub(crate) fn placeable_in(&self, shape: &Shape) -> u32 {
        if self.record.spec.policy.memory_max_bytes.is_none() {
            return self.placeable();
        }
        let memory = self.memory_in(shape);
        let is_ready = |waiting: &&Requeued| waiting.memory == memory && !self.resting.contains(&waiting.index);
        let again = self.progress.requeued.iter().filter(is_ready).count() as u32;
        let fresh = if memory.is_none() { self.fresh() } else { 0 };
        (again + fresh).min(self.placeable())
    }

    /// Elements that have not run, and may.
    fn fresh(&self) -> u32 {
        if self.progress.requeued.len() < AGAIN { self.progress.untouched.len() } else { 0 }
    }

    /// Elements that wait for a worker and may be given to one now.
    pub(crate) fn placeable(&self) -> u32 {
        let live = self.live.len() as u32;
        let room = self.limit().map_or(u32::MAX, |limit| limit.saturating_sub(live));
        let room = if self.is_suspicious() { room.min(1_u32.saturating_sub(self.tried())) } else { room };
        let again = self.progress.requeued.len() - self.resting.len();
        (again as u32 + self.fresh()).min(room)
    }

    /// Elements that are with workers, and will say something: what is unreachable says nothing for who knows how long.
    fn tried(&self) -> u32 {
        (self.live.len() as u32).saturating_sub(self.progress.unreachable.len())
    }

    /// Whether so many of its elements have failed in the same way that the others most likely will too: then one at a time
    /// is tried, until one does not.
    fn is_suspicious(&self) -> bool {
        self.progress.recent.suspicion().is_some()
    }

    /// A run has ended, and is not live any more.
    pub(crate) fn remember_end(&mut self, verdict: &Verdict) {
        if self.record.array.is_some() && !verdict.is_infrastructure() {
            let alone = self.tried() == 0;
            self.progress.recent.add(verdict, alone);
        }
    }

    /// Between TERM and KILL.
    pub(crate) fn stop_grace(&self, settings: &Settings) -> Duration {
        self.record.spec.policy.stop_grace.map_or(settings.stop_grace, |grace| grace.0)
    }

    /// The order to stop a run because a person wants it.
    pub(crate) fn stop_order(&self, index: u32, run: &Run, settings: &Settings) -> CancelOrder {
        CancelOrder { key: self.key(index, run), grace: self.stop_grace(settings), time_limit: None }
    }

    /// Elements that wait for a worker.
    pub(crate) fn waiting(&self) -> u32 {
        self.progress.untouched.len() + self.progress.requeued.len() as u32
    }

    /// Whether every element is over.
    pub(crate) fn is_over(&self) -> bool {
        self.live.is_empty() && self.progress.untouched.is_empty() && self.progress.requeued.is_empty()
    }

    /// Elements by state, counted.
    pub(crate) fn tally(&self) -> Tally {
        let mut tally = Tally { queued: self.waiting(), ..Tally::default() };
        for run in self.live.values() {
            *tally.of(run.phase.state()) += 1;
        }
        for (kind, ended) in &self.progress.ended {
            *tally.of(kind.state()) += ended.len();
        }
        tally
    }

    /// The same of some of the elements; all zero if there are none of them.
    pub(crate) fn tally_of(&self, elements: Elements) -> Tally {
        if elements == Elements::All {
            return self.tally();
        }
        let (first, last) = elements.bounds();
        let requeued = self.progress.requeued.iter().filter(|waiting| elements.include(waiting.index)).count() as u32;
        let queued = self.progress.untouched.within(first, last).len() + requeued;
        let mut tally = Tally { queued, ..Tally::default() };
        for (_, run) in self.live.range(first..=last) {
            *tally.of(run.phase.state()) += 1;
        }
        for (kind, ended) in &self.progress.ended {
            *tally.of(kind.state()) += ended.within(first, last).len();
        }
        tally
    }

    /// The next element of a class to run and how often it ran before: those that wait for another run come first. None:
    /// as many as may be are with workers.
    pub(crate) fn take_waiting(&mut self, shape: &Shape) -> Option<Requeued> {
        if self.placeable_in(shape) == 0 {
            return None;
        }
        let memory = self.memory_in(shape);
        let is_next = |waiting: &Requeued| waiting.memory == memory && !self.resting.contains(&waiting.index);
        match (self.progress.requeued.iter().position(is_next), memory) {
            (Some(at), _) => Some(self.progress.requeued.remove(at)),
            (None, Some(_)) => None,
            (None, None) if self.fresh() == 0 => None,
            (None, None) => self.progress.untouched.pop_first().map(|index| Requeued { index, ..Requeued::default() }),
        }
    }

    /// Takes one of these elements out of the queue, if any waits there.
    pub(crate) fn withdraw(&mut self, elements: Elements) -> Option<Requeued> {
        let (first, last) = elements.bounds();
        if let Some(index) = self.progress.untouched.next_within(first, last) {
            self.progress.untouched.remove(index);
            return Some(Requeued { index, ..Requeued::default() });
        }
        let at = self.progress.requeued.iter().position(|waiting| elements.include(waiting.index))?;
        let waiting = self.progress.requeued.remove(at);
        self.resting.remove(&waiting.index);
        Some(waiting)
    }

    /// How many runs of an element were given back in good order.
    pub(crate) fn spared(&self, index: u32) -> u32 {
        self.progress.spared.iter().find(|spared| spared.index == index).map_or(0, |spared| spared.runs)
    }

    /// One more.
    pub(crate) fn spare(&mut self, index: u32) {
        let spared = &mut self.progress.spared;
        match spared.iter_mut().find(|spared| spared.index == index) {
            Some(spared) => spared.runs = spared.runs.saturating_add(1),
            None => spared.push(Spared { index, runs: 1 }),
        }
    }

    /// Puts an element back for another run.
    pub(crate) fn requeue(&mut self, waiting: Requeued) {
        let requeued = &mut self.progress.requeued;
        let at = requeued.partition_point(|other| other.index < waiting.index);
        requeued.insert(at, waiting);
    }

    /// The record of a run that is live.
    pub(crate) fn attempt_record(&self, index: u32, run: &Run) -> AttemptRecord {
        let (state, started_at) = match run.phase {
            RunPhase::Pending => (AttemptState::Pending, None),
            RunPhase::Running { started_at } => (AttemptState::Running, Some(started_at)),
        };
        AttemptRecord {
            key: self.key(index, run),
            worker: run.worker.clone(),
            state,
            verdict: None,
            infrastructure_failures: run.infrastructure_failures,
            memory: run.memory,
            gpus: run.gpus.clone(),
            confinement: run.confinement,
            notes: Vec::new(),
            placed_at: run.placed_at,
            started_at,
            finished_at: None,
        }
    }

    /// The record of a run that is over.
    pub(crate) fn ended_record(&self, index: u32, run: &Run, verdict: Verdict, at: WallTime) -> AttemptRecord {
        AttemptRecord {
            state: AttemptState::Ended,
            verdict: Some(verdict),
            finished_at: Some(at),
            ..self.attempt_record(index, run)
        }
    }
}
