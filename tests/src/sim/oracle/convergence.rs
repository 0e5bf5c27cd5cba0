//! When nothing goes wrong any more, everything comes to rest: every task is over, nobody holds anything, and no
//! container is left.

use std::fmt::Write;

use crate::sim::Check;
use crate::sim::process::Worker;
use crate::sim::world::World;

/// Whether the rest that [`check`] looks at is reached.
pub(crate) fn is_over(world: &World) -> bool {
    let master = world.master.cluster.as_ref().is_some_and(|cluster| cluster.live_attempts() == 0);
    let tasks = world.master.saved.tasks.values().all(|(_, progress)| progress.finished_at.is_some());
    master && tasks && present(world).all(is_at_rest) && world.calm.is_some()
}

/// What the end must look like.
pub(crate) fn check(world: &World) -> Check {
    let saved = &world.master.saved;
    world.oracle.submissions.check_all(saved)?;
    for (id, (record, progress)) in &saved.tasks {
        let ended: u32 = progress.ended.values().map(shared::ranges::RangeSet::len).sum();
        let results = saved.results.range((*id, 0)..=(*id, u32::MAX)).count();
        let count = record.count();
        if ended != count || results != count as usize {
            return Err(format!("{id} is over with {ended} ends and {results} results of {count} elements"));
        }
    }
    if let Some(open) = saved.attempts.values().find(|attempt| attempt.verdict.is_none()) {
        return Err(format!("{} has no end", open.key));
    }
    match world.oracle.cancels.open(saved) {
        Some(element) => Err(format!("{element} was cancelled and has no end")),
        None => Ok(()),
    }
}

/// What keeps it from rest, in words.
pub(crate) fn unfinished(world: &World) -> String {
    let mut words = String::new();
    for (id, (_, progress)) in &world.master.saved.tasks {
        if progress.finished_at.is_none() {
            let _ = write!(words, "{id} is not over: {:?}; ", progress.tally);
        }
    }
    for worker in present(world).filter(|worker| !is_at_rest(worker)) {
        let containers: Vec<_> = worker.engine.keys().map(ToString::to_string).collect();
        let _ = write!(words, "{} has containers {containers:?}, agent {:?}; ", worker.id, worker.agent);
    }
    words
}

fn present(world: &World) -> impl Iterator<Item = &Worker> {
    world.workers.iter().filter(|worker| !worker.left)
}

fn is_at_rest(worker: &Worker) -> bool {
    let agent = worker.agent.as_ref().is_some_and(cloudaid_core::agent::Agent::is_empty);
    agent && worker.engine.is_empty() && worker.journal.is_empty()
}
