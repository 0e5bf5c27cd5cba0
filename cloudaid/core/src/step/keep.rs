//! A worker was lost, and of those that are connected no other one could take what it holds: to give that up would only
//! throw away what was done. It is kept, and goes on when the worker is back, unless somebody is there for a while before who
//! could take it.

use std::collections::BTreeMap;
use std::sync::Arc;

use shared::id::{AttemptKey, ElementId, WorkerId};
use shared::task::Verdict;
use shared::time::{BootTime, Now};

use super::connect::live_runs;
use super::ring;
use crate::alarm::Alarm;
use crate::cluster::Cluster;
use crate::effect::Effect;
use crate::queue::Shape;

/// Keeps those runs of a lost worker that nobody else is to have, or could. Returns how many these are, and the others.
pub(super) fn what_others_cannot_take(
    cluster: &mut Cluster,
    now: BootTime,
    worker: &WorkerId,
) -> (usize, Vec<AttemptKey>) {
    let mut hosts: BTreeMap<Arc<Shape>, bool> = BTreeMap::new();
    if cluster.kept.is_empty() {
        // It was for what is kept no more.
        cluster.alarms.clear(&Alarm::Kept);
    }
    let (mut kept, mut lost) = (0, Vec::new());
    for (key, _) in live_runs(cluster, worker).collect::<Vec<_>>() {
        let Some(task) = cluster.tasks.get(&key.task) else { continue };
        let Some(run) = task.live.get(&key.index) else { continue };
        if !task.record.spec.policy.at_most_once {
            let progress = &task.progress;
            // Nobody wants it to go on there.
            let is_unwanted = progress.cancelling.contains(key.index) || progress.evicting.contains(key.index);
            let shape = task.shape_with(run.memory);
            if is_unwanted || *hosts.entry(Arc::clone(&shape)).or_insert_with(|| cluster.has_host(&shape)) {
                lost.push(key);
                continue;
            }
            cluster.kept.insert(shape, key.element());
            ring::limit_kept(cluster, now, key.element());
        }
        if let Some(task) = cluster.tasks.get_mut(&key.task) {
            task.progress.unreachable.insert(key.index);
            cluster.dirty.insert(key.task);
            // Others of its array may be tried now.
            cluster.plan_stale = true;
        }
        kept += 1;
    }
    (kept, lost)
}

/// A worker gets work from now on. Where it could take what is kept for others, these have as long as after a start to be
/// heard of again: the silence may have been the master's own, and then all of them come back, one just before the other.
/// What is set already stays, so that nothing waits for ever while workers come and go.
pub(super) fn look_for_host(cluster: &mut Cluster, now: BootTime, id: &WorkerId) {
    let Some(worker) = cluster.workers.get(id).filter(|worker| worker.gets_work()) else { return };
    let could = |shape: &Shape| shape.could_ever_fit(id, worker, &cluster.settings);
    if !cluster.alarms.is_set(&Alarm::Kept) && cluster.kept.classes().any(|(shape, _)| could(shape)) {
        cluster.alarms.set(Alarm::Kept, now + cluster.settings.start_grace);
    }
}

/// That time is over: what somebody could take who is here now is given up, and runs there.
pub(super) fn end_for_hosts(cluster: &mut Cluster, now: Now, effects: &mut Vec<Effect>) {
    let classes = cluster.kept.classes().filter(|(shape, _)| cluster.has_host(shape));
    let taken: Vec<_> = classes.flat_map(|(_, elements)| elements.iter().copied()).collect();
    for element in taken {
        lose(cluster, now, element, effects);
    }
}

/// An element has waited for its lost worker as long as it may wait for any: it waits no longer. Nothing, if its run is not
/// kept.
pub(super) fn end_late(cluster: &mut Cluster, now: Now, element: ElementId, effects: &mut Vec<Effect>) {
    let Some(task) = cluster.tasks.get(&element.task) else { return };
    let Some(run) = task.live.get(&element.index) else { return };
    if cluster.kept.contains(&task.shape_with(run.memory), element) {
        lose(cluster, now, element, effects);
    }
}

/// Gives up the run of an element, whose worker was lost.
pub(super) fn lose(cluster: &mut Cluster, now: Now, element: ElementId, effects: &mut Vec<Effect>) {
    let Some(task) = cluster.tasks.get(&element.task) else { return };
    let Some(run) = task.live.get(&element.index) else { return };
    let message = format!("{} was not heard of for longer than its lease", run.worker);
    let key = task.key(element.index, run);
    cluster.end_run(now, key, Verdict::WorkerLost { message }, None, effects);
}

impl Cluster {
    /// Whether a worker gets work that could run this if nothing else ran there.
    pub(crate) fn has_host(&self, shape: &Shape) -> bool {
        let mut in_use = self.workers.iter().filter(|(_, worker)| worker.gets_work());
        in_use.any(|(id, worker)| shape.could_ever_fit(id, worker, &self.settings))
    }
}
