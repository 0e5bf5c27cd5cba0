//! A client wants a task stopped, in whatever state it is.

use std::collections::BTreeMap;

use shared::id::{Elements, RequestId, SessionId, TaskRef};
use shared::link::{CancelOrder, Decision, ToWorker};
use shared::task::{TaskState, Verdict};
use shared::time::Now;
use shared::view::{CancelView, Tally};

use crate::alarm::{Alarm, Alarms};
use crate::cluster::Cluster;
use crate::effect::{Answer, Effect};
use crate::event::Event;
use crate::reject::Reject;
use crate::step::end::end_waiting;
use crate::step::keep;
use crate::task::Task;
use crate::worker::Worker;

/// What waits is cancelled at once. What a worker holds is marked, durably, and its worker is told; whether it is then
/// cancelled or ends by itself first, its worker says. What was only kept for a worker that is lost ends at once. By force
/// everything ends here and now, and its worker is told to stop it when it is heard of.
pub(crate) fn on_cancel(
    cluster: &mut Cluster,
    now: Now,
    request: RequestId,
    (task, force): (TaskRef, bool),
    effects: &mut Vec<Effect>,
) {
    let answer = match cancel(cluster, now, (task, force), effects) {
        Ok(view) => Ok(Answer::Cancelled(view)),
        Err(reject) => Err(reject),
    };
    effects.push(Effect::Reply(request, answer));
}

fn cancel(
    cluster: &mut Cluster,
    now: Now,
    (target, force): (TaskRef, bool),
    effects: &mut Vec<Effect>,
) -> Result<CancelView, Reject> {
    let Some(task) = cluster.tasks.get_mut(&target.task) else { return Err(Reject::TaskNotFound(target)) };
    let before = task.tally_of(target.elements);
    if before == Tally::default() {
        return Err(Reject::TaskNotFound(target));
    }
    match before.summary() {
        TaskState::Queued | TaskState::Pending | TaskState::Running => {}
        TaskState::Cancelled => {
            return Ok(CancelView { task_id: target.to_string(), state: TaskState::Cancelled, cancelling: false });
        }
        ended @ (TaskState::Completed | TaskState::Failed) => return Err(Reject::TaskEnded(target, ended)),
    }
    let waited = task.waiting_memories();
    let withdrawn = withdraw(task, &mut cluster.alarms, now, target.elements, effects);
    let (first, last) = target.elements.bounds();
    let marked: Vec<u32> = task.live.range(first..=last).map(|(index, _)| *index).collect();
    let mut orders: BTreeMap<SessionId, Vec<CancelOrder>> = BTreeMap::new();
    let (mut ended, mut kept) = (Vec::new(), Vec::new());
    for index in &marked {
        task.progress.cancelling.insert(*index);
        let Some(run) = task.live.get(index) else { continue };
        let session = cluster.workers.get(&run.worker).and_then(Worker::session);
        let order = task.stop_order(*index, run, &cluster.settings);
        if force {
            effects.extend(
                session.map(|session| Effect::Send(session, ToWorker::Decide(vec![(order.key, Decision::Stop)]))),
            );
            ended.push(order.key);
        } else if cluster.kept.contains(&task.shape_with(run.memory), order.key.element()) {
            kept.push(order.key.element());
        } else if let Some(session) = session {
            orders.entry(session).or_default().push(order);
        }
    }
    effects.extend(orders.into_iter().map(|(session, orders)| Effect::Send(session, ToWorker::Cancel(orders))));
    let elements = withdrawn + marked.len() as u32;
    effects.push(Effect::Publish(Event::CancelRequested { task: target.task, elements }));
    cluster.leave_queue(target.task, &waited);
    let cancelling = ended.len() + kept.len() < marked.len();
    for element in kept {
        keep::lose(cluster, now, element, effects);
    }
    for key in ended {
        cluster.end_run(now, key, Verdict::Cancelled, None, effects);
    }
    let state =
        cluster.tasks.get(&target.task).map_or(TaskState::Cancelled, |task| task.tally_of(target.elements).summary());
    Ok(CancelView { task_id: target.to_string(), state, cancelling })
}

/// Ends what waits of the target. Returns how many elements that were.
fn withdraw(task: &mut Task, alarms: &mut Alarms, now: Now, elements: Elements, effects: &mut Vec<Effect>) -> u32 {
    let mut count = 0;
    while let Some(waiting) = task.withdraw(elements) {
        count += 1;
        alarms.clear(&Alarm::Rested(task.element(waiting.index)));
        alarms.clear(&Alarm::WaitedAgain(task.element(waiting.index)));
        end_waiting(task, now, waiting, Verdict::Cancelled, effects);
    }
    count
}
