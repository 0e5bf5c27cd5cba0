//! What the worker holds, compared with the containers that are there, while it runs.

use std::collections::BTreeSet;

use shared::id::{AttemptKey, Fence};
use shared::link::{Decision, Inventory};
use shared::time::Now;

use super::Agent;
use super::effect::AgentEffect;
use super::input::{EngineError, FoundContainer};
use super::out::Out;
use super::recover;
use super::run::Run;

impl Agent {
    /// The master wants to know: the engine is asked first. Only runs that are watched now can be missed in the answer;
    /// a container that is made meanwhile may or may not be in it.
    pub(super) fn on_inquired(&self, horizon: Fence, effects: &mut Vec<AgentEffect>) {
        let watched = self.runs.values().filter(|run| run.is_watched()).map(Run::key).collect();
        effects.push(AgentEffect::ListContainers { horizon, watched });
    }

    /// The engine has answered. Containers that nobody knows are taken up, so that the master can decide about them;
    /// runs whose containers are gone end.
    pub(super) fn on_listed(
        &mut self,
        now: Now,
        horizon: Fence,
        watched: &[AttemptKey],
        found: Result<Vec<FoundContainer>, String>,
        effects: &mut Vec<AgentEffect>,
    ) {
        let (mut adopted, mut lost) = (Vec::new(), Vec::new());
        let (containers, problem) = match found {
            Err(problem) => (0, Some(problem)),
            Ok(found) => {
                let mut out = Out::new(now, &mut self.session, effects);
                let present: BTreeSet<_> = found.iter().map(|container| container.key).collect();
                let missing =
                    |key: &&AttemptKey| !present.contains(key) && self.runs.get(key).is_some_and(Run::is_watched);
                lost.extend(watched.iter().filter(missing));
                for container in &found {
                    let is_known = self.runs.contains_key(&container.key) || self.gone.contains(&container.key.fence);
                    if !is_known {
                        let run = recover::adopt(*container, &mut out);
                        self.index.update(container.key, Some(&run));
                        self.runs.insert(container.key, run);
                        adopted.push(container.key);
                    }
                }
                (found.len() as u32, None)
            }
        };
        for key in &lost {
            self.on_run(now, *key, effects, |run, out| run.wait_failed(&EngineError::NotFound, out));
        }
        let held = self.inventory();
        let leaving = self.runs.values().filter(|run| run.is_discarded()).map(Run::key).collect();
        effects.push(AgentEffect::Answer(Inventory { horizon, held, adopted, lost, leaving, containers, problem }));
    }

    /// What shall become of runs; those that go on are told of.
    pub(super) fn on_decided(
        &mut self,
        now: Now,
        decisions: Vec<(AttemptKey, Decision)>,
        effects: &mut Vec<AgentEffect>,
    ) {
        for (key, decision) in decisions {
            self.on_run(now, key, effects, |run, out| {
                run.decide(decision, out);
                if decision == Decision::Keep {
                    run.report(out);
                }
            });
        }
    }
}
