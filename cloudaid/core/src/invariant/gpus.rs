//! Nobody has more of a GPU than there is, and each run has as much as it asked for.

use std::collections::BTreeMap;

use shared::id::WorkerId;

use crate::cluster::Cluster;

pub(super) fn check(cluster: &Cluster) -> Result<(), String> {
    let mut leased: BTreeMap<(&WorkerId, &str), u64> = BTreeMap::new();
    for task in cluster.tasks.values() {
        for (index, run) in task.live.iter().filter(|(_, run)| !run.gpus.is_empty()) {
            let has: u64 = run.gpus.iter().map(|lease| lease.millis).sum();
            let wanted = task.resources(run.memory).gpu_millis;
            if has != wanted {
                return Err(format!("{} has {has} thousandths of GPUs, and not {wanted}", task.element(*index)));
            }
            for lease in &run.gpus {
                *leased.entry((&run.worker, &lease.uuid)).or_default() += lease.millis;
            }
        }
    }
    for ((id, uuid), millis) in leased {
        let gpus = cluster.workers.get(id).map(|worker| &worker.record.facts.gpus);
        // One that was taken out of its machine is nobody's.
        let Some(gpu) = gpus.and_then(|gpus| gpus.iter().find(|gpu| gpu.uuid == *uuid)) else { continue };
        if millis > gpu.millis {
            return Err(format!("{uuid} of {id} is leased {millis} thousandths, and has {}", gpu.millis));
        }
    }
    Ok(())
}
