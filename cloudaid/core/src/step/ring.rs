//! Time limits, and the ends of pauses.

use std::time::Duration;

use shared::id::{AttemptKey, ElementId, TaskId, WorkerId};
use shared::link::ToWorker;
use shared::task::Verdict;
use shared::time::{BootTime, Now};

use super::{cordon, end, keep};
use crate::alarm::Alarm;
use crate::cluster::Cluster;
use crate::effect::Effect;
use crate::event::Event;
use crate::record::Requeued;
use crate::task::{RunPhase, Task};
use crate::worker::Worker;

/// How much longer than its limit and its grace a run may take before the master tells its worker again that its time is
/// up. Workers that know the limit end it by themselves.
const PATIENCE: Duration = Duration::from_secs(30);

/// Everything that is due.
pub(crate) fn on_alarms(cluster: &mut Cluster, now: Now, effects: &mut Vec<Effect>) {
    while let Some(alarm) = cluster.alarms.take_due(now.boot) {
        match alarm {
            Alarm::TimeLimit(key) => stop_late(cluster, now, key, effects),
            Alarm::Rested(element) => {
                if let Some(task) = cluster.tasks.get_mut(&element.task) {
                    task.resting.remove(&element.index);
                    cluster.plan_stale = true;
                }
            }
            Alarm::WaitedAgain(element) => {
                keep::end_late(cluster, now, element, effects);
                give_up_again(cluster, now, element, effects);
            }
            Alarm::Waited(task) => give_up_waiting(cluster, now, task, effects),
            Alarm::Drained(worker) => cordon::evict(cluster, now, worker, effects),
            Alarm::Failing(worker) => try_again(cluster, now.boot, worker, effects),
            Alarm::Kept => keep::end_for_hosts(cluster, now, effects),
        }
    }
}

/// A run has started: when its time is up at the master too. `ran` is how long it has been running before `now`.
pub(crate) fn limit_run(cluster: &mut Cluster, now: BootTime, key: AttemptKey, ran: Duration) {
    let Some(task) = cluster.tasks.get(&key.task) else { return };
    let Some(limit) = task.record.spec.policy.time_limit else { return };
    let Some(run) = task.live.get(&key.index) else { return };
    let knows_limit = cluster.workers.get(&run.worker).is_some_and(Worker::knows_limits);
    let slack = if knows_limit { task.stop_grace(&cluster.settings) + PATIENCE } else { Duration::ZERO };
    cluster.alarms.set(Alarm::TimeLimit(key), now + limit.0.saturating_sub(ran) + slack);
}

/// What waits of a task may not wait for ever. `waited` is how long it has waited before `now`.
pub(crate) fn limit_waiting(cluster: &mut Cluster, now: BootTime, id: TaskId, waited: Duration) {
    let Some(task) = cluster.tasks.get(&id) else { return };
    if let Some(limit) = task.record.spec.policy.queue_time_limit.filter(|_| !task.progress.untouched.is_empty()) {
        cluster.alarms.set(Alarm::Waited(id), now + limit.0.saturating_sub(waited));
    }
}

/// An element waits for another run: perhaps not at once, and not for ever.
pub(crate) fn limit_requeued(cluster: &mut Cluster, now: BootTime, element: ElementId, pause: Duration) {
    let Some(task) = cluster.tasks.get_mut(&element.task) else { return };
    if !pause.is_zero() {
        task.resting.insert(element.index);
        cluster.alarms.set(Alarm::Rested(element), now + pause);
    }
    if let Some(limit) = task.record.spec.policy.queue_time_limit {
        cluster.alarms.set(Alarm::WaitedAgain(element), now + pause + limit.0);
    }
}

/// A run is kept for its lost worker: for no longer than its element might wait for another one.
pub(crate) fn limit_kept(cluster: &mut Cluster, now: BootTime, element: ElementId) {
    let Some(task) = cluster.tasks.get(&element.task) else { return };
    if let Some(limit) = task.record.spec.policy.queue_time_limit {
        cluster.alarms.set(Alarm::WaitedAgain(element), now + limit.0);
    }
}

/// An element waits no longer for another run.
pub(crate) fn forget_requeued(cluster: &mut Cluster, element: ElementId) {
    cluster.alarms.clear(&Alarm::Rested(element));
    cluster.alarms.clear(&Alarm::WaitedAgain(element));
}

fn stop_late(cluster: &mut Cluster, now: Now, key: AttemptKey, effects: &mut Vec<Effect>) {
    let Some(task) = cluster.tasks.get_mut(&key.task) else { return };
    let Some(limit) = task.record.spec.policy.time_limit else { return };
    let Some(run) = task.live.get_mut(&key.index).filter(|run| run.fence == key.fence) else { return };
    run.overdue = true;
    let run = run.clone();
    let order = task.stop_order(key.index, &run, &cluster.settings);
    if let Some(session) = cluster.workers.get(&run.worker).and_then(Worker::session) {
        let order = shared::link::CancelOrder { time_limit: Some(limit.0), ..order };
        effects.push(Effect::Send(session, ToWorker::Cancel(vec![order])));
    }
    cluster.alarms.set(Alarm::TimeLimit(key), now.boot + order.grace + PATIENCE);
}

fn give_up_again(cluster: &mut Cluster, now: Now, element: ElementId, effects: &mut Vec<Effect>) {
    let Some(task) = cluster.tasks.get_mut(&element.task) else { return };
    let Some(at) = task.progress.requeued.iter().position(|waiting| waiting.index == element.index) else { return };
    let waited = task.waiting_memories();
    let waiting = task.progress.requeued.remove(at);
    task.resting.remove(&element.index);
    give_up(task, now, &[waiting], effects);
    cluster.leave_queue(element.task, &waited);
    forget_requeued(cluster, element);
}

fn give_up_waiting(cluster: &mut Cluster, now: Now, id: TaskId, effects: &mut Vec<Effect>) {
    let Some(task) = cluster.tasks.get_mut(&id).filter(|task| !task.progress.untouched.is_empty()) else { return };
    let waited = task.waiting_memories();
    let untouched: Vec<_> =
        task.progress.untouched.iter().map(|index| Requeued { index, ..Requeued::default() }).collect();
    task.progress.untouched = task.progress.untouched.emptied();
    give_up(task, now, &untouched, effects);
    cluster.leave_queue(id, &waited);
}

fn give_up(task: &mut Task, now: Now, waiting: &[Requeued], effects: &mut Vec<Effect>) {
    let limit = task.record.spec.policy.queue_time_limit.unwrap_or_default();
    for waiting in waiting {
        let verdict = Verdict::QueueTimeout { limit_seconds: limit.whole_seconds() };
        end::end_waiting(task, now, *waiting, verdict, effects);
    }
}

fn try_again(cluster: &mut Cluster, now: BootTime, id: WorkerId, effects: &mut Vec<Effect>) {
    let Some(worker) = cluster.workers.get_mut(&id) else { return };
    worker.failing.is_left_out = false;
    cluster.plan_stale = true;
    keep::look_for_host(cluster, now, &id);
    effects.push(Effect::Publish(Event::WorkerTriedAgain { worker: id }));
}

/// The alarms of what a master finds at its start.
pub(crate) fn recover(cluster: &mut Cluster, now: Now) {
    let since = |at: shared::time::WallTime| now.wall.since(at);
    let mut runs = Vec::new();
    let mut waiting = Vec::new();
    let mut requeued = Vec::new();
    for (id, task) in &cluster.tasks {
        waiting.push((*id, since(task.record.submitted_at)));
        requeued.extend(task.progress.requeued.iter().map(|again| (task.element(again.index), again.pause)));
        runs.extend(task.live.iter().filter_map(|(index, run)| match run.phase {
            // The first of these is by the clock of the worker.
            RunPhase::Running { started_at } => {
                Some((task.key(*index, run), since(started_at).min(since(run.placed_at))))
            }
            RunPhase::Pending => None,
        }));
    }
    let workers: Vec<_> = cluster.workers.keys().cloned().collect();
    workers.iter().for_each(|worker| cordon::set_deadline(cluster, now, worker));
    runs.into_iter().for_each(|(key, ran)| limit_run(cluster, now.boot, key, ran));
    waiting.into_iter().for_each(|(id, waited)| limit_waiting(cluster, now.boot, id, waited));
    requeued.into_iter().for_each(|(element, pause)| limit_requeued(cluster, now.boot, element, pause));
}
