//! What happens by time alone, apart from the silence of workers.

use std::collections::{BTreeMap, BTreeSet};

use shared::id::{AttemptKey, ElementId, TaskId, WorkerId};
use shared::time::BootTime;

/// What is due.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Alarm {
    /// A run has had its time, and its worker should have ended it by now.
    TimeLimit(AttemptKey),
    /// An element may run again after a pause.
    Rested(ElementId),
    /// An element has waited for another run, or for the lost worker that its run is kept for, as long as it may.
    WaitedAgain(ElementId),
    /// What of a task was never given to a worker has waited as long as it may.
    Waited(TaskId),
    /// What runs on a worker that is to become empty has had its time.
    Drained(WorkerId),
    /// A worker that only failed gets another chance.
    Failing(WorkerId),
    /// A worker has been here for a while that could take what is kept for lost ones.
    Kept,
}

/// Each alarm once, in the order in which they are due.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Alarms {
    due: BTreeSet<(BootTime, Alarm)>,
    at: BTreeMap<Alarm, BootTime>,
}

impl Alarms {
    /// At `at`, and not at another time that was set before.
    pub(crate) fn set(&mut self, alarm: Alarm, at: BootTime) {
        self.clear(&alarm);
        self.at.insert(alarm.clone(), at);
        self.due.insert((at, alarm));
    }

    pub(crate) fn clear(&mut self, alarm: &Alarm) {
        if let Some(at) = self.at.remove(alarm) {
            self.due.remove(&(at, alarm.clone()));
        }
    }

    pub(crate) fn is_set(&self, alarm: &Alarm) -> bool {
        self.at.contains_key(alarm)
    }

    pub(crate) fn take_due(&mut self, now: BootTime) -> Option<Alarm> {
        self.due.first().filter(|(at, _)| *at <= now)?;
        let (_, alarm) = self.due.pop_first()?;
        self.at.remove(&alarm);
        Some(alarm)
    }

    pub(crate) fn first(&self) -> Option<BootTime> {
        self.due.first().map(|(at, _)| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_due_once_and_only_when_it_was_last_set() {
        let task = |n: u128| Alarm::Waited(TaskId(ulid::Ulid(n)));
        let mut alarms = Alarms::default();
        alarms.set(task(1), BootTime(5));
        alarms.set(task(2), BootTime(4));
        alarms.set(task(1), BootTime(9));
        alarms.set(task(3), BootTime(1));
        alarms.clear(&task(3));
        assert!(alarms.is_set(&task(1)) && !alarms.is_set(&task(3)));
        assert_eq!(alarms.first(), Some(BootTime(4)));
        assert_eq!(alarms.take_due(BootTime(3)), None);
        assert_eq!(alarms.take_due(BootTime(100)), Some(task(2)));
        assert_eq!(alarms.take_due(BootTime(8)), None);
        assert_eq!(alarms.take_due(BootTime(9)), Some(task(1)));
        assert_eq!((alarms.take_due(BootTime(99)), alarms), (None, Alarms::default()));
    }
}
