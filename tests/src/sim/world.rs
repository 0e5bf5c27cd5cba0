//! Everything that a run consists of, and the loop that takes one event after the other.

use rand::RngExt;
use rand::rngs::StdRng;
use shared::time::{BootTime, Now, WallTime};

use super::client::Clients;
use super::fault::WORKERS;
use super::master::Master;
use super::network::Link;
use super::oracle::{Oracle, convergence};
use super::process::Worker;
use super::reach::{Probe, Reach};
use super::schedule::{Event, Fault, Schedule};
use super::swarm::Swarm;
use super::trace::{Trace, Watch};
use super::{Check, between};

/// A host has been up for a while, and it is the year 2023.
const BOOT: u64 = 1_000_000;
const WALL: i64 = 1_700_000_000_000;
/// Between two looks whether all is over.
const LOOK: u64 = 1_000;

/// See the module. What belongs to one part of it stands beside that part.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) rng: StdRng,
    pub(crate) swarm: Swarm,
    pub(crate) schedule: Schedule,
    pub(crate) trace: Trace,
    pub(crate) reach: Reach,
    pub(crate) events: u64,
    /// Whether nothing goes wrong any more, and until when all must be over.
    pub(crate) calm: Option<u64>,
    pub(crate) master: Master,
    pub(crate) workers: Vec<Worker>,
    pub(crate) links: Vec<Link>,
    pub(crate) clients: Clients,
    pub(crate) oracle: Oracle,
}

impl World {
    pub(crate) fn new(mut rng: StdRng, swarm: Swarm, watch: Watch) -> Self {
        let clients = Clients::draw(&mut rng, &swarm);
        let workers: Vec<_> =
            swarm.workers.iter().enumerate().map(|(index, cores)| Worker::new(index, *cores)).collect();
        let mut master = Master::default();
        // Those that come later too.
        master.saved.snapshot.workers = (0..WORKERS).map(|index| Worker::new(index, 0).joined()).collect();
        let mut world = Self {
            rng,
            swarm,
            schedule: Schedule::default(),
            trace: Trace::new(watch),
            reach: Reach::default(),
            events: 0,
            calm: None,
            master,
            workers,
            links: Vec::new(),
            clients,
            oracle: Oracle::default(),
        };
        world.plan();
        world
    }

    fn plan(&mut self) {
        self.schedule.at(0, Event::MasterStart);
        for worker in 0..self.workers.len() {
            let at = between(&mut self.rng, 0, 5_000);
            self.schedule.at(at, Event::WorkerStart { worker });
        }
        for fault in Fault::ALL {
            self.plan_fault(fault);
        }
        let busy = self.swarm.chaos * 3 / 4;
        for index in 0..self.clients.plans.len() {
            let at = between(&mut self.rng, 0, busy);
            self.schedule.at(at, Event::Submit { index });
        }
        for _ in 0..self.swarm.inquiries {
            let at = between(&mut self.rng, 0, self.swarm.chaos);
            self.schedule.at(at, Event::Inquire);
        }
        for _ in 0..self.swarm.cancels {
            let at = between(&mut self.rng, 0, self.swarm.chaos);
            self.schedule.at(at, Event::Cancel { target: None });
        }
        self.schedule.at(self.swarm.chaos, Event::Heal);
    }

    /// Until everything is over, or something does not hold.
    pub(crate) fn run(&mut self) -> Check {
        while let Some(event) = self.schedule.pop() {
            self.events += 1;
            if matches!(event, Event::Look) && convergence::is_over(self) {
                return convergence::check(self);
            }
            self.handle(event)?;
        }
        Err("nothing is left that could happen".to_owned())
    }

    fn handle(&mut self, event: Event) -> Check {
        match event {
            Event::MasterStart => return self.start_master(),
            Event::MasterWork { life } => return self.master_works(life),
            Event::MasterWake { life, timer } => self.wake_master(life, timer),
            Event::WorkerStart { worker } => return self.start_worker(worker),
            Event::WorkerWake { worker, life, timer } => return self.wake_worker(worker, life, timer),
            Event::Dial { worker, life } => self.dial(worker, life),
            Event::DialTimeout { link } => self.dial_timeout(link),
            Event::Heartbeat { link } => self.heartbeat(link),
            Event::Deed { worker, life, order } => return self.deed(worker, life, order),
            Event::Answer { worker, life, input } => return self.answer(worker, life, input),
            Event::ContainerEnds { worker, key, cause } => self.container_ends(worker, key, cause),
            Event::Upload { worker, life, key } => self.upload(worker, life, key),
            Event::ToMaster { link, message } => self.arrive_at_master(link, message),
            Event::ToWorker { link, message } => return self.arrive_at_worker(link, message),
            Event::MasterLosesLink { link } => self.master_loses(link),
            Event::WorkerLosesLink { link } => return self.worker_loses(link),
            Event::Submit { index } => self.submit(index),
            Event::Cancel { target: None } => self.cancel_any(),
            Event::Cancel { target: Some(target) } => self.insist_on_cancel(target),
            Event::Inquire => self.inquire(),
            Event::ClientGivesUp { request } => self.give_up_request(request),
            Event::Fault(fault) => return self.fault(fault),
            Event::Heal => self.heal(),
            Event::Look => return self.look(),
        }
        Ok(())
    }

    /// Long enough for everything that is left to run three times, one after the other.
    fn heal(&mut self) {
        let elements: u64 = self.clients.plans.iter().map(|plan| u64::from(plan.count())).sum();
        let limit = 900_000 + elements * (self.swarm.longest_run + 1_000) * 3;
        self.calm = Some(self.schedule.now + limit);
        self.schedule.after(LOOK, Event::Look);
    }

    fn look(&mut self) -> Check {
        if self.calm.is_some_and(|limit| self.schedule.now > limit) {
            return Err(format!("it does not come to rest: {}", convergence::unfinished(self)));
        }
        self.end_unreachable();
        self.schedule.after(LOOK, Event::Look);
        Ok(())
    }

    /// The time as a host with this skew of its wall clock sees it.
    pub(crate) fn now(&self, skew: i64) -> Now {
        let passed = self.schedule.now;
        Now { boot: BootTime(BOOT + passed), wall: WallTime(WALL + skew + passed as i64) }
    }

    /// When the clock of all hosts shows this.
    pub(crate) fn moment(boot: BootTime) -> u64 {
        boot.0.saturating_sub(BOOT)
    }

    pub(crate) fn between(&mut self, low: u64, high: u64) -> u64 {
        between(&mut self.rng, low, high)
    }

    pub(crate) fn chance(&mut self, chance: f64) -> bool {
        self.rng.random_bool(chance)
    }

    /// Whether something goes wrong; never once all is well.
    pub(crate) fn goes_wrong(&mut self, chance: f64) -> bool {
        self.calm.is_none() && chance > 0.0 && self.rng.random_bool(chance)
    }

    pub(crate) fn hit(&mut self, probe: Probe) {
        self.reach.hit(probe);
    }
}
