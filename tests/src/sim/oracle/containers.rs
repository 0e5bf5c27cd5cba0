//! The witness: what containers really did. Of one attempt there is one container, on one host, started once; none is
//! made before its attempt is durable, and none removed before the end of its attempt is.

use std::collections::BTreeMap;

use cloudaid_core::agent::Ended;
use cloudaid_core::testkit::Saved;
use shared::id::{AttemptKey, WorkerId};

use crate::sim::Check;
use crate::sim::schedule::Cause;

/// All containers that ever were.
#[derive(Debug, Default)]
pub(crate) struct Containers(BTreeMap<AttemptKey, Witness>);

#[derive(Debug)]
struct Witness {
    worker: WorkerId,
    starts: u32,
    ended: Option<Ended>,
    /// Whether the agent's signal ended it.
    stopped: bool,
    /// Whether its host has lost all records of it, and with them why it was stopped.
    forgotten: bool,
}

impl Containers {
    pub(crate) fn created(&mut self, saved: &Saved, key: AttemptKey, worker: &WorkerId) -> Check {
        let durable = saved.attempts.get(&(key.task, key.index, key.attempt)).is_some_and(|known| known.key == key);
        if !durable {
            return Err(format!("{key} has a container and is not durable"));
        }
        match self.0.get(&key) {
            Some(other) if other.worker != *worker => {
                Err(format!("{key} has a container on {} and on {worker}", other.worker))
            }
            Some(other) if other.starts > 0 => Err(format!("the container of {key} was started and is made again")),
            _ => {
                self.0.insert(
                    key,
                    Witness { worker: worker.clone(), starts: 0, ended: None, stopped: false, forgotten: false },
                );
                Ok(())
            }
        }
    }

    pub(crate) fn started(&mut self, key: AttemptKey) -> Check {
        let witness = self.0.get_mut(&key).ok_or_else(|| format!("{key} was started and never made"))?;
        witness.starts += 1;
        if witness.starts > 1 { Err(format!("{key} was started {} times", witness.starts)) } else { Ok(()) }
    }

    pub(crate) fn ended(&mut self, key: AttemptKey, ended: Ended, cause: Cause) {
        if let Some(witness) = self.0.get_mut(&key) {
            witness.ended = Some(ended);
            witness.stopped = matches!(cause, Cause::Stopped(_));
        }
    }

    pub(crate) fn forgotten(&mut self, key: AttemptKey) {
        if let Some(witness) = self.0.get_mut(&key) {
            witness.forgotten = true;
        }
    }

    /// Whether it was stopped from outside and its host knows that.
    pub(crate) fn was_stopped(&self, key: AttemptKey) -> bool {
        self.0.get(&key).is_some_and(|witness| witness.stopped && !witness.forgotten)
    }

    /// The agent has it removed, or believes that there is something to remove.
    pub(crate) fn removed(&self, saved: &Saved, key: AttemptKey) -> Check {
        let record = saved.attempts.get(&(key.task, key.index, key.attempt));
        match record {
            Some(record) if record.verdict.is_none() => Err(format!("{key} is removed before its end is durable")),
            _ => Ok(()),
        }
    }

    pub(crate) fn was_started(&self, key: AttemptKey) -> bool {
        self.0.get(&key).is_some_and(|witness| witness.starts > 0)
    }

    /// How it ended, if it did.
    pub(crate) fn end_of(&self, key: AttemptKey) -> Option<&Ended> {
        self.0.get(&key).and_then(|witness| witness.ended.as_ref())
    }
}
