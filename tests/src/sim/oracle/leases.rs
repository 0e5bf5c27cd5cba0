//! What may run once at most does not go on by itself: where the master has not heard of a worker for as long as a lease
//! lasts, each such run there has been told to end, however often its process has died and started meanwhile. The master, and
//! whoever forces it, may then run the task elsewhere, and no two of it run at once.

use cloudaid_core::settings::Settings;
use shared::link::{Held, Phase};

use crate::sim::Check;
use crate::sim::process::Worker;

/// After each step of a worker's process.
pub(crate) fn check(worker: &Worker, now: u64) -> Check {
    let silence = now - worker.heard;
    let lease = Settings::default().lease.as_millis() as u64;
    let Some(agent) = worker.agent.as_ref().filter(|_| silence >= lease) else { return Ok(()) };
    // What was given up is not among them, and was told to end for that.
    let held = agent.inventory();
    let is_held = |key| held.contains(&Held { key, phase: Phase::Running });
    match worker.once().find(|(key, _)| worker.is_running(key) && is_held(**key)) {
        Some((key, _)) => {
            Err(format!("{key} may run once at most, and goes on {silence} ms after {} was heard of last", worker.id))
        }
        None => Ok(()),
    }
}
