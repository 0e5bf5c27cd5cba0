//! Every element of a task is in exactly one place: waiting, held by a worker, or over.

use std::collections::BTreeSet;

use crate::cluster::Cluster;
use crate::recent::SPAN;

pub(super) fn check(cluster: &Cluster) -> Result<(), String> {
    let mut fences = BTreeSet::new();
    let (mut queued, mut held) = (0, 0);
    for (id, task) in &cluster.tasks {
        let progress = &task.progress;
        let mut seen = BTreeSet::new();
        let places = progress
            .untouched
            .iter()
            .chain(progress.requeued.iter().map(|waiting| waiting.index))
            .chain(task.live.keys().copied())
            .chain(progress.ended.values().flat_map(shared::ranges::RangeSet::iter));
        for index in places {
            if !seen.insert(index) {
                return Err(format!("{id}.{index} is in two places"));
            }
        }
        if !seen.iter().copied().eq(task.record.indices().iter()) {
            return Err(format!(
                "{id} has {} elements, which are not the {} of its own",
                seen.len(),
                task.record.count()
            ));
        }
        if let Some(limit) = task.limit().filter(|limit| task.live.len() > *limit as usize) {
            return Err(format!("{id} has {} elements at workers, and {limit} are the most", task.live.len()));
        }
        if progress.recent.runs() > SPAN || task.record.array.is_none() && !progress.recent.is_empty() {
            return Err(format!("{id} remembers {} ends", progress.recent.runs()));
        }
        if task.is_over() {
            return Err(format!("{id} is over but was not put away"));
        }
        if let Some(stray) = progress.cancelling.iter().find(|index| !task.live.contains_key(index)) {
            return Err(format!("{id}.{stray} is being cancelled but no worker holds it"));
        }
        if let Some(stray) =
            progress.unreachable.iter().chain(progress.evicting.iter()).find(|at| !task.live.contains_key(at))
        {
            return Err(format!("{id}.{stray} is unreachable or drained but no worker holds it"));
        }
        if progress.tally != task.tally() {
            return Err(format!("{id} is counted as {:?} instead of {:?}", progress.tally, task.tally()));
        }
        queued += u64::from(progress.tally.queued);
        held += u64::from(progress.tally.pending + progress.tally.running);
        for (index, run) in &task.live {
            if !fences.insert(run.fence) {
                return Err(format!("{id}.{index} shares its fence with another run"));
            }
            if run.infrastructure_failures >= run.attempt {
                return Err(format!("{id}.{index} counts more failures than runs"));
            }
        }
    }
    let totals = &cluster.totals;
    if (totals.queued, totals.pending + totals.running) != (queued, held) {
        return Err(format!("{totals:?} are shown, {queued} wait and {held} are held"));
    }
    Ok(())
}
