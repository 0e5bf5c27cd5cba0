//! One element: its runs, its end and its files.

use cloudaid_core::record::{AttemptRecord, Change, ClusterRecord, ResultRecord};
use shared::id::{ElementId, Fence};
use shared::task::AttemptState;

use super::Found;

/// What has been seen of an element.
#[derive(Debug)]
pub(super) struct Element {
    pub(super) id: ElementId,
    /// The numbers of its runs.
    runs: Vec<u32>,
    last_fence: Option<Fence>,
    /// Of its last run, while that is not over.
    pub(super) live: Option<AttemptState>,
    results: u32,
    last_result: Option<u32>,
}

impl Element {
    pub(super) fn new(id: ElementId) -> Self {
        Self { id, runs: Vec::new(), last_fence: None, live: None, results: 0, last_result: None }
    }

    /// The number of its last run; 0: it never ran.
    pub(super) fn last_run(&self) -> u32 {
        self.runs.last().copied().unwrap_or(0)
    }

    /// Whether it has anything that one which was never given to a worker has not.
    pub(super) fn was_touched(&self) -> bool {
        !self.runs.is_empty() || self.results > 0
    }

    pub(super) fn see(&mut self, change: &Change, cluster: Option<ClusterRecord>, found: &mut Found) {
        match change {
            Change::Attempt(attempt) => self.see_attempt(attempt, cluster, found),
            Change::Result(result) => self.see_result(result, found),
            Change::Files(key, _) if !self.runs.contains(&key.attempt) => {
                found.say(self.id, format_args!("there are files of run {}, which is not there", key.attempt));
            }
            _ => {}
        }
    }

    fn see_attempt(&mut self, attempt: &AttemptRecord, cluster: Option<ClusterRecord>, found: &mut Found) {
        let (id, number, fence) = (self.id, attempt.key.attempt, attempt.key.fence);
        if number <= self.last_run() {
            found.say(id, format_args!("run {number} comes after run {}", self.last_run()));
        }
        if self.last_fence.is_some_and(|last| fence <= last) {
            found.say(id, format_args!("the fence of run {number} is not larger than that of the one before"));
        }
        if cluster.is_some_and(|cluster| fence.0 >> 32 > u64::from(cluster.epoch.0)) {
            found.say(id, format_args!("run {number} is of a start of the master that is still to come"));
        }
        if attempt.infrastructure_failures >= number {
            found.say(id, format_args!("run {number} counts more failures than there were runs"));
        }
        if self.live.is_some() {
            found.say(id, format_args!("run {} is not over, and there is run {number}", self.last_run()));
        }
        let is_over = attempt.state == AttemptState::Ended;
        if is_over != attempt.verdict.is_some() || is_over != attempt.finished_at.is_some() {
            let has = if attempt.verdict.is_some() { "a" } else { "no" };
            found.say(id, format_args!("run {number} is {:?} and has {has} verdict", attempt.state));
        }
        self.live = (!is_over).then_some(attempt.state);
        self.last_fence = Some(fence);
        self.runs.push(number);
    }

    fn see_result(&mut self, result: &ResultRecord, found: &mut Found) {
        self.results += 1;
        self.last_result = Some(result.attempt);
        if self.results > 1 {
            found.say(self.id, "it has ended more than once");
        }
    }

    /// All of it has been seen.
    pub(super) fn finish(&self, found: &mut Found) {
        let Some(attempt) = self.last_result else { return };
        if self.live.is_some() {
            found.say(self.id, format_args!("it has ended, and run {} is not over", self.last_run()));
        }
        if attempt != self.last_run() {
            found.say(self.id, format_args!("it ended with run {attempt}, and its last run is {}", self.last_run()));
        }
    }
}
