//! Time and silence: who was not heard of is suspected, then cut off, then given up.
//!
//! The master has to be sure that the silence is not its own: see `silence`.

use shared::gpu::IllGpu;
use shared::id::{SessionId, WorkerId};
use shared::link::Heartbeat;
use shared::time::{BootTime, Now};

use crate::cluster::Cluster;
use crate::effect::Effect;
use crate::event::Event;
use crate::reject::Reject;
use crate::step::{keep, ring, silence};
use crate::worker::Link;

/// A sign of life. `at` is when it arrived, which may be before `now` if the master was busy.
pub(crate) fn on_heard(
    cluster: &mut Cluster,
    now: Now,
    (id, session, at): (&WorkerId, SessionId, BootTime),
    heartbeat: Option<Heartbeat>,
    effects: &mut Vec<Effect>,
) {
    let Some(worker) = cluster.workers.get_mut(id) else { return };
    let Link::Up { session: current, suspect } = worker.link else { return };
    if current != session {
        return;
    }
    worker.heard = worker.heard.max(at);
    worker.heard_at = Some(now.wall);
    let mut is_well_again = false;
    if let Some(Heartbeat { usage, problem, ill_gpus, pulling, number: _ }) = heartbeat {
        worker.usage = Some(usage);
        worker.pulling = pulling;
        if worker.problem != problem {
            is_well_again = problem.is_none();
            cluster.plan_stale |= is_well_again;
            worker.problem.clone_from(&problem);
            effects.push(Effect::Publish(Event::WorkerHealth { worker: id.clone(), problem }));
        }
        // The words may change while a GPU is ill.
        let not_in = |gpu: &IllGpu, others: &[IllGpu]| others.iter().all(|other| other.uuid != gpu.uuid);
        let before = std::mem::replace(&mut worker.ill_gpus, ill_gpus);
        let ill: Vec<_> = worker.ill_gpus.iter().filter(|gpu| not_in(gpu, &before)).cloned().collect();
        let well: Vec<_> = before.into_iter().filter(|gpu| not_in(gpu, &worker.ill_gpus)).map(|gpu| gpu.uuid).collect();
        if !ill.is_empty() || !well.is_empty() {
            cluster.plan_stale = true;
            effects.push(Effect::Publish(Event::WorkerGpus { worker: id.clone(), ill, well }));
        }
    }
    if suspect && now.boot.since(worker.heard) < cluster.settings.suspect {
        worker.link = Link::Up { session, suspect: false };
        cluster.plan_stale = true;
        effects.push(Effect::Publish(Event::WorkerRecovered { worker: id.clone() }));
    }
    if is_well_again {
        keep::look_for_host(cluster, now.boot, id);
    }
}

/// Applies every deadline that has passed.
pub(crate) fn on_timer(cluster: &mut Cluster, now: Now, effects: &mut Vec<Effect>) {
    cluster.plan_stale |= cluster.plan_unfinished;
    silence::forgive_if_late(cluster, now, effects);
    let due = |cluster: &Cluster| {
        let overdue = cluster.workers.iter().find(|(_, worker)| {
            worker.deadline(&cluster.settings, cluster.awake).is_some_and(|deadline| deadline <= now.boot)
        });
        overdue.map(|(id, _)| id.clone())
    };
    // Each round moves one worker one step nearer to `Lost`, so this ends.
    while let Some(id) = due(cluster) {
        expire(cluster, now, &id, effects);
    }
    ring::on_alarms(cluster, now, effects);
}

fn expire(cluster: &mut Cluster, now: Now, id: &WorkerId, effects: &mut Vec<Effect>) {
    let Some(link) = cluster.workers.get(id).map(|worker| worker.link) else { return };
    let turn = |cluster: &mut Cluster, link| {
        if let Some(worker) = cluster.workers.get_mut(id) {
            worker.link = link;
        }
    };
    match link {
        Link::Up { session, suspect: false } => {
            turn(cluster, Link::Up { session, suspect: true });
            effects.push(Effect::Publish(Event::WorkerSuspected { worker: id.clone() }));
        }
        Link::Up { session, suspect: true } => {
            turn(cluster, Link::Down);
            effects.push(Effect::Close(session, Reject::LeaseExpired(id.clone())));
            let live_attempts = cluster.ledger.runs(id).count();
            effects.push(Effect::Publish(Event::WorkerDisconnected { worker: id.clone(), live_attempts }));
        }
        Link::Down if silence::hold(cluster, now, id, effects) => {}
        Link::Down => {
            turn(cluster, Link::Lost);
            give_up_runs(cluster, now, id, effects);
        }
        Link::Lost => {}
    }
}

fn give_up_runs(cluster: &mut Cluster, now: Now, id: &WorkerId, effects: &mut Vec<Effect>) {
    let (kept, lost) = keep::what_others_cannot_take(cluster, now.boot, id);
    if kept > 0 || !lost.is_empty() {
        let attempts = lost.len();
        effects.push(Effect::Publish(Event::WorkerLost { worker: id.clone(), attempts, kept }));
    }
    for key in lost {
        keep::lose(cluster, now, key.element(), effects);
    }
}
