//! After a cancel was acknowledged its elements get no new run, and they end; and nothing is cancelled that nobody
//! wanted cancelled.

use std::collections::{BTreeMap, BTreeSet};

use cloudaid_core::record::AttemptRecord;
use cloudaid_core::testkit::Saved;
use shared::id::{ElementId, TaskRef};

use crate::sim::Check;

/// What clients wanted, and what they were told.
#[derive(Debug, Default)]
pub(crate) struct Cancels {
    requested: BTreeSet<TaskRef>,
    /// The number of runs that each element had when its cancel was acknowledged.
    acknowledged: BTreeMap<ElementId, u32>,
}

impl Cancels {
    pub(crate) fn requested(&mut self, target: TaskRef) {
        self.requested.insert(target);
    }

    pub(crate) fn acknowledged(&mut self, saved: &Saved, target: TaskRef) -> Check {
        let TaskRef { task, elements } = target;
        let (first, last) = elements.bounds();
        let (record, _) = saved.tasks.get(&task).ok_or_else(|| format!("{target} was cancelled and never made"))?;
        for index in record.indices().within(first, last).iter() {
            let runs = saved.attempts.range((task, index, 0)..=(task, index, u32::MAX)).count() as u32;
            self.acknowledged.entry(ElementId { task, index }).or_insert(runs);
        }
        Ok(())
    }

    /// A cancel is refused only where everything is over already.
    pub(crate) fn refused(&self, saved: &Saved, target: TaskRef) -> Check {
        let (first, last) = target.elements.bounds();
        let over = saved.tasks.get(&target.task).is_some_and(|(record, _)| {
            let wanted = record.indices().within(first, last);
            wanted.iter().all(|index| saved.results.contains_key(&(target.task, index)))
        });
        if over { Ok(()) } else { Err(format!("the cancel of {target} was refused, but it is not over")) }
    }

    /// A run was recorded.
    pub(crate) fn check(&self, attempt: &AttemptRecord) -> Check {
        match self.acknowledged.get(&attempt.key.element()) {
            Some(runs) if attempt.key.attempt > *runs => Err(format!("{} was placed after its cancel", attempt.key)),
            _ => Ok(()),
        }
    }

    pub(crate) fn was_requested(&self, element: ElementId) -> bool {
        let ElementId { task, index } = element;
        let mut of_task = self.requested.range(TaskRef::from(task)..).take_while(|target| target.task == task);
        of_task.any(|target| target.elements.include(index))
    }

    /// Elements whose cancel was acknowledged and that have no end.
    pub(crate) fn open(&self, saved: &Saved) -> Option<ElementId> {
        self.acknowledged.keys().copied().find(|element| !saved.results.contains_key(&(element.task, element.index)))
    }
}
