//! Trying again, more and more slowly.

use std::time::Duration;

use shared::time::BootTime;

/// From the first pause to the longest: fast enough to hide a hiccup, slow enough for an engine that is down.
const FIRST: Duration = Duration::from_millis(200);
const LONGEST: Duration = Duration::from_secs(7);

/// An order that may have to be given again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Pace {
    failures: u32,
    /// None while the answer is awaited.
    again_at: Option<BootTime>,
}

impl Pace {
    pub(super) fn is_in_flight(self) -> bool {
        self.again_at.is_none()
    }

    pub(super) fn failed(&mut self, now: BootTime) {
        let pause = FIRST.saturating_mul(1 << self.failures.min(10)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
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
    fn an_order_is_due_once() {
        let mut pace = Pace::default();
        assert!(pace.is_in_flight() && !pace.take_due(BootTime(u64::MAX)));
        pace.failed(BootTime(1000));
        assert!(!pace.take_due(BootTime(1199)));
        assert!(pace.take_due(BootTime(1200)));
        assert!(pace.is_in_flight() && !pace.take_due(BootTime(1200)));
    }
}
