//! What a lost worker holds is unreachable, and is kept for it only where nobody else is to have it, or could, or has been
//! here for long enough.

use crate::alarm::Alarm;
use crate::cluster::Cluster;
use crate::kept::Kept;
use crate::worker::{Link, Worker};

pub(super) fn check(cluster: &Cluster) -> Result<(), String> {
    let is_lost = |worker: &Worker| worker.link == Link::Lost;
    let mut kept = Kept::default();
    for task in cluster.tasks.values() {
        let progress = &task.progress;
        let away = task.live.iter().filter(|(_, run)| cluster.workers.get(&run.worker).is_some_and(is_lost));
        for (index, run) in away {
            let element = task.element(*index);
            if !progress.unreachable.contains(*index) {
                return Err(format!("{element} is held by {}, which is lost, and is not unreachable", run.worker));
            }
            if task.record.spec.policy.at_most_once {
                continue;
            }
            if progress.cancelling.contains(*index) || progress.evicting.contains(*index) {
                return Err(format!("{element} is kept for {}, though nobody wants it to go on there", run.worker));
            }
            kept.insert(task.shape_with(run.memory), element);
        }
    }
    if kept != cluster.kept {
        return Err(format!("{:?} is kept for lost workers, and the tasks say {kept:?}", cluster.kept));
    }
    if cluster.alarms.is_set(&Alarm::Kept) {
        return Ok(());
    }
    match kept.classes().find(|(shape, _)| cluster.has_host(shape)) {
        Some((_, elements)) => {
            Err(format!("{elements:?} are kept for lost workers for ever, and another one could take them"))
        }
        None => Ok(()),
    }
}
