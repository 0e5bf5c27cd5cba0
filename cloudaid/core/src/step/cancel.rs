//! A client wants a task stopped, in whatever state it is.

use std::collections::BTreeMap;

use shared::id::{RequestId, SessionId, TaskRef};
use shared::link::{CancelOrder, ToWorker};
use shared::task::Verdict;
use shared::time::Now;
use shared::view::CancelView;

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
    let not_found = Reject::TaskNotFound(target);
    let task = cluster.tasks.get_mut(&target.task).ok_or_else(|| not_found.clone())?;
    if target.index.is_some_and(|index| index >= task.record.count) {
        return Err(not_found);
    }
    if let Some(ended) = target.index.and_then(|index| ended_state(task, index)) {
        return if ended == shared::task::TaskState::Cancelled {
            Ok(CancelView { task_id: target.to_string(), state: ended, cancelling: false })
        } else {
            Err(Reject::TaskEnded(target, ended))
        };
    }
    let withdrawn = withdraw(task, now, target.index, effects);
    if task.waiting() == 0 {
        cluster.queue.remove(&task.shape, task.record.sequence);
    }
    let marked: Vec<u32> = match target.index {
        Some(index) => task.live.contains_key(&index).then_some(index).into_iter().collect(),
        None => task.live.keys().copied().collect(),
    };
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
    let state = match target.index {
        Some(index) if task.live.contains_key(&index) => task.live_state(index),
        Some(_) => shared::task::TaskState::Cancelled,
        None => task.tally().summary(),
    };
    cluster.dirty.insert(target.task);
    Ok(CancelView { task_id: target.to_string(), state, cancelling: !marked.is_empty() })
}

/// Ends what waits of the target. Returns how many elements that were.
fn withdraw(task: &mut Task, now: Now, index: Option<u32>, effects: &mut Vec<Effect>) -> u32 {
    let mut count = 0;
    loop {
        let waiting = match index {
            Some(index) => task.withdraw(index),
            None => task.take_waiting(),
        };
        let Some(waiting) = waiting else { return count };
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
}

fn ended_state(task: &Task, index: u32) -> Option<shared::task::TaskState> {
    task.progress.ended.iter().find(|(_, ended)| ended.contains(index)).map(|(kind, _)| kind.state())
}
