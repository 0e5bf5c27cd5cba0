//! How much happens in a second, from what changed between two moments.

use std::collections::VecDeque;
use std::time::Duration;

use shared::view::TaskCounts;

/// Rounds that are kept.
const HISTORY: usize = 240;

/// Rates, and how they went.
#[derive(Debug, Default)]
pub(crate) struct Rates {
    last: Option<TaskCounts>,
    /// Tasks that were submitted, in a second.
    pub(crate) submitted: f64,
    /// Tasks that ended well, in a second.
    pub(crate) completed: f64,
    /// Tasks that ended otherwise, in a second.
    pub(crate) failed: f64,
    /// Tasks that ended, by round, the newest last; in thousandths of a second.
    pub(crate) ended: VecDeque<u64>,
}

impl Rates {
    /// Takes note of how it is now, `elapsed` after the last time. A master that was started again counts anew from what
    /// its store has, so nothing is ever counted backwards.
    pub(crate) fn note(&mut self, now: TaskCounts, elapsed: Duration) {
        let seconds = elapsed.as_secs_f64();
        if let Some(before) = self.last.replace(now)
            && seconds > 0.0
        {
            let all = |counts: &TaskCounts| {
                counts.queued + counts.pending + counts.running + counts.completed + counts.failed + counts.cancelled
            };
            let rate = |before: u64, now: u64| now.saturating_sub(before) as f64 / seconds;
            self.submitted = rate(all(&before), all(&now));
            self.completed = rate(before.completed, now.completed);
            self.failed = rate(before.failed + before.cancelled, now.failed + now.cancelled);
            self.ended.push_back(((self.completed + self.failed) * 1000.0) as u64);
            if self.ended.len() > HISTORY {
                self.ended.pop_front();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changed_is_divided_by_the_time() {
        let mut rates = Rates::default();
        let counts = |queued, completed, failed| TaskCounts { queued, completed, failed, ..TaskCounts::default() };
        rates.note(counts(10, 0, 0), Duration::ZERO);
        assert_eq!((rates.submitted, rates.ended.len()), (0.0, 0));
        rates.note(counts(6, 10, 2), Duration::from_secs(2));
        assert_eq!((rates.submitted, rates.completed, rates.failed), (4.0, 5.0, 1.0));
        assert_eq!(rates.ended, [6000]);
        rates.note(counts(0, 0, 0), Duration::from_secs(2));
        assert_eq!((rates.submitted, rates.completed), (0.0, 0.0), "never backwards");
    }
}
