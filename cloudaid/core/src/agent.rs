//! The worker's side: every run that a worker holds, as state machines.
//!
//! A run goes Preparing (image) -> Creating -> Starting -> Running -> (Stopping) -> Harvesting (log and outputs) ->
//! Reporting -> Removing, and is gone. Three rules hold everywhere:
//!
//! - What may not happen twice is journaled first: [`AgentEffect::Journal`] is durable before any later effect on the same
//!   run is carried out.
//! - Once a start is journaled, the container is never made again. If it is gone, the run is lost, and said to be.
//! - Nothing of a run is removed before the master has acknowledged its end, or has said that it does not want it.
//!
//! After a start a run is Unseen while the engine gives no answer.
//!
//! Reports are not queued: each session begins with a report of where every run stands, so nothing can be forgotten.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use shared::id::{AttemptKey, ElementId, Fence};
use shared::link::{Assignment, Held, Report, Welcome};
use shared::time::{BootTime, Now};

pub use effect::{AgentEffect, StopSignal};
pub use input::{AgentInput, ContainerState, Ended, EngineError, FoundContainer, LogBytes};
pub use journal::{Exited, JournalEntry, JournalRecord, Starting, StopOrder, StopReason};
pub use lease::Lease;
pub use run::container_name;

use crowd::Crowd;
use index::Index;
use out::{Out, Session};
use run::{Collected, Run};

mod crowd;
mod effect;
mod finish;
mod hand;
mod index;
mod input;
mod inventory;
mod journal;
mod lease;
mod leave;
mod out;
mod pace;
mod recover;
mod run;
mod start;
mod stop;
mod tick;
mod verdict;

#[cfg(test)]
mod property_tests;
#[cfg(test)]
mod testkit;
#[cfg(test)]
mod tests;

/// How many fences of runs that are gone are remembered, against assignments that come twice. Far more than can be on
/// their way at once.
const GONE_LIMIT: usize = 16 * 1024;

/// What a worker decides by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AgentSettings {
    /// How long a registry that does not answer, or has no time for us, is asked again. Then the task fails: one that waits
    /// for ever for its image is worse than one that says so.
    pub registry_patience: Duration,
}

impl Default for AgentSettings {
    fn default() -> Self {
        Self { registry_patience: Duration::from_secs(5 * 60) }
    }
}

/// All runs of one worker.
#[derive(Debug, Default)]
pub struct Agent {
    settings: AgentSettings,
    runs: BTreeMap<AttemptKey, Run>,
    index: Index,
    session: Session,
    lease: Lease,
    crowd: Crowd,
    /// Runs that were here and are over; an assignment of one of these is late.
    gone: BTreeSet<Fence>,
    shutting_down: bool,
    leaving: bool,
}

impl Agent {
    /// One that holds nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The same, that decides by these numbers.
    #[must_use]
    pub fn with(settings: AgentSettings) -> Self {
        Self { settings, ..Self::default() }
    }

    /// Takes one input; what follows from it is added to `effects`.
    pub fn step(&mut self, now: Now, input: AgentInput, effects: &mut Vec<AgentEffect>) {
        match &input {
            AgentInput::Heard { sent } => self.lease.renew(*sent),
            AgentInput::Recovered { lease, .. } => self.lease.begin(*lease, now.boot),
            _ => {}
        }
        self.end_with_lease(now, effects);
        let mut out = Out::new(now, &mut self.session, effects);
        match input {
            AgentInput::Assigned(assignments) => {
                let taken = if self.shutting_down { Vec::new() } else { assignments };
                taken.into_iter().for_each(|assignment| self.on_assigned(now, assignment, effects));
            }
            AgentInput::Cancelled(orders) => {
                for order in orders {
                    let reason = order.time_limit.map_or(StopReason::Person, StopReason::TimeLimit);
                    let stop = StopOrder { grace: order.grace, reason };
                    self.on_run(now, order.key, effects, |run, out| run.order_stop(stop, out));
                }
            }
            AgentInput::Connected(welcome) => self.on_connected(now, welcome, effects),
            AgentInput::Decided(decisions) => self.on_decided(now, decisions, effects),
            AgentInput::Inquired { horizon } => self.on_inquired(horizon, effects),
            AgentInput::Listed { horizon, watched, found } => {
                self.on_listed(now, horizon, &watched, found, effects);
            }
            AgentInput::Disconnected => self.session = Session::Down,
            AgentInput::Recovered { journal, found, lease: _ } => {
                recover::recover(&mut self.runs, journal, found, &mut out);
                self.index = Index::of(&self.runs);
                // Now, and not at the next input: one that dies again and again may never come to that.
                self.end_with_lease(now, effects);
            }
            AgentInput::Surveyed(found) => {
                recover::survey(&mut self.runs, &self.gone, found, &mut out);
                self.index = Index::of(&self.runs);
                // What is seen for the first time may be here longer than it may.
                self.end_with_lease(now, effects);
            }
            AgentInput::ImageReady(key, image) => {
                self.on_run(now, key, effects, |run, out| run.image_ready(image, out));
            }
            AgentInput::ImageFailed(key, error) => {
                let patience = self.settings.registry_patience;
                self.on_run(now, key, effects, |run, out| run.image_failed(&error, patience, out));
            }
            AgentInput::Created(key) => self.on_run(now, key, effects, Run::created),
            AgentInput::CreateFailed(key, error) => {
                self.on_run(now, key, effects, |run, out| run.create_failed(&error, out));
            }
            AgentInput::Started(key) => self.on_run(now, key, effects, Run::started),
            AgentInput::StartFailed(key, error) => {
                self.on_run(now, key, effects, |run, out| run.start_failed(&error, out));
            }
            AgentInput::Exited(key, ended) => self.on_run(now, key, effects, |run, out| run.exited(&ended, out)),
            AgentInput::WaitFailed(key, error) => {
                self.on_run(now, key, effects, |run, out| run.wait_failed(&error, out));
            }
            AgentInput::StorageExceeded { key, used_bytes, largest } => {
                self.on_storage_exceeded(now, key, (used_bytes, largest), effects);
            }
            AgentInput::LogsDrained(key, bytes) => {
                self.on_run(now, key, effects, |run, out| run.logs_drained(bytes, out));
            }
            AgentInput::OutputsUploaded { key, files, bytes, notes } => {
                let outputs = Collected { files, bytes, notes };
                self.on_run(now, key, effects, |run, out| run.outputs_collected(outputs, out));
            }
            AgentInput::UploadFailed(key, reason) => {
                let outputs = Collected { files: 0, bytes: 0, notes: vec![reason] };
                self.on_run(now, key, effects, |run, out| run.outputs_collected(outputs, out));
            }
            AgentInput::Acked { through } => {
                for key in out.acknowledged(through) {
                    self.on_run(now, key, effects, Run::acknowledged);
                }
            }
            AgentInput::Removed(key) => self.on_removed(now, key, effects),
            AgentInput::RemoveFailed(key) => self.on_run(now, key, effects, Run::remove_failed),
            AgentInput::Heard { .. } => {}
            AgentInput::Tick => {
                for key in self.index.due(now.boot) {
                    self.on_run(now, key, effects, Run::tick);
                }
                self.make_room(now, effects);
            }
            AgentInput::Shutdown => self.shutting_down = true,
            AgentInput::Leave { hand_back } => self.leave(now, hand_back, effects),
        }
    }

    /// A report with its number in the session, for who says it now; none: there is no session to say it in. The numbers
    /// have no gap, whatever waits: the master acknowledges all up to one, and none behind one that is missing.
    #[must_use]
    pub fn say(&mut self, report: Report) -> Option<Report> {
        self.session.say(report)
    }

    /// When the next [`AgentInput::Tick`] is due.
    #[must_use]
    pub fn next_wake(&self) -> Option<BootTime> {
        let lease = (!self.index.leased().is_empty()).then(|| self.lease.until());
        self.index.next_wake().into_iter().chain(lease).chain(self.room_due()).min()
    }

    /// Until when it may act on its own, to be kept for the next start.
    #[must_use]
    pub fn lease(&self) -> Lease {
        self.lease
    }

    /// What to say in the next hello. Runs that were given up are left out: nobody waits for them.
    #[must_use]
    pub fn inventory(&self) -> Vec<Held> {
        let held = self.runs.values().filter_map(|run| run.phase().map(|phase| Held { key: run.key(), phase }));
        held.collect()
    }

    /// Each run and where it stands, for people.
    pub fn standings(&self) -> impl Iterator<Item = (AttemptKey, &'static str)> {
        self.runs.values().map(|run| (run.key(), run.standing()))
    }

    /// Runs whose container may be running now.
    #[must_use]
    pub fn running(&self) -> usize {
        self.index.running()
    }

    /// Whether nothing is held, not even to be removed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// Inputs may come late: of a run that is gone, nothing more is to be done.
    fn on_run(
        &mut self,
        now: Now,
        key: AttemptKey,
        effects: &mut Vec<AgentEffect>,
        handle: impl FnOnce(&mut Run, &mut Out<'_>),
    ) {
        if let Some(run) = self.runs.get_mut(&key) {
            handle(run, &mut Out::new(now, &mut self.session, effects));
            self.index.update(key, Some(run));
        }
    }

    fn on_removed(&mut self, now: Now, key: AttemptKey, effects: &mut Vec<AgentEffect>) {
        if self.runs.get(&key).is_some_and(Run::is_removing) {
            let made_room = self.runs.remove(&key).is_some_and(|run| run.makes_room());
            self.index.update(key, None);
            self.gone.insert(key.fence);
            if self.gone.len() > GONE_LIMIT {
                self.gone.pop_first();
            }
            effects.push(AgentEffect::Journal(JournalRecord::Forgotten(key)));
            self.room_was_made(now, made_room, effects);
        }
    }

    fn on_assigned(&mut self, now: Now, assignment: Assignment, effects: &mut Vec<AgentEffect>) {
        let key = assignment.key;
        let mut out = Out::new(now, &mut self.session, effects);
        if let Some(run) = self.runs.get(&key) {
            // It came twice: the sender does not know where it stands.
            run.report(&mut out);
            return;
        }
        if self.gone.contains(&key.fence) || newest_fence(&self.runs, key.element()) >= Some(key.fence) {
            return;
        }
        for (older, run) in self.runs.range_mut(runs_of(key.element())) {
            run.give_up(&mut out);
            self.index.update(*older, Some(run));
        }
        let mut run = Run::accept(assignment, &mut out);
        if self.leaving {
            run.hand_back(&mut out);
        }
        self.index.update(key, Some(&run));
        self.runs.insert(key, run);
    }

    fn on_connected(&mut self, now: Now, welcome: Welcome, effects: &mut Vec<AgentEffect>) {
        self.session = Session::up();
        self.lease.lasts(welcome.lease);
        let mut out = Out::new(now, &mut self.session, effects);
        for (key, decision) in welcome.decisions {
            if let Some(run) = self.runs.get_mut(&key) {
                run.decide(decision, &mut out);
            }
        }
        for run in self.runs.values() {
            run.report(&mut out);
        }
        self.index = Index::of(&self.runs);
    }
}

fn runs_of(element: ElementId) -> std::ops::RangeInclusive<AttemptKey> {
    let ElementId { task, index } = element;
    AttemptKey { task, index, attempt: 0, fence: Fence(0) }..=AttemptKey {
        task,
        index,
        attempt: u32::MAX,
        fence: Fence(u64::MAX),
    }
}

fn newest_fence(runs: &BTreeMap<AttemptKey, Run>, element: ElementId) -> Option<Fence> {
    runs.range(runs_of(element)).map(|(key, _)| key.fence).max()
}
