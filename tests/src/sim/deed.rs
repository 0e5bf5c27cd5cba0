//! What a worker's process asks of its engine and of its other helpers, and what they answer.

use std::sync::Arc;

use cloudaid_core::agent::{
    AgentEffect, AgentInput, ContainerState, EngineError, FoundContainer, LogBytes, StopSignal,
};
use shared::id::AttemptKey;
use shared::link::Assignment;

use super::Check;
use super::engine::Container;
use super::reach::Probe;
use super::schedule::{Cause, Event};
use super::script::{BROKEN_IMAGE, MISSING_IMAGE, Script};
use super::world::World;

/// How an order goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Luck {
    Good,
    /// It fails, and nothing was done.
    FailsBefore,
    /// It is done, but the answer says otherwise.
    FailsAfter,
}

impl World {
    /// Sends an order on its way.
    pub(crate) fn order(&mut self, worker: usize, order: AgentEffect) {
        let delay = match &order {
            AgentEffect::Prepare { .. } => self.between(0, 3_000),
            _ => self.between(0, 300),
        };
        let this = &mut self.workers[worker];
        if this.agent.is_none() {
            return;
        }
        this.last_order += 1;
        this.orders.insert(this.last_order, order);
        let deed = Event::Deed { worker, life: this.life, order: this.last_order };
        self.schedule.after(delay, deed);
    }

    pub(crate) fn deed(&mut self, worker: usize, life: u32, order: u64) -> Check {
        let this = &mut self.workers[worker];
        // What the process does itself waits while it is paused; the engine goes on.
        let own = matches!(this.orders.get(&order), Some(AgentEffect::CollectLogs(_) | AgentEffect::UploadOutputs(_)));
        if this.life != life || (own && self.defer(worker, life, Event::Deed { worker, life, order })) {
            return Ok(());
        }
        let Some(order) = self.workers[worker].orders.remove(&order) else { return Ok(()) };
        if let Some(input) = self.ask_engine(worker, order)? {
            let delay = self.between(0, 100);
            self.schedule.after(delay, Event::Answer { worker, life, input });
        }
        Ok(())
    }

    /// Does it, unless it fails; none: the answer comes later, or never.
    pub(crate) fn ask_engine(&mut self, worker: usize, order: AgentEffect) -> Result<Option<AgentInput>, String> {
        let luck = match self.goes_wrong(self.swarm.engine_failure) {
            false => Luck::Good,
            true if self.chance(0.5) => Luck::FailsBefore,
            true => Luck::FailsAfter,
        };
        let trouble = || EngineError::Engine("trouble".to_owned());
        Ok(match order {
            AgentEffect::Prepare { key, image, .. } => Some(self.prepare(key, &image, luck)),
            AgentEffect::Create(assignment) => Some(self.create(worker, &assignment, luck)?),
            AgentEffect::Start(key) => Some(self.start(worker, key, luck)?),
            AgentEffect::Wait(key) if luck != Luck::Good => Some(AgentInput::WaitFailed(key, trouble())),
            AgentEffect::Wait(key) => self.wait(worker, key),
            AgentEffect::Signal(_, _) if luck == Luck::FailsBefore => None,
            AgentEffect::Signal(key, StopSignal::Term) => {
                self.terminate(worker, key);
                None
            }
            AgentEffect::Signal(key, StopSignal::Kill) => {
                self.kill(worker, key);
                None
            }
            AgentEffect::CollectLogs(key) => self.collect_logs(worker, key),
            // What its containers store is nothing, and their logs never wait.
            AgentEffect::WatchStorage { .. } | AgentEffect::HoldForLog(_) => None,
            AgentEffect::UploadOutputs(key) => {
                self.begin_upload(worker, key);
                None
            }
            AgentEffect::Remove(key) if luck == Luck::FailsBefore => Some(AgentInput::RemoveFailed(key)),
            AgentEffect::Remove(key) => {
                self.oracle.containers.removed(&self.master.saved, key)?;
                self.remove_container(worker, key);
                Some(if luck == Luck::Good { AgentInput::Removed(key) } else { AgentInput::RemoveFailed(key) })
            }
            AgentEffect::ListContainers { horizon, watched } => {
                let containers = self.workers[worker].engine.iter();
                let found = match luck {
                    Luck::Good => Ok(containers
                        .map(|(&key, container)| FoundContainer { key, state: container.state, limits: None })
                        .collect()),
                    Luck::FailsBefore | Luck::FailsAfter => Err("trouble".to_owned()),
                };
                Some(AgentInput::Listed { horizon, watched, found })
            }
            AgentEffect::Journal(_) | AgentEffect::Report(_) | AgentEffect::Answer(_) => None,
        })
    }

    fn prepare(&mut self, key: AttemptKey, image: &str, luck: Luck) -> AgentInput {
        if image == MISSING_IMAGE {
            self.hit(Probe::ImageMissing);
            return AgentInput::ImageFailed(key, EngineError::ImageNotFound("no such image".to_owned()));
        }
        match luck {
            Luck::Good => AgentInput::ImageReady(key, None),
            Luck::FailsBefore => {
                AgentInput::ImageFailed(key, EngineError::ImageUnavailable("the registry is down".to_owned()))
            }
            Luck::FailsAfter => AgentInput::ImageFailed(key, EngineError::Engine("trouble".to_owned())),
        }
    }

    fn create(&mut self, worker: usize, assignment: &Arc<Assignment>, luck: Luck) -> Result<AgentInput, String> {
        let key = assignment.key;
        let trouble = || AgentInput::CreateFailed(key, EngineError::Engine("trouble".to_owned()));
        if luck == Luck::FailsBefore {
            self.hit(Probe::EngineFailedBeforeDeed);
            return Ok(trouble());
        }
        if assignment.image == BROKEN_IMAGE {
            self.hit(Probe::SetupFailed);
            return Ok(AgentInput::CreateFailed(key, EngineError::Setup("no such command".to_owned())));
        }
        let script = Script::of(assignment).ok_or_else(|| format!("{key} came without its script"))?;
        if !self.workers[worker].engine.contains_key(&key) {
            self.oracle.containers.created(&self.master.saved, key, &self.workers[worker].id)?;
            self.workers[worker].engine.insert(key, Container::new(script));
        }
        if luck == Luck::FailsAfter {
            self.hit(Probe::EngineFailedAfterDeed);
            return Ok(trouble());
        }
        Ok(AgentInput::Created(key))
    }

    /// Starting one that runs or has ended does nothing, as the engine promises.
    fn start(&mut self, worker: usize, key: AttemptKey, luck: Luck) -> Result<AgentInput, String> {
        let trouble = || AgentInput::StartFailed(key, EngineError::Engine("trouble".to_owned()));
        if luck == Luck::FailsBefore {
            return Ok(trouble());
        }
        let wall = self.now(self.workers[worker].skew).wall;
        let Some(container) = self.workers[worker].engine.get_mut(&key) else {
            return Ok(AgentInput::StartFailed(key, EngineError::NotFound));
        };
        if container.state == ContainerState::Created {
            container.state = ContainerState::Running;
            container.started_at = Some(wall);
            let duration = container.script.duration;
            self.trace.note(self.schedule.now, format_args!("{key} starts"), &duration);
            self.oracle.containers.started(key)?;
            self.schedule.after(duration, Event::ContainerEnds { worker, key, cause: Cause::Script });
        }
        Ok(if luck == Luck::Good { AgentInput::Started(key) } else { trouble() })
    }

    fn wait(&mut self, worker: usize, key: AttemptKey) -> Option<AgentInput> {
        let Some(container) = self.workers[worker].engine.get_mut(&key) else {
            return Some(AgentInput::WaitFailed(key, EngineError::NotFound));
        };
        match &container.ended {
            Some(ended) => Some(AgentInput::Exited(key, ended.clone())),
            None => {
                container.waiting.push(AgentEffect::Wait(key));
                None
            }
        }
    }

    /// The log is complete when the container has ended, and is at the master only over a connection.
    fn collect_logs(&mut self, worker: usize, key: AttemptKey) -> Option<AgentInput> {
        let this = &mut self.workers[worker];
        let order = AgentEffect::CollectLogs(key);
        match this.engine.get_mut(&key) {
            Some(container) if container.ended.is_none() => container.waiting.push(order),
            _ if !this.connected => this.parked.push(order),
            _ => return Some(AgentInput::LogsDrained(key, LogBytes::default())),
        }
        None
    }

    /// The connection is back: what waited for it goes on.
    pub(crate) fn unpark(&mut self, worker: usize) {
        for order in std::mem::take(&mut self.workers[worker].parked) {
            self.order(worker, order);
        }
    }
}
