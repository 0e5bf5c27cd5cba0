//! What is reserved on a worker is the sum over its live runs, and no more than it has.

use std::collections::BTreeMap;

use shared::id::{ElementId, WorkerId};
use shared::resources::{Kind, Resources};

use crate::cluster::Cluster;

pub(super) fn check(cluster: &Cluster) -> Result<(), String> {
    let mut truth: BTreeMap<&WorkerId, BTreeMap<ElementId, Resources>> = BTreeMap::new();
    for task in cluster.tasks.values() {
        for (index, run) in &task.live {
            let resources = task.resources(run.memory);
            truth.entry(&run.worker).or_default().insert(task.element(*index), resources);
        }
    }
    let listed: usize = truth.values().map(BTreeMap::len).sum();
    if cluster.ledger.live() != listed {
        return Err(format!("the ledger lists {} runs, the tasks {listed}", cluster.ledger.live()));
    }
    for (worker, runs) in truth {
        if !cluster.ledger.runs(worker).eq(runs.iter()) {
            return Err(format!("the ledger of {worker} differs from its live runs"));
        }
        let Some(known) = cluster.workers.get(worker) else {
            return Err(format!("{worker} holds runs but never registered"));
        };
        let reserved: Resources = runs.values().copied().sum();
        for kind in Kind::ALL {
            // Where they are known one by one, each is looked at on its own.
            if kind == Kind::Gpu && !known.record.facts.gpus.is_empty() {
                continue;
            }
            let limit = kind.of(&known.record.facts.capacity).max(kind.of(&known.reserved_at_registration));
            if kind.of(&reserved) > limit {
                return Err(format!("{worker} has {} reserved, more than it has", kind.describe(kind.of(&reserved))));
            }
        }
    }
    Ok(())
}
