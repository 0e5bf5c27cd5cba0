//! The master's process: inputs wait, are stepped as a batch, committed at once, and only then answered and sent.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use cloudaid_core::Cluster;
use cloudaid_core::effect::Effect;
use cloudaid_core::event::{Event as Fact, RefusedReport};
use cloudaid_core::input::Input;
use cloudaid_core::invariant;
use cloudaid_core::record::Change;
use cloudaid_core::reject::Reject;
use cloudaid_core::scheduler::round_robin::RoundRobin;
use cloudaid_core::settings::Settings;
use cloudaid_core::testkit::Saved;
use shared::id::{ClusterId, SessionId, TaskId};
use shared::time::BootTime;
use ulid::Ulid;

use super::Check;
use super::oracle::patience;
use super::reach::Probe;
use super::schedule::Event;
use super::world::World;

/// What is in memory is lost in a crash; `saved` and the counts are not.
#[derive(Debug, Default)]
pub(crate) struct Master {
    pub(crate) cluster: Option<Cluster>,
    pub(crate) saved: Saved,
    pub(crate) life: u32,
    started: BootTime,
    /// Which link each session is.
    pub(crate) sessions: BTreeMap<SessionId, usize>,
    pub(crate) last_session: u64,
    pub(crate) last_request: u64,
    inbox: VecDeque<Input>,
    working: bool,
    timer: u32,
    /// Which task each idempotency key made, as the store would find it.
    keys: BTreeMap<Arc<str>, TaskId>,
}

/// Where a batch is cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Crash {
    BeforeCommit,
    AfterCommit,
    AmidEffects,
}

impl World {
    pub(crate) fn start_master(&mut self) -> Check {
        if self.master.cluster.is_some() {
            return Ok(());
        }
        let now = self.now(0);
        let fresh = ClusterId(Ulid(7));
        let snapshot = self.master.saved.load();
        let (cluster, effects) =
            Cluster::recover(Settings::default(), Box::new(RoundRobin::default()), snapshot, fresh, now)
                .map_err(|error| format!("the master cannot start: {error}"))?;
        self.trace.note(self.schedule.now, format_args!("master starts"), &cluster.epoch());
        if self.goes_wrong(self.swarm.master_crash) {
            self.hit(Probe::MasterCrashAtStart);
            if self.chance(0.5) {
                self.commit(&effects)?;
            }
            self.schedule.after(500, Event::MasterStart);
            return Ok(());
        }
        self.commit(&effects)?;
        invariant::check(&cluster)?;
        self.oracle.submissions.check_all(&self.master.saved)?;
        self.master.cluster = Some(cluster);
        self.master.started = now.boot;
        self.set_master_timer();
        Ok(())
    }

    /// An input for the next batch. A master that is not there hears nothing.
    pub(crate) fn tell_master(&mut self, input: Input) {
        if self.master.cluster.is_some() {
            self.master.inbox.push_back(input);
            self.rouse_master();
        }
    }

    fn rouse_master(&mut self) {
        if self.master.working {
            return;
        }
        self.master.working = true;
        let delay = if self.goes_wrong(self.swarm.master_stall) {
            self.hit(Probe::MasterStall);
            self.between(1_000, 30_000)
        } else {
            self.between(0, 20)
        };
        self.schedule.after(delay, Event::MasterWork { life: self.master.life });
    }

    pub(crate) fn wake_master(&mut self, life: u32, timer: u32) {
        if life == self.master.life && timer == self.master.timer {
            self.tell_master(Input::TimerFired);
        }
    }

    pub(crate) fn master_works(&mut self, life: u32) -> Check {
        if life != self.master.life {
            return Ok(());
        }
        let Some(mut cluster) = self.master.cluster.take() else { return Ok(()) };
        self.master.working = false;
        let effects = self.step_batch(&mut cluster);
        let crash = self.draw_crash();
        if crash != Some(Crash::BeforeCommit) {
            self.commit(&effects)?;
            invariant::check(&cluster)?;
        }
        self.master.cluster = Some(cluster);
        let carried_out = match crash {
            None => effects.len(),
            Some(Crash::BeforeCommit | Crash::AfterCommit) => 0,
            Some(Crash::AmidEffects) => self.between(0, effects.len() as u64) as usize,
        };
        for effect in effects.into_iter().take(carried_out) {
            self.carry_out(effect)?;
        }
        if crash.is_some() {
            self.crash_master();
            return Ok(());
        }
        self.set_master_timer();
        if !self.master.inbox.is_empty() {
            self.rouse_master();
        }
        Ok(())
    }

    fn step_batch(&mut self, cluster: &mut Cluster) -> Vec<Effect> {
        let most = self.between(1, self.swarm.batch) as usize;
        let size = self.master.inbox.len().min(most);
        if size > 1 {
            self.hit(Probe::BatchOfMany);
        }
        let batch: Vec<_> = self.master.inbox.drain(..size).collect();
        let now = self.now(0);
        let mut effects = Vec::new();
        for mut input in batch {
            self.look_up_key(&mut input);
            if !matches!(input, Input::WorkerHeard { .. }) {
                self.trace.note(self.schedule.now, format_args!("master <-"), &input);
            }
            cluster.step(now, input, &mut effects);
        }
        cluster.settle(now, &mut effects);
        for effect in &effects {
            self.trace.note(self.schedule.now, format_args!("master ->"), effect);
        }
        effects
    }

    fn look_up_key(&self, input: &mut Input) {
        if let Input::SubmitTask { submission, known, .. } = input
            && let Some(key) = &submission.key
        {
            let id = self.master.keys.get(&key.key);
            *known = id.and_then(|id| self.master.saved.tasks.get(id)).map(|(record, _)| Arc::clone(record));
        }
    }

    fn draw_crash(&mut self) -> Option<Crash> {
        if !self.goes_wrong(self.swarm.master_crash) {
            return None;
        }
        let (probe, crash) = match self.between(0, 2) {
            0 => (Probe::MasterCrashBeforeCommit, Crash::BeforeCommit),
            1 => (Probe::MasterCrashAfterCommit, Crash::AfterCommit),
            _ => (Probe::MasterCrashAmidEffects, Crash::AmidEffects),
        };
        self.hit(probe);
        Some(crash)
    }

    /// All changes or none.
    fn commit(&mut self, effects: &[Effect]) -> Check {
        for effect in effects {
            let Effect::Save(change) = effect else { continue };
            self.oracle.check_change(&self.master.saved, change, &mut self.reach)?;
            if let Change::NewTask(record) = change
                && let Some(key) = &record.key
                && self.master.keys.insert(Arc::clone(&key.key), record.id).is_some()
            {
                return Err(format!("the key `{}` has made two tasks", key.key));
            }
            self.master.saved.apply(change.clone())?;
        }
        Ok(())
    }

    fn carry_out(&mut self, effect: Effect) -> Check {
        match effect {
            Effect::Save(_) => {}
            Effect::Send(session, message) => {
                if let Some(&link) = self.master.sessions.get(&session) {
                    self.send_to_worker(link, message);
                }
            }
            Effect::Close(session, reason) => {
                match reason {
                    Reject::Replaced(_) => self.hit(Probe::SessionReplaced),
                    Reject::LeaseExpired(_) => self.hit(Probe::LeaseExpired),
                    other => return Err(format!("a session was closed: {other:?}")),
                }
                if let Some(&link) = self.master.sessions.get(&session) {
                    self.close_by_master(link);
                }
            }
            Effect::Reply(request, answer) => return self.reply(request, answer),
            Effect::Publish(fact) => return self.learn(&fact),
        }
        Ok(())
    }

    fn learn(&mut self, fact: &Fact) -> Check {
        match fact {
            Fact::WorkerSuspected { .. } => self.hit(Probe::WorkerSuspected),
            Fact::WorkerRecovered { .. } => self.hit(Probe::WorkerRecovered),
            Fact::WorkerLost { worker, .. } => {
                self.hit(Probe::WorkerLost);
                return patience::check(worker, self.master.started, self.now(0).boot);
            }
            Fact::AttemptEnded { again: true, .. } => self.hit(Probe::AttemptAgain),
            Fact::ReportRefused { reason: RefusedReport::Repeated, .. } => self.hit(Probe::ReportRepeated),
            Fact::ReportRefused { reason: RefusedReport::Superseded, .. } => self.hit(Probe::ReportSuperseded),
            Fact::WorkerReconciled { findings, .. } => {
                for (keys, probe) in [(&findings.orphans, Probe::OrphanFound), (&findings.lost, Probe::LossFound)] {
                    if !keys.is_empty() {
                        self.hit(probe);
                    }
                }
                self.hit(if findings.problem.is_none() { Probe::Compared } else { Probe::NotCompared });
            }
            Fact::WorkerRegistered { kept, stopped, .. } => {
                if *kept > 0 {
                    self.hit(Probe::RunKept);
                }
                if *stopped > 0 {
                    self.hit(Probe::RunStopped);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// The process dies; what it has sent already is on its way.
    pub(crate) fn crash_master(&mut self) {
        if self.master.cluster.take().is_none() {
            return;
        }
        self.hit(Probe::MasterCrash);
        self.trace.note(self.schedule.now, format_args!("master"), &"dies");
        self.master.life += 1;
        self.master.working = false;
        self.master.inbox.clear();
        self.master.sessions.clear();
        self.lose_all_links();
        let downtime = match self.between(0, 3) {
            0 => self.between(10_000, 90_000),
            _ => self.between(100, 5_000),
        };
        self.schedule.after(downtime, Event::MasterStart);
    }

    fn set_master_timer(&mut self) {
        let wake = self.master.cluster.as_ref().and_then(Cluster::next_wake);
        if let Some(boot) = wake {
            self.master.timer += 1;
            let (life, timer) = (self.master.life, self.master.timer);
            self.schedule.at(Self::moment(boot), Event::MasterWake { life, timer });
        }
    }
}
