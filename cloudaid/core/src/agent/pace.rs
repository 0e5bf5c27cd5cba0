//! Trying again, more and more slowly.

use std::time::Duration;

use shared::time::BootTime;

/// From the first pause to the longest: fast enough to hide a hiccup, slow enough for an engine that is down.
const FIRST: Duration = Duration::from_millis(200);
const LONGEST: Duration = Duration::from_secs(7);

/// The same for what is not on this machine: a registry that limits its rate only gets slower by being asked.
const FIRST_FAR: Duration = Duration::from_secs(1);
const LONGEST_FAR: Duration = Duration::from_secs(60);

/// An order that may have to be given again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Pace {
    failures: u32,
    /// When the first of them was.
    failing_since: Option<BootTime>,
    /// None while the answer is awaited.
    again_at: Option<BootTime>,
}

impl Pace {
    pub(super) fn is_in_flight(self) -> bool {
        self.again_at.is_none()
    }

    /// Something on this machine did not do it.
    pub(super) fn failed(&mut self, now: BootTime) {
        self.wait(now, FIRST, LONGEST);
    }

    /// Something far away did not do it.
    pub(super) fn failed_far(&mut self, now: BootTime) {
        self.wait(now, FIRST_FAR, LONGEST_FAR);
    }

    /// Whether it has failed again and again for that long.
    pub(super) fn has_failed_for(self, time: Duration, now: BootTime) -> bool {
        self.failing_since.is_some_and(|since| now.since(since) >= time)
    }

    fn wait(&mut self, now: BootTime, first: Duration, longest: Duration) {
        let pause = first.saturating_mul(1 << self.failures.min(10)).min(longest);
        self.failures = self.failures.saturating_add(1);
        self.failing_since.get_or_insert(now);
        self.again_at = Some(now + pause);
    }

    /// Whether to give the order again now; if so, its answer is awaited.
    pub(super) fn take_due(&mut self, now: BootTime) -> bool {
        let due = self.again_at.is_some_and(|at| at <= now);
        if due {
            self.again_at = None;
        }
        due
    }

    pub(super) fn next_wake(self) -> Option<BootTime> {
        self.again_at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_seven_seconds() {
        let mut pace = Pace::default();
        let pauses: Vec<_> = (0..8)
            .map(|_| {
                pace.failed(BootTime(0));
                pace.next_wake().expect("a pause").0
            })
            .collect();
        assert_eq!(pauses, [200, 400, 800, 1600, 3200, 6400, 7000, 7000]);
    }

    #[test]
    fn what_is_far_away_is_asked_up_to_once_a_minute() {
        let mut pace = Pace::default();
        let pauses: Vec<_> = (0..8)
            .map(|_| {
                pace.failed_far(BootTime(0));
                pace.next_wake().expect("a pause").0
            })
            .collect();
        assert_eq!(pauses, [1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000]);
    }

    #[test]
    fn failures_count_from_the_first_one() {
        let mut pace = Pace::default();
        let minute = Duration::from_secs(60);
        assert!(!pace.has_failed_for(minute, BootTime(u64::MAX)));
        pace.failed(BootTime(1000));
        pace.failed(BootTime(50_000));
        assert!(!pace.has_failed_for(minute, BootTime(60_999)));
        assert!(pace.has_failed_for(minute, BootTime(61_000)));
    }

    #[test]
    fn an_order_is_due_once() {
        let mut pace = Pace::default();
        assert!(pace.is_in_flight() && !pace.take_due(BootTime(u64::MAX)));
        pace.failed(BootTime(1000));
        assert!(!pace.take_due(BootTime(1199)));
        assert!(pace.take_due(BootTime(1200)));
        assert!(pace.is_in_flight() && !pace.take_due(BootTime(1200)));
    }
}
