//! An operator takes a worker out of use, for a while: it keeps what it has and gets nothing new, or is to become empty.

use std::time::Duration;

use shared::id::{RequestId, WorkerId};
use shared::link::ToWorker;
use shared::time::Now;
use shared::worker::Cordon;

use super::connect::live_runs;
use super::keep;
use crate::alarm::Alarm;
use crate::cluster::Cluster;
use crate::effect::{Answer, Effect};
use crate::event::Event;
use crate::record::Change;
use crate::reject::Reject;
use crate::task::RunPhase;
use crate::worker::Worker;

/// Before runs of a drained worker are told again to stop.
const AGAIN: Duration = Duration::from_secs(30);

/// From now on it is as `cordon` says; none: it gets work again.
pub(crate) fn on_cordon(
    cluster: &mut Cluster,
    now: Now,
    request: RequestId,
    id: WorkerId,
    cordon: Option<Cordon>,
    effects: &mut Vec<Effect>,
) {
    let Some(worker) = cluster.workers.get_mut(&id) else {
        let known = cluster.workers.keys().cloned().collect();
        effects.push(Effect::Reply(request, Err(Reject::WorkerNotFound { worker: id, known })));
        return;
    };
    worker.record.cordon.clone_from(&cordon);
    effects.push(Effect::Save(Change::Worker(id.clone(), Some(worker.record.clone()))));
    set_deadline(cluster, now, &id);
    keep::look_for_host(cluster, now.boot, &id);
    cluster.plan_stale = true;
    effects.push(Effect::Publish(Event::WorkerCordoned { worker: id, cordon }));
    effects.push(Effect::Reply(request, Ok(Answer::Done)));
}

/// When what runs there has to end, by the clock of this start of the master.
pub(crate) fn set_deadline(cluster: &mut Cluster, now: Now, id: &WorkerId) {
    let cordon = cluster.workers.get(id).and_then(|worker| worker.record.cordon.as_ref());
    let deadline = cordon.filter(|cordon| cordon.draining).and_then(|cordon| cordon.deadline);
    match deadline {
        None => cluster.alarms.clear(&Alarm::Drained(id.clone())),
        Some(deadline) => {
            cluster.alarms.set(Alarm::Drained(id.clone()), now.boot + deadline.since(now.wall));
        }
    }
}

/// The deadline is over: what still runs there is stopped, and runs elsewhere. What may run once at most and has begun is
/// not, because it would not. What was kept because the worker is lost is so no longer.
pub(super) fn evict(cluster: &mut Cluster, now: Now, id: WorkerId, effects: &mut Vec<Effect>) {
    let is_draining = |worker: &Worker| worker.record.cordon.as_ref().is_some_and(|cordon| cordon.draining);
    let Some(session) = cluster.workers.get(&id).filter(|worker| is_draining(worker)).map(Worker::session) else {
        return;
    };
    let (mut orders, mut kept) = (Vec::new(), Vec::new());
    for (key, phase) in live_runs(cluster, &id).collect::<Vec<_>>() {
        let Some(task) = cluster.tasks.get_mut(&key.task) else { continue };
        if task.record.spec.policy.at_most_once && matches!(phase, RunPhase::Running { .. }) {
            continue;
        }
        if !task.progress.evicting.contains(key.index) {
            task.progress.evicting.insert(key.index);
            cluster.dirty.insert(key.task);
        }
        let Some(run) = task.live.get(&key.index) else { continue };
        if cluster.kept.contains(&task.shape_with(run.memory), key.element()) {
            kept.push(key.element());
        } else {
            orders.push(task.stop_order(key.index, run, &cluster.settings));
        }
    }
    let attempts = orders.len() + kept.len();
    if attempts > 0 {
        effects.push(Effect::Publish(Event::WorkerEvicts { worker: id.clone(), attempts }));
    }
    if let Some(grace) = orders.iter().map(|order| order.grace).max() {
        effects.extend(session.map(|session| Effect::Send(session, ToWorker::Cancel(orders))));
        cluster.alarms.set(Alarm::Drained(id), now.boot + grace + AGAIN);
    }
    for element in kept {
        keep::lose(cluster, now, element, effects);
    }
}
