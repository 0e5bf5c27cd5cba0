//! Another name or other labels for work that waits.

use std::sync::Arc;

use shared::id::{RequestId, TaskId};
use shared::submit::TaskEdit;
use shared::task::TaskState;

use crate::cluster::Cluster;
use crate::effect::{Answer, Effect};
use crate::event::Event;
use crate::record::{Change, TaskRecord};
use crate::reject::Reject;

/// Only while all of it waits: what runs has told its worker already.
pub(crate) fn on_edit(
    cluster: &mut Cluster,
    request: RequestId,
    id: TaskId,
    edit: &TaskEdit,
    effects: &mut Vec<Effect>,
) {
    let answer = edited(cluster, id, edit).map(|record| {
        if let Some(record) = record {
            effects.push(Effect::Save(Change::Spec(id, Arc::clone(&record.spec))));
            effects.push(Effect::Publish(Event::TaskEdited { task: id, name: record.spec.name.clone() }));
            if let Some(task) = cluster.tasks.get_mut(&id) {
                task.record = record;
            }
        }
        Answer::Done
    });
    effects.push(Effect::Reply(request, answer));
}

/// The record as it will be; none: it is so already.
fn edited(cluster: &Cluster, id: TaskId, edit: &TaskEdit) -> Result<Option<Arc<TaskRecord>>, Reject> {
    let task = cluster.tasks.get(&id).ok_or_else(|| Reject::TaskNotFound(id.into()))?;
    let tally = task.tally();
    if tally.queued != task.record.count() {
        let state = tally.summary();
        // Of an array some elements may have ended while others wait.
        let state = if state == TaskState::Queued { TaskState::Running } else { state };
        return Err(Reject::NotQueued(id.into(), state));
    }
    let mut spec = (*task.record.spec).clone();
    edit.apply(&mut spec);
    if spec == *task.record.spec {
        return Ok(None);
    }
    Ok(Some(Arc::new(TaskRecord { spec: Arc::new(spec), ..(*task.record).clone() })))
}
