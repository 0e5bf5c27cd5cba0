//! Containers: they outlive the process that made them, and end by their script, by a signal, or with their host.

use cloudaid_core::agent::{AgentEffect, ContainerState, Ended};
use shared::id::AttemptKey;
use shared::time::WallTime;

use super::reach::Probe;
use super::schedule::{Cause, Event};
use super::script::Script;
use super::world::World;

/// One container.
#[derive(Debug)]
pub(crate) struct Container {
    pub(crate) state: ContainerState,
    pub(crate) script: Script,
    pub(crate) started_at: Option<WallTime>,
    pub(crate) ended: Option<Ended>,
    /// Orders that are answered when it ends.
    pub(crate) waiting: Vec<AgentEffect>,
}

impl Container {
    pub(crate) fn new(script: Script) -> Self {
        Self { state: ContainerState::Created, script, started_at: None, ended: None, waiting: Vec::new() }
    }
}

impl World {
    /// It ends by its script, or by a signal.
    pub(crate) fn container_ends(&mut self, worker: usize, key: AttemptKey, cause: Cause) {
        let finished_at = self.now(self.workers[worker].skew).wall;
        let Some(container) = self.workers[worker].engine.get_mut(&key) else { return };
        if container.state != ContainerState::Running {
            return;
        }
        let ended = Ended {
            code: match cause {
                Cause::Script => container.script.code,
                Cause::Stopped(signal) => 128 + signal,
                Cause::Killed => 137,
            },
            oom: cause == Cause::Script && container.script.oom,
            killed: None,
            by_engine: cause == Cause::Killed,
            by_hand: None,
            runs_again: false,
            memory_peak: None,
            usage: None,
            started_at: container.started_at,
            finished_at: Some(finished_at),
        };
        container.state = ContainerState::Exited;
        container.ended = Some(ended.clone());
        let waiting = std::mem::take(&mut container.waiting);
        self.trace.note(self.schedule.now, format_args!("{key} ends"), &ended.code);
        self.oracle.containers.ended(key, ended, cause);
        for order in waiting {
            self.order(worker, order);
        }
    }

    /// Nothing is left of it.
    pub(crate) fn remove_container(&mut self, worker: usize, key: AttemptKey) {
        self.container_ends(worker, key, Cause::Killed);
        if let Some(container) = self.workers[worker].engine.remove(&key) {
            self.trace.note(self.schedule.now, format_args!("{key}"), &"is removed");
            for order in container.waiting {
                self.order(worker, order);
            }
        }
    }

    pub(crate) fn terminate(&mut self, worker: usize, key: AttemptKey) {
        let stubborn = self.workers[worker].engine.get(&key).is_none_or(|container| container.script.stubborn);
        if !stubborn {
            let delay = self.between(0, 500);
            self.schedule.after(delay, Event::ContainerEnds { worker, key, cause: Cause::Stopped(15) });
        }
    }

    pub(crate) fn kill(&mut self, worker: usize, key: AttemptKey) {
        let runs = |container: &Container| container.state == ContainerState::Running;
        if self.workers[worker].engine.get(&key).is_some_and(runs) {
            self.hit(Probe::KilledAfterGrace);
        }
        self.container_ends(worker, key, Cause::Stopped(9));
    }
}
