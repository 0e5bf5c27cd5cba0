//! What goes wrong at some time.

use cloudaid_core::agent::ContainerState;
use rand::RngExt;
use rand::seq::IndexedRandom;

use super::Check;
use super::process::Worker;
use super::reach::Probe;
use super::schedule::{Cause, Event, Fault};
use super::world::World;

/// The most workers, those that left included.
pub(super) const WORKERS: usize = 8;

impl World {
    pub(crate) fn plan_fault(&mut self, fault: Fault) {
        let mean = self.swarm.means[fault as usize];
        if mean > 0 {
            let pause = self.between(1, mean * 2);
            self.schedule.after(pause, Event::Fault(fault));
        }
    }

    pub(crate) fn fault(&mut self, fault: Fault) -> Check {
        if self.calm.is_some() {
            return Ok(());
        }
        self.plan_fault(fault);
        if fault == Fault::MasterCrash {
            self.crash_master();
            return Ok(());
        }
        let alive: Vec<usize> = (0..self.workers.len()).filter(|at| self.workers[*at].agent.is_some()).collect();
        let Some(&worker) = alive.choose(&mut self.rng) else { return Ok(()) };
        self.trace.note(self.schedule.now, format_args!("fault of {}", self.workers[worker].id), &fault);
        match fault {
            Fault::MasterCrash => Ok(()),
            Fault::WorkerCrash => self.crash_worker(worker),
            Fault::JournalLoss => self.lose_journal(worker),
            Fault::Reboot => self.reboot(worker),
            Fault::Pause => {
                self.pause(worker);
                Ok(())
            }
            Fault::Leave => self.leave(worker),
            Fault::Cut => {
                self.cut(worker);
                Ok(())
            }
            Fault::Vanish => {
                self.vanish(worker);
                Ok(())
            }
        }
    }

    /// The process dies and its journal with it. The promise is that the containers are then enough; so those that were
    /// started must be there.
    fn lose_journal(&mut self, worker: usize) -> Check {
        self.crash_worker(worker)?;
        let this = &self.workers[worker];
        let complete = this.journal.keys().all(|key| {
            let started = self.oracle.containers.was_started(*key);
            !started || this.engine.contains_key(key)
        });
        if complete && !this.journal.is_empty() {
            self.hit(Probe::JournalLoss);
            for key in std::mem::take(&mut self.workers[worker].journal).into_keys() {
                self.oracle.containers.forgotten(key);
            }
        }
        Ok(())
    }

    fn reboot(&mut self, worker: usize) -> Check {
        self.hit(Probe::Reboot);
        self.crash_worker(worker)?;
        self.workers[worker].boots += 1;
        // What it says is of another boot.
        self.workers[worker].lease = None;
        let running = |(key, container): (&_, &super::engine::Container)| {
            (container.state == ContainerState::Running).then_some(*key)
        };
        let killed: Vec<_> = self.workers[worker].engine.iter().filter_map(running).collect();
        for key in killed {
            self.container_ends(worker, key, Cause::Killed);
            if self.chance(0.3) {
                self.hit(Probe::ContainerLostInReboot);
                self.remove_container(worker, key);
            }
        }
        Ok(())
    }

    /// The process stands still; its containers go on.
    fn pause(&mut self, worker: usize) {
        let pause = self.between(1_000, 150_000);
        self.hit(Probe::Pause);
        if pause > 45_000 {
            self.hit(Probe::PauseLongerThanReassign);
        }
        self.workers[worker].paused_until = self.schedule.now + pause;
    }

    /// The host is gone for good; another one with another name comes. The first one stays: some tasks want it.
    fn leave(&mut self, worker: usize) -> Check {
        let newcomer = self.workers.len();
        if worker == 0 || newcomer == WORKERS {
            return Ok(());
        }
        self.hit(Probe::Leave);
        self.crash_worker(worker)?;
        self.workers[worker].left = true;
        let cores = self.between(4, 8);
        self.workers.push(Worker::new(newcomer, cores));
        let delay = self.between(0, 60_000);
        self.schedule.after(delay, Event::WorkerStart { worker: newcomer });
        Ok(())
    }

    /// What is on its way is lost. Each side learns of it at another time; the master perhaps only by its lease.
    fn cut(&mut self, worker: usize) {
        let Some(link) = self.workers[worker].link else { return };
        let (probe, to_master, to_worker) = match self.between(0, 2) {
            0 => (Probe::CutBothWays, true, true),
            1 => (Probe::CutToMaster, true, false),
            _ => (Probe::CutToWorker, false, true),
        };
        self.hit(probe);
        self.links[link].to_master_cut |= to_master;
        self.links[link].to_worker_cut |= to_worker;
        let learns = self.between(0, 40_000);
        self.schedule.after(learns, Event::WorkerLosesLink { link });
        if self.rng.random_bool(0.5) {
            let learns = self.between(0, 60_000);
            self.schedule.after(learns, Event::MasterLosesLink { link });
        }
    }

    /// Somebody removes a container by hand.
    fn vanish(&mut self, worker: usize) {
        let this = &self.workers[worker];
        let known: Vec<_> = this.engine.keys().filter(|key| this.journal.contains_key(key)).copied().collect();
        if let Some(&key) = known.choose(&mut self.rng) {
            self.hit(Probe::ContainerVanished);
            self.remove_container(worker, key);
            if self.chance(0.3) {
                // Somebody noticed and looks what else is missing.
                self.schedule.after(0, Event::Inquire);
            }
        }
    }
}
