//! A worker's process: the agent, its journal, and the engine that outlives both.

use std::collections::{BTreeMap, BTreeSet};

use cloudaid_core::admission::{Admission, Identity, IdentityId};
use cloudaid_core::agent::{
    Agent, AgentEffect, AgentInput, ContainerState, FoundContainer, JournalEntry, JournalRecord, Lease,
};
use cloudaid_core::record::WorkerRecord;
use shared::id::{AttemptKey, TokenId, WorkerId};
use shared::link::{FromWorker, Report};
use shared::resources::{GIB, Resources};
use shared::time::WallTime;
use shared::worker::WorkerFacts;

use super::Check;
use super::engine::Container;
use super::oracle::leases;
use super::reach::Probe;
use super::schedule::Event;
use super::world::World;

/// What every worker proves itself with.
pub(crate) const IDENTITY: IdentityId = IdentityId(1);

/// Of one host, what is lost when the process dies stands below `agent`.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) id: WorkerId,
    cores: u64,
    /// How wrong its wall clock is, in milliseconds.
    pub(crate) skew: i64,
    pub(crate) boots: u32,
    pub(crate) life: u32,
    /// Gone for good, with its containers.
    pub(crate) left: bool,
    pub(crate) paused_until: u64,
    pub(crate) journal: BTreeMap<AttemptKey, JournalEntry>,
    /// As it stands in its file.
    pub(crate) lease: Option<Lease>,
    /// When the master heard of it last.
    pub(crate) heard: u64,
    pub(crate) engine: BTreeMap<AttemptKey, Container>,
    pub(crate) agent: Option<Agent>,
    timer: u32,
    pub(crate) link: Option<usize>,
    /// Whether the master has said welcome.
    pub(crate) connected: bool,
    /// Orders that are on their way to the engine.
    pub(crate) orders: BTreeMap<u64, AgentEffect>,
    pub(crate) last_order: u64,
    /// Orders that wait for a connection.
    pub(crate) parked: Vec<AgentEffect>,
    pub(crate) uploading: BTreeSet<AttemptKey>,
}

impl Worker {
    /// What the master knows of it from the start: it has joined before the story begins.
    pub(crate) fn joined(&self) -> WorkerRecord {
        let identity =
            Identity { id: IDENTITY, pool: None, token: TokenId(1_u128.into()), key: [0; 32], joined_at: WallTime(0) };
        WorkerRecord {
            id: self.id.clone(),
            admission: Admission::Certificate(identity),
            facts: WorkerFacts::default(),
            registered_at: WallTime(0),
            cordon: None,
            seen_at: WallTime(0),
        }
    }

    pub(crate) fn new(index: usize, cores: u64) -> Self {
        Self {
            id: format!("w{index}").parse().expect("a name"),
            cores,
            skew: index as i64 * 3_600_000,
            boots: 0,
            life: 0,
            left: false,
            paused_until: 0,
            journal: BTreeMap::new(),
            lease: None,
            heard: 0,
            engine: BTreeMap::new(),
            agent: None,
            timer: 0,
            link: None,
            connected: false,
            orders: BTreeMap::new(),
            last_order: 0,
            parked: Vec::new(),
            uploading: BTreeSet::new(),
        }
    }

    /// Runs that may run once at most and have not been told to end, as far as its journal knows.
    pub(crate) fn once(&self) -> impl Iterator<Item = (&AttemptKey, &JournalEntry)> {
        self.journal.iter().filter(|(_, entry)| {
            let once = entry.assignment.as_ref().is_some_and(|assignment| assignment.at_most_once);
            once && entry.stop.is_none() && entry.exited.is_none() && entry.outcome.is_none()
        })
    }

    pub(crate) fn is_running(&self, key: &AttemptKey) -> bool {
        self.engine.get(key).is_some_and(|container| container.state == ContainerState::Running)
    }

    pub(crate) fn capacity(&self) -> Resources {
        let cpu_millis = self.cores * 1000;
        Resources { cpu_millis, memory_bytes: 1024 * GIB, storage_bytes: 1024 * GIB, gpu_millis: 0 }
    }
}

impl World {
    pub(crate) fn start_worker(&mut self, worker: usize) -> Check {
        let now = self.now(0);
        let this = &mut self.workers[worker];
        if this.agent.is_some() || this.left {
            return Ok(());
        }
        this.agent = Some(Agent::new());
        let life = this.life;
        let journal = this.journal.values().cloned().collect();
        let found =
            this.engine.iter().map(|(&key, container)| FoundContainer { key, state: container.state, limits: None });
        let found = found.collect();
        let lease = this.lease;
        let outlived = lease.is_some_and(|lease| now.boot >= lease.since + lease.length)
            && this.once().any(|(key, _)| this.is_running(key));
        self.step_worker(worker, AgentInput::Recovered { journal, found: Some(found), lease })?;
        if self.workers[worker].life == life {
            if outlived {
                self.hit(Probe::LeaseOverAtStart);
            }
            self.schedule.after(0, Event::Dial { worker, life });
        } else {
            self.hit(Probe::WorkerCrashAtStart);
        }
        Ok(())
    }

    pub(crate) fn wake_worker(&mut self, worker: usize, life: u32, timer: u32) -> Check {
        if self.workers[worker].timer != timer || self.defer(worker, life, Event::WorkerWake { worker, life, timer }) {
            return Ok(());
        }
        if self.workers[worker].life == life { self.step_worker(worker, AgentInput::Tick) } else { Ok(()) }
    }

    pub(crate) fn answer(&mut self, worker: usize, life: u32, input: AgentInput) -> Check {
        if self.workers[worker].life != life
            || self.defer(worker, life, Event::Answer { worker, life, input: input.clone() })
        {
            return Ok(());
        }
        self.step_worker(worker, input)
    }

    /// Whether the process is paused, so that it takes this up only later.
    pub(crate) fn defer(&mut self, worker: usize, life: u32, event: Event) -> bool {
        let this = &self.workers[worker];
        let paused = this.life == life && this.paused_until > self.schedule.now;
        if paused {
            self.schedule.at(this.paused_until, event);
        }
        paused
    }

    /// Steps the agent and carries out the effects in their order, unless the process dies between two of them.
    pub(crate) fn step_worker(&mut self, worker: usize, input: AgentInput) -> Check {
        let now = self.now(self.workers[worker].skew);
        let this = &mut self.workers[worker];
        let Some(agent) = &mut this.agent else { return Ok(()) };
        self.trace.note(self.schedule.now, format_args!("{} <-", this.id), &input);
        let mut effects = Vec::new();
        agent.step(now, input, &mut effects);
        if let Some(boot) = agent.next_wake() {
            this.timer += 1;
            let wake = Event::WorkerWake { worker, life: this.life, timer: this.timer };
            self.schedule.at(Self::moment(boot), wake);
        }
        let mut left = effects.len() as u64;
        let crashes = self.goes_wrong(self.swarm.worker_crash);
        if crashes {
            if left > 1 {
                self.hit(Probe::WorkerCrashBetweenEffects);
            }
            left = self.between(0, left);
        }
        let mut reports = Vec::new();
        for effect in effects.into_iter().take(left as usize) {
            self.trace.note(self.schedule.now, format_args!("{} ->", self.workers[worker].id), &effect);
            match effect {
                AgentEffect::Report(report) => {
                    let agent = self.workers[worker].agent.as_mut();
                    reports.extend(agent.and_then(|agent| agent.say(report)));
                }
                AgentEffect::Answer(inventory) => {
                    self.report(worker, std::mem::take(&mut reports));
                    if let Some(link) = self.workers[worker].link {
                        self.send_to_master(link, FromWorker::Inventory(inventory));
                    }
                }
                AgentEffect::Journal(record) => {
                    if matches!(record, JournalRecord::Adopted(_)) {
                        self.hit(Probe::ContainerAdopted);
                    }
                    record.apply(&mut self.workers[worker].journal);
                }
                order => self.order(worker, order),
            }
        }
        self.report(worker, reports);
        if crashes {
            return self.crash_worker(worker);
        }
        let this = &mut self.workers[worker];
        this.lease = this.agent.as_ref().map(Agent::lease);
        leases::check(this, self.schedule.now)
    }

    /// Some in one message, some in messages of their own.
    fn report(&mut self, worker: usize, mut reports: Vec<Report>) {
        let Some(link) = self.workers[worker].link else { return };
        while !reports.is_empty() {
            let size = self.between(1, reports.len() as u64) as usize;
            let rest = reports.split_off(size);
            self.send_to_master(link, FromWorker::Reports(std::mem::replace(&mut reports, rest)));
        }
    }

    /// The process dies and starts again later. What it has asked the engine for may be done or not.
    pub(crate) fn crash_worker(&mut self, worker: usize) -> Check {
        let this = &mut self.workers[worker];
        if this.agent.take().is_none() {
            return Ok(());
        }
        self.trace.note(self.schedule.now, format_args!("{}", this.id), &"dies");
        this.life += 1;
        this.paused_until = 0;
        this.connected = false;
        this.parked.clear();
        this.uploading.clear();
        let orders = std::mem::take(&mut this.orders);
        for container in this.engine.values_mut() {
            container.waiting.clear();
        }
        if let Some(link) = this.link.take() {
            self.close_by_worker(link);
        }
        for order in orders.into_values() {
            if self.chance(0.5) {
                self.hit(Probe::DeedAfterCrash);
                self.ask_engine(worker, order)?;
            }
        }
        // Nobody is left who could be told.
        let this = &mut self.workers[worker];
        this.orders.clear();
        this.parked.clear();
        this.uploading.clear();
        this.engine.values_mut().for_each(|container| container.waiting.clear());
        self.hit(Probe::WorkerCrash);
        let downtime = match self.between(0, 3) {
            0 => self.between(10_000, 120_000),
            _ => self.between(100, 5_000),
        };
        self.schedule.after(downtime, Event::WorkerStart { worker });
        Ok(())
    }
}
