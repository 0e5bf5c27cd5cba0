//! A worker on which everything fails at once takes in all that waits, and ruins it: a black hole. It is left out for a
//! while, if others show that it is the worker and not the work.

use std::collections::BTreeSet;
use std::time::Duration;

use shared::id::TaskId;
use shared::time::BootTime;

/// A run that ends within this time after it was placed has hardly begun.
const QUICK: Duration = Duration::from_secs(10);
/// How many quick failures in a row, and of how many tasks at least, where no run of them shows that it is not the task.
const RUNS: u32 = 10;
const TASKS: usize = 3;
/// How long it gets nothing then. After that one more is enough.
pub(crate) const LEFT_OUT: Duration = Duration::from_secs(5 * 60);

/// What a worker has made of its last runs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Failing {
    runs: u32,
    tasks: BTreeSet<TaskId>,
    since: BootTime,
    /// When a container was last lost there at once.
    lost_at: Option<BootTime>,
    /// When a run last did anything else there than to fail at once.
    good_at: Option<BootTime>,
    /// Of which task the last runs went well, and how many in a row.
    well: Option<(TaskId, u32)>,
    /// Whether it gets no new work.
    pub(crate) is_left_out: bool,
}

/// How a run ended, as far as this matters.
#[derive(Debug, Clone, Copy)]
pub(crate) struct End {
    pub(crate) task: TaskId,
    pub(crate) took: Duration,
    /// Whether it was stopped by somebody, so that it says nothing.
    pub(crate) says_nothing: bool,
    pub(crate) failed: bool,
    /// Whether its container was lost, which was not its fault.
    pub(crate) lost: bool,
}

impl Failing {
    /// A run has ended there.
    pub(crate) fn ended(&mut self, now: BootTime, end: End) {
        // What is lost later may have fallen with the machine or its engine; and so may all that is lost at the same time.
        let is_same_loss = || self.lost_at.is_some_and(|at| now.since(at) < QUICK);
        if end.says_nothing || end.lost && (end.took > QUICK || is_same_loss()) {
            return;
        }
        if end.lost {
            self.lost_at = Some(now);
        }
        if !end.failed || end.took > QUICK {
            let before = self.well.filter(|(task, _)| *task == end.task).map_or(0, |(_, runs)| runs);
            let well = (!end.failed).then(|| (end.task, before.saturating_add(1)));
            *self = Self { good_at: Some(now), well, is_left_out: self.is_left_out, ..Self::default() };
            return;
        }
        self.well = None;
        if self.runs == 0 {
            self.since = now;
        }
        self.runs = self.runs.saturating_add(1);
        if self.tasks.len() < TASKS {
            self.tasks.insert(end.task);
        }
    }

    /// Whether all fails there, while elsewhere it does not: several tasks, or one of which as many runs in a row went well at
    /// another worker.
    pub(crate) fn is_black_hole<'a>(&self, mut others: impl Iterator<Item = &'a Self>) -> bool {
        let is_of_several = self.tasks.len() >= TASKS;
        let shows_it = |other: &Self| {
            let goes_well = other.well.is_some_and(|(task, runs)| self.tasks.contains(&task) && runs >= RUNS);
            other.good_at.is_some_and(|at| at >= self.since) && (is_of_several || goes_well)
        };
        self.runs >= RUNS && !self.is_left_out && others.any(shows_it)
    }

    /// The tasks of its failures in a row; of more than three, three.
    pub(crate) fn tasks(&self) -> impl Iterator<Item = TaskId> {
        self.tasks.iter().copied()
    }

    /// Why it is left out, for people.
    pub(crate) fn describe(&self) -> Option<String> {
        self.is_left_out.then(|| {
            format!(
                "its last {} runs all failed at once, while those of others did not: it gets no new ones for {} min",
                self.runs,
                LEFT_OUT.as_secs() / 60
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(task: u128, seconds: u64, failed: bool) -> End {
        let task = TaskId(ulid::Ulid(task));
        End { task, took: Duration::from_secs(seconds), says_nothing: false, failed, lost: false }
    }

    fn after(ends: impl IntoIterator<Item = End>) -> Failing {
        let mut failing = Failing::default();
        ends.into_iter().for_each(|end| failing.ended(BootTime(7), end));
        failing
    }

    #[test]
    fn it_takes_ten_quick_failures_of_three_tasks_and_another_worker_that_does_well() {
        let well = after([end(1, 1, false)]);
        let bad = |tasks: u128| after((0..10).map(|n| end(n % tasks, 1, true)));
        assert!(bad(3).is_black_hole([&well].into_iter()));
        assert!(!bad(2).is_black_hole([&well].into_iter()), "it may be the tasks");
        assert!(!bad(3).is_black_hole([&bad(3)].into_iter()), "it is so everywhere");
        assert!(!bad(3).is_black_hole([].into_iter()), "nobody knows");
        assert!(!after((0..9).map(|n| end(n, 1, true))).is_black_hole([&well].into_iter()));
    }

    #[test]
    fn anything_else_than_a_quick_failure_ends_the_row() {
        let well = after([end(1, 1, false)]);
        let row = || (0..9).map(|n| end(n, 1, true));
        for other in [end(9, 1, false), end(9, 60, true)] {
            assert!(!after(row().chain([other]).chain(row())).is_black_hole([&well].into_iter()));
        }
        let late = End { lost: true, ..end(9, 60, true) };
        assert!(after(row().chain([late, end(1, 1, true)])).is_black_hole([&well].into_iter()));
        let stopped = End { says_nothing: true, ..end(9, 1, true) };
        assert!(after(row().chain([stopped, end(1, 1, true)])).is_black_hole([&well].into_iter()));
    }

    #[test]
    fn containers_that_are_lost_one_time_after_the_other_count_like_failures() {
        let well = after([end(1, 1, false)]);
        let lost = |seconds: u64| {
            let mut failing = Failing::default();
            for n in 0..10 {
                failing.ended(BootTime(n * seconds * 1000), End { lost: true, ..end(n.into(), 1, true) });
            }
            failing.is_black_hole([&well].into_iter())
        };
        assert!(lost(10));
        assert!(!lost(1), "an engine that falls takes all with it, once");
    }

    #[test]
    fn one_array_is_enough_where_it_goes_well_elsewhere() {
        let bad = after((0..10).map(|_| end(1, 1, true)));
        let elsewhere = |task: u128, runs: u32| after((0..runs).map(|_| end(task, 1, false)));
        assert!(bad.is_black_hole([&elsewhere(1, 10)].into_iter()));
        assert!(!bad.is_black_hole([&elsewhere(1, 9)].into_iter()), "some of them fail, and it may be chance");
        assert!(!bad.is_black_hole([&elsewhere(2, 10)].into_iter()), "it may be the task");
        let mixed = after((0..30).map(|n| end(1, 1, n % 7 != 0)));
        assert!(!bad.is_black_hole([&mixed].into_iter()), "most of them fail everywhere");
    }
}
