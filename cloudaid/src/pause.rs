//! Trying again, more and more slowly, and not all at once.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(200);
const LONGEST: Duration = Duration::from_secs(7);

/// The pauses between tries.
#[derive(Debug)]
pub(crate) struct Pauses {
    failures: u32,
    longest: Duration,
}

impl Default for Pauses {
    /// Up to 7 s.
    fn default() -> Self {
        Self::up_to(LONGEST)
    }
}

impl Pauses {
    /// Pauses that are never longer.
    pub(crate) fn up_to(longest: Duration) -> Self {
        Self { failures: 0, longest }
    }

    /// The next pause: 0.2 s doubling to the longest, of which a random half is left out.
    pub(crate) fn next(&mut self) -> Duration {
        let pause = FIRST.saturating_mul(1 << self.failures.min(10)).min(self.longest);
        self.failures = self.failures.saturating_add(1);
        pause.mul_f64(0.5 + rand::random::<f64>() / 2.0)
    }

    /// It went well: the next pause is the first.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_stay_within_their_bounds() {
        let mut pauses = Pauses::default();
        let first = pauses.next();
        assert!(first >= FIRST / 2 && first <= FIRST, "{first:?}");
        let last = (0..20).map(|_| pauses.next()).last().expect("a pause");
        assert!(last >= LONGEST / 2 && last <= LONGEST, "{last:?}");
        pauses.reset();
        assert!(pauses.next() <= FIRST);
    }
}
