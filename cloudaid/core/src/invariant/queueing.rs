//! The queue lists exactly the tasks that have waiting elements; and where something waits, nothing that would fit is
//! left idle.

use std::collections::BTreeSet;

use shared::id::TaskId;

use crate::cluster::Cluster;

pub(super) fn check(cluster: &Cluster) -> Result<(), String> {
    let mut listed = BTreeSet::new();
    for (shape, tasks) in cluster.queue.classes() {
        for (sequence, id) in tasks {
            let Some(task) = cluster.tasks.get(id) else {
                return Err(format!("the queue lists {id}, which is not there"));
            };
            if task.shape != *shape || task.record.sequence != *sequence || !listed.insert(*id) {
                return Err(format!("the queue lists {id} in the wrong place"));
            }
        }
    }
    for (id, task) in &cluster.tasks {
        if (task.waiting() > 0) != listed.contains(id) {
            return Err(format!("{id} has {} waiting elements, queued: {}", task.waiting(), listed.contains(id)));
        }
    }
    if cluster.draining || cluster.plan_unfinished {
        return Ok(());
    }
    let rooms = cluster.rooms();
    for (shape, tasks) in cluster.queue.classes() {
        let may_run = |id: &&TaskId| cluster.tasks.get(id).is_some_and(|task| task.placeable() > 0);
        if let Some(waits) = tasks.values().find(may_run).filter(|_| rooms.iter().any(|room| room.fits(shape))) {
            return Err(format!("{waits} waits though it fits"));
        }
    }
    Ok(())
}
