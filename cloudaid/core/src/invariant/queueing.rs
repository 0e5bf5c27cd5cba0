//! The queue lists exactly the tasks that have waiting elements; and where something waits, nothing that would fit is
//! left idle.

use std::collections::BTreeSet;

use shared::id::TaskId;

use crate::cluster::Cluster;
use crate::task::Task;

pub(super) fn check(cluster: &Cluster) -> Result<(), String> {
    let mut listed = BTreeSet::new();
    for (shape, tasks) in cluster.queue.classes() {
        for (sequence, id) in tasks {
            let Some(task) = cluster.tasks.get(id) else {
                return Err(format!("the queue lists {id}, which is not there"));
            };
            let memory = task.memory_in(shape);
            if task.shape_with(memory) != *shape || task.record.sequence != *sequence {
                return Err(format!("the queue lists {id} in the wrong place"));
            }
            listed.insert((*id, memory));
        }
    }
    let waiting = |(id, task): (&TaskId, &Task)| {
        let id = *id;
        task.waiting_memories().into_iter().map(move |memory| (id, memory))
    };
    let waits: BTreeSet<_> = cluster.tasks.iter().flat_map(waiting).collect();
    if let Some((id, memory)) = waits.symmetric_difference(&listed).next() {
        let is = if listed.contains(&(*id, *memory)) { "is" } else { "is not" };
        return Err(format!("{id} {is} in the queue with the memory {memory:?}, and what waits of it says otherwise"));
    }
    if cluster.draining || cluster.plan_unfinished {
        return Ok(());
    }
    let rooms = cluster.rooms();
    for (shape, tasks) in cluster.queue.classes() {
        let may_run = |id: &&TaskId| cluster.tasks.get(id).is_some_and(|task| task.placeable_in(shape) > 0);
        if let Some(waits) = tasks.values().find(may_run).filter(|_| rooms.iter().any(|room| room.fits(shape))) {
            return Err(format!("{waits} waits though it fits"));
        }
    }
    Ok(())
}
