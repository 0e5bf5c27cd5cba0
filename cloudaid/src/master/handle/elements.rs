//! Looking at the elements of an array: those that look alike together.

use std::collections::BTreeMap;

use cloudaid_core::alike::Alike;
use cloudaid_core::record::ResultRecord;
use shared::error::ApiError;
use shared::id::{Elements, TaskRef};
use shared::ranges::RangeSet;
use shared::task::{TaskState, Verdict, VerdictKind};
use shared::view::{ElementGroupView, Tally, TaskView};

use super::{ClusterHandle, unreadable};

/// The most failed elements of which the exact ends are looked up.
const FAILURES_LIMIT: usize = 10_000;

impl ClusterHandle {
    /// One task as [`ClusterHandle::task`] gives it, and of an array its elements.
    ///
    /// # Errors
    /// Not found, or the store cannot be read.
    pub async fn show(&self, task: TaskRef) -> Result<TaskView, ApiError> {
        let alike = self.alike(task).await?;
        let mut view = self.task(task).await?;
        if view.array.is_none() || matches!(task.elements, Elements::One(_)) {
            return Ok(view);
        }
        let failed = alike.iter().any(|alike| alike.state == TaskState::Failed);
        let failures = if failed {
            let found = self.store.list_failures(task.task, task.elements, FAILURES_LIMIT).await;
            found.map_err(|error| unreadable(&error))?
        } else {
            Vec::new()
        };
        let tally = tally(&alike);
        view.state = tally.summary();
        view.elements = Some(tally);
        view.groups = groups(alike, failures);
        Ok(view)
    }

    /// The elements that were asked for, by what they have in common.
    pub(super) async fn alike(&self, task: TaskRef) -> Result<Vec<Alike>, ApiError> {
        // What the core does not have is over, and was in the store before it left the core.
        match self.read(move |cluster| cluster.alike(task)).await? {
            Some(alike) => Ok(alike),
            None => Ok(self.stored(task).await?.progress.alike(task.elements)),
        }
    }
}

/// How many elements are in each state.
pub(super) fn tally(alike: &[Alike]) -> Tally {
    let mut tally = Tally::default();
    for alike in alike {
        *tally.of(alike.state) += alike.indices.len();
    }
    tally
}

/// `failures` tell kinds of failures apart further; what they do not name keeps its kind only.
fn groups(alike: Vec<Alike>, failures: Vec<ResultRecord>) -> Vec<ElementGroupView> {
    let mut ends: BTreeMap<String, (Verdict, RangeSet)> = BTreeMap::new();
    let mut known = RangeSet::default();
    for ResultRecord { element, verdict, .. } in failures {
        known.insert(element.index);
        ends.entry(format!("{verdict:?}")).or_insert_with(|| (verdict, RangeSet::default())).1.insert(element.index);
    }
    let mut groups = Vec::new();
    for Alike { mut indices, state, worker, verdict } in alike {
        if state == TaskState::Failed {
            let told: Vec<u32> = known.iter().filter(|index| indices.contains(*index)).collect();
            for index in told {
                indices.remove(index);
            }
        }
        if !indices.is_empty() {
            let verdict = verdict.and_then(VerdictKind::whole);
            groups.push(ElementGroupView::of(&indices, state, verdict, worker));
        }
    }
    let told = ends.into_values();
    groups.extend(told.map(|(verdict, indices)| ElementGroupView::of(&indices, verdict.state(), Some(verdict), None)));
    groups.sort_by_key(|group| group.first);
    groups
}

#[cfg(test)]
mod tests {
    use shared::id::ElementId;

    use super::*;
    use crate::store::contract::fixture;

    fn alike(indices: &[u32], kind: VerdictKind) -> Alike {
        Alike { indices: indices.iter().copied().collect(), state: kind.state(), worker: None, verdict: Some(kind) }
    }

    fn shown(groups: &[ElementGroupView]) -> Vec<String> {
        let verdict =
            |group: &ElementGroupView| group.verdict.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string);
        groups.iter().map(|group| format!("{} {} {}", group.elements, group.state, verdict(group))).collect()
    }

    #[test]
    fn failures_are_told_apart_as_far_as_they_are_known() {
        let failure = |index, exit_code| {
            let element = ElementId { task: fixture::task_id(1), index };
            ResultRecord { element, ..fixture::result(1, index, Verdict::ExitCode { exit_code }) }
        };
        let all = || vec![alike(&[0, 5], VerdictKind::Success), alike(&[1, 2, 3, 4, 6], VerdictKind::ExitCode)];
        let some = groups(all(), vec![failure(1, 1), failure(2, 127), failure(3, 127)]);
        assert_eq!(
            shown(&some),
            ["0,5 completed success", "1 failed exit code 1", "2-3 failed exit code 127", "4,6 failed -"]
        );
        assert_eq!(shown(&groups(all(), vec![])), ["0,5 completed success", "1-4,6 failed -"]);
        let count = tally(&all());
        assert_eq!((count.completed, count.failed, count.summary()), (2, 5, TaskState::Failed));
    }
}
