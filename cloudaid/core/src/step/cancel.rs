//! A client wants a task stopped, in whatever state it is.

use std::collections::BTreeMap;

use shared::id::{Elements, RequestId, SessionId, TaskRef};
use shared::link::{CancelOrder, ToWorker};
use shared::task::{TaskState, Verdict};
use shared::time::Now;
use shared::view::{CancelView, Tally};

use crate::cluster::{Cluster, end_element};
use crate::effect::{Answer, Effect};
use crate::event::Event;
use crate::record::ResultRecord;
use crate::reject::Reject;
use crate::task::Task;
use crate::worker::Worker;

/// What waits is cancelled at once. What a worker holds is marked, durably, and its worker is told; whether it is then
/// cancelled or ends by itself first, its worker says.
pub(crate) fn on_cancel(cluster: &mut Cluster, now: Now, request: RequestId, task: TaskRef, effects: &mut Vec<Effect>) {
    let answer = match cancel(cluster, now, task, effects) {
        Ok(view) => Ok(Answer::Cancelled(view)),
        Err(reject) => Err(reject),
    };
    effects.push(Effect::Reply(request, answer));
}

fn cancel(cluster: &mut Cluster, now: Now, target: TaskRef, effects: &mut Vec<Effect>) -> Result<CancelView, Reject> {
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
    let withdrawn = withdraw(task, now, target.elements, effects);
    if task.waiting() == 0 {
        cluster.queue.remove(&task.shape, task.record.sequence);
    }
    let (first, last) = target.elements.bounds();
    let marked: Vec<u32> = task.live.range(first..=last).map(|(index, _)| *index).collect();
    let mut orders: BTreeMap<SessionId, Vec<CancelOrder>> = BTreeMap::new();
    for index in &marked {
        task.progress.cancelling.insert(*index);
        let Some(run) = task.live.get(index) else { continue };
        if let Some(session) = cluster.workers.get(&run.worker).and_then(Worker::session) {
            let order = CancelOrder { key: task.key(*index, run), grace: cluster.settings.stop_grace };
            orders.entry(session).or_default().push(order);
        }
    }
    effects.extend(orders.into_iter().map(|(session, orders)| Effect::Send(session, ToWorker::Cancel(orders))));
    let elements = withdrawn + marked.len() as u32;
    effects.push(Effect::Publish(Event::CancelRequested { task: target.task, elements }));
    let state = task.tally_of(target.elements).summary();
    cluster.dirty.insert(target.task);
    Ok(CancelView { task_id: target.to_string(), state, cancelling: !marked.is_empty() })
}

/// Ends what waits of the target. Returns how many elements that were.
fn withdraw(task: &mut Task, now: Now, elements: Elements, effects: &mut Vec<Effect>) -> u32 {
    let mut count = 0;
    while let Some(waiting) = task.withdraw(elements) {
        count += 1;
        let result = ResultRecord {
            element: task.element(waiting.index),
            verdict: Verdict::Cancelled,
            attempt: waiting.attempts,
            worker: None,
            started_at: None,
            finished_at: now.wall,
            outcome: None,
        };
        end_element(task, result, effects);
    }
    count
}
