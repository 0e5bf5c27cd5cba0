//! Elements that look alike, so that an array of a million can be shown in a few lines.

use std::collections::BTreeMap;

use shared::id::{Elements, TaskRef, WorkerId};
use shared::ranges::RangeSet;
use shared::task::{TaskState, VerdictKind};

use crate::cluster::Cluster;
use crate::record::Progress;

/// Elements of one task in the same state, at the same worker, with the same kind of end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alike {
    /// Which. Never empty.
    pub indices: RangeSet,
    /// Where they stand.
    pub state: TaskState,
    /// Who has them, while somebody has.
    pub worker: Option<WorkerId>,
    /// How they ended, if they did.
    pub verdict: Option<VerdictKind>,
}

impl Progress {
    /// Those of the elements that have ended, or wait.
    #[must_use]
    pub fn alike(&self, elements: Elements) -> Vec<Alike> {
        let (first, last) = elements.bounds();
        let mut waiting = self.untouched.within(first, last);
        for requeued in self.requeued.iter().filter(|requeued| elements.include(requeued.index)) {
            waiting.insert(requeued.index);
        }
        let waiting = Alike { indices: waiting, state: TaskState::Queued, worker: None, verdict: None };
        let ended = self.ended.iter().map(|(kind, ended)| Alike {
            indices: ended.within(first, last),
            state: kind.state(),
            worker: None,
            verdict: Some(*kind),
        });
        std::iter::once(waiting).chain(ended).filter(|alike| !alike.indices.is_empty()).collect()
    }
}

impl Cluster {
    /// The elements of a task, by what they have in common, in the order of their smallest indices; none if the task is
    /// not here, because it is over or never was.
    #[must_use]
    pub fn alike(&self, target: TaskRef) -> Option<Vec<Alike>> {
        let task = self.tasks.get(&target.task)?;
        let (first, last) = target.elements.bounds();
        let mut held: BTreeMap<(TaskState, &WorkerId), RangeSet> = BTreeMap::new();
        for (index, run) in task.live.range(first..=last) {
            let place = (run.phase.state(), &run.worker);
            held.entry(place).or_insert_with(|| task.progress.untouched.emptied()).insert(*index);
        }
        let mut all = task.progress.alike(target.elements);
        all.extend(held.into_iter().map(|((state, worker), indices)| Alike {
            indices,
            state,
            worker: Some(worker.clone()),
            verdict: None,
        }));
        all.sort_by_key(|alike| alike.indices.first_index());
        Some(all)
    }
}
