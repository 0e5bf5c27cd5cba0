//! Connections between workers and the master: ordered in each direction, until they are cut.

use shared::feature::Features;
use shared::id::SessionId;
use shared::link::{FromWorker, Hello, PROTOCOL, ToWorker};
use shared::time::BootTime;
use shared::version::PRODUCT;
use shared::worker::WorkerFacts;

use cloudaid_core::admission::Proof;
use cloudaid_core::agent::AgentInput;
use cloudaid_core::input::Input;
use cloudaid_core::settings::Settings;

use super::Check;
use super::process::IDENTITY;
use super::reach::Probe;
use super::schedule::Event;
use super::world::World;

/// How long a worker waits for the answer to its hello.
const DIAL_TIMEOUT: u64 = 10_000;

/// One connection, from the first hello on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Link {
    pub(crate) worker: usize,
    /// Of the worker's process and of the master's.
    life: u32,
    master_life: u32,
    session: Option<SessionId>,
    /// When the hello was sent, by the clock of all hosts.
    greeted: BootTime,
    /// Nothing comes through any more in this direction.
    pub(crate) to_master_cut: bool,
    pub(crate) to_worker_cut: bool,
    /// What each end believes.
    worker_open: bool,
    master_open: bool,
    /// When the last message in each direction arrives: no later one overtakes it.
    last_to_master: u64,
    last_to_worker: u64,
}

impl World {
    pub(crate) fn dial(&mut self, worker: usize, life: u32) {
        if self.defer(worker, life, Event::Dial { worker, life }) {
            return;
        }
        let this = &self.workers[worker];
        let Some(agent) = this.agent.as_ref().filter(|_| this.life == life && this.link.is_none()) else { return };
        let hello = Hello {
            worker: this.id.clone(),
            protocol: PROTOCOL,
            facts: WorkerFacts {
                version: PRODUCT.to_owned(),
                capacity: this.capacity(),
                boot_id: this.boots.to_string(),
                features: Features::ALL,
                ..WorkerFacts::default()
            },
            incarnation: life.to_string(),
            inventory: agent.inventory(),
            problem: None,
            ill_gpus: Vec::new(),
        };
        let (link, greeted) = (self.links.len(), self.now(0).boot);
        self.links.push(Link {
            worker,
            life,
            master_life: 0,
            session: None,
            greeted,
            to_master_cut: false,
            to_worker_cut: false,
            worker_open: true,
            master_open: false,
            last_to_master: 0,
            last_to_worker: 0,
        });
        self.workers[worker].link = Some(link);
        self.send_to_master(link, FromWorker::Hello(hello));
        self.schedule.after(DIAL_TIMEOUT, Event::DialTimeout { link });
    }

    pub(crate) fn dial_timeout(&mut self, link: usize) {
        let Link { worker, life, .. } = self.links[link];
        if self.defer(worker, life, Event::DialTimeout { link }) {
            return;
        }
        if self.workers[worker].link == Some(link) && !self.workers[worker].connected {
            self.hit(Probe::DialTimeout);
            self.workers[worker].link = None;
            self.close_by_worker(link);
            self.dial_again(worker);
        }
    }

    fn dial_again(&mut self, worker: usize) {
        let pause = self.between(200, 7_000);
        self.schedule.after(pause, Event::Dial { worker, life: self.workers[worker].life });
    }

    pub(crate) fn heartbeat(&mut self, link: usize) {
        let Link { worker, life, worker_open, .. } = self.links[link];
        if !worker_open || self.defer(worker, life, Event::Heartbeat { link }) {
            return;
        }
        // Its number is the worker's time, so that nobody has to look up when it was sent.
        let number = self.now(0).boot.0;
        self.send_to_master(link, FromWorker::Heartbeat(shared::link::Heartbeat { number, ..Default::default() }));
        let pause = Settings::default().heartbeat.as_millis() as u64;
        self.schedule.after(pause, Event::Heartbeat { link });
    }

    pub(crate) fn transit(&mut self) -> u64 {
        if self.goes_wrong(self.swarm.slow) { self.between(100, 20_000) } else { self.between(1, 40) }
    }

    pub(crate) fn send_to_master(&mut self, link: usize, message: FromWorker) {
        let may_repeat = !matches!(message, FromWorker::Hello(_));
        let overtakes = matches!(message, FromWorker::Reports(_)) && self.goes_wrong(self.swarm.reorder);
        let mut arrival = self.schedule.now + self.transit();
        if overtakes {
            self.hit(Probe::ReportsOutOfOrder);
            arrival += self.between(0, 3_000);
        } else {
            arrival = arrival.max(self.links[link].last_to_master);
            self.links[link].last_to_master = arrival;
        }
        if may_repeat && self.goes_wrong(self.swarm.duplicate) {
            self.hit(Probe::MessageDuplicated);
            let again = arrival + self.between(0, 10_000);
            self.schedule.at(again, Event::ToMaster { link, message: message.clone() });
        }
        self.schedule.at(arrival, Event::ToMaster { link, message });
    }

    pub(crate) fn send_to_worker(&mut self, link: usize, message: ToWorker) {
        let may_repeat = !matches!(message, ToWorker::Welcome(_) | ToWorker::Goodbye { .. });
        let arrival = (self.schedule.now + self.transit()).max(self.links[link].last_to_worker);
        self.links[link].last_to_worker = arrival;
        if may_repeat && self.goes_wrong(self.swarm.duplicate) {
            self.hit(Probe::MessageDuplicated);
            let again = arrival + self.between(0, 10_000);
            self.schedule.at(again, Event::ToWorker { link, message: message.clone() });
        }
        self.schedule.at(arrival, Event::ToWorker { link, message });
    }

    pub(crate) fn arrive_at_master(&mut self, at: usize, message: FromWorker) {
        let link = self.links[at];
        if link.to_master_cut {
            return;
        }
        let worker = self.workers[link.worker].id.clone();
        let hello = match message {
            FromWorker::Hello(hello) => hello,
            FromWorker::Heartbeat(_) | FromWorker::Reports(_) | FromWorker::Inventory(_) => {
                let Some(session) = link.session.filter(|_| link.master_life == self.master.life) else { return };
                if !link.master_open {
                    self.hit(Probe::LateMessageOfOldSession);
                }
                let heard = self.now(0).boot;
                self.workers[link.worker].heard = self.schedule.now;
                if let FromWorker::Heartbeat(heartbeat) = &message {
                    self.send_to_worker(at, ToWorker::Heard { number: heartbeat.number });
                }
                self.tell_master(match message {
                    FromWorker::Reports(reports) => Input::WorkerReported { worker, session, reports },
                    FromWorker::Inventory(inventory) => Input::WorkerInventoried { worker, session, inventory },
                    _ => Input::WorkerHeard { worker, session, at: heard, heartbeat: None },
                });
                return;
            }
        };
        if self.master.cluster.is_none() {
            let delay = self.transit();
            self.schedule.after(delay, Event::WorkerLosesLink { link: at });
            return;
        }
        if !link.worker_open {
            self.hit(Probe::StaleHello);
        }
        self.workers[link.worker].heard = self.schedule.now;
        self.master.last_session += 1;
        let session = SessionId(self.master.last_session);
        self.master.sessions.insert(session, at);
        let link = &mut self.links[at];
        (link.session, link.master_life, link.master_open) = (Some(session), self.master.life, true);
        self.tell_master(Input::WorkerConnected { session, proof: Proof::Certificate(IDENTITY), hello });
    }

    pub(crate) fn arrive_at_worker(&mut self, at: usize, message: ToWorker) -> Check {
        let Link { worker, life, greeted, to_worker_cut, worker_open, .. } = self.links[at];
        if to_worker_cut || !worker_open {
            return Ok(());
        }
        if self.defer(worker, life, Event::ToWorker { link: at, message: message.clone() }) {
            return Ok(());
        }
        let input = match message {
            ToWorker::Welcome(welcome) => {
                self.workers[worker].connected = true;
                self.schedule.after(0, Event::Heartbeat { link: at });
                self.unpark(worker);
                self.step_worker(worker, AgentInput::Connected(welcome))?;
                // The hello has arrived.
                AgentInput::Heard { sent: greeted }
            }
            ToWorker::Assign(assignments) => AgentInput::Assigned(assignments),
            ToWorker::Cancel(orders) => AgentInput::Cancelled(orders),
            ToWorker::Ack { through } => AgentInput::Acked { through },
            ToWorker::Inquire { horizon } => AgentInput::Inquired { horizon },
            ToWorker::Decide(decisions) => AgentInput::Decided(decisions),
            ToWorker::Heard { number } => AgentInput::Heard { sent: BootTime(number) },
            ToWorker::Goodbye { .. } => return Ok(()),
        };
        self.step_worker(worker, input)
    }

    pub(crate) fn master_loses(&mut self, at: usize) {
        let link = self.links[at];
        self.links[at].master_open = false;
        if let Some(session) = link.session.filter(|_| link.master_open && link.master_life == self.master.life) {
            let worker = self.workers[link.worker].id.clone();
            self.tell_master(Input::WorkerDisconnected { worker, session });
        }
    }

    pub(crate) fn worker_loses(&mut self, at: usize) -> Check {
        let Link { worker, life, worker_open, .. } = self.links[at];
        if !worker_open || self.defer(worker, life, Event::WorkerLosesLink { link: at }) {
            return Ok(());
        }
        self.links[at].worker_open = false;
        let this = &mut self.workers[worker];
        this.link = None;
        let was_connected = std::mem::take(&mut this.connected);
        self.dial_again(worker);
        if was_connected { self.step_worker(worker, AgentInput::Disconnected) } else { Ok(()) }
    }

    /// The worker's end is gone; mostly the master learns of it soon.
    pub(crate) fn close_by_worker(&mut self, at: usize) {
        self.links[at].worker_open = false;
        if self.links[at].to_master_cut || self.goes_wrong(0.2) {
            self.hit(Probe::HalfOpen);
            return;
        }
        let delay = self.transit();
        let arrival = (self.schedule.now + delay).max(self.links[at].last_to_master);
        self.schedule.at(arrival, Event::MasterLosesLink { link: at });
    }

    /// The master has closed its end. Where the way is cut, the worker learns of that by itself.
    pub(crate) fn close_by_master(&mut self, at: usize) {
        let arrival = (self.schedule.now + self.transit()).max(self.links[at].last_to_worker);
        self.schedule.at(arrival, Event::WorkerLosesLink { link: at });
        if self.chance(0.5) {
            self.schedule.after(1, Event::MasterLosesLink { link: at });
        } else {
            self.links[at].master_open = false;
        }
    }

    /// The master's process is gone.
    pub(crate) fn lose_all_links(&mut self) {
        for at in 0..self.links.len() {
            if std::mem::take(&mut self.links[at].master_open) {
                let delay = self.between(0, 3_000);
                self.schedule.after(delay, Event::WorkerLosesLink { link: at });
            }
        }
    }
}
