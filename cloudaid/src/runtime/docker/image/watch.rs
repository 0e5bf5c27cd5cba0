//! When a pull is given up.

use std::time::{Duration, Instant};

/// How long a pull may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PullLimits {
    /// While not a byte comes, and no layer gets any further.
    pub stall: Duration,
    /// In all.
    pub total: Duration,
}

impl Default for PullLimits {
    /// A registry that has sent nothing for five minutes sends nothing any more; Docker itself waits for ever. Four hours are
    /// enough for 10 GB at 10 Mbit/s, which take 2.2.
    fn default() -> Self {
        Self { stall: Duration::from_secs(5 * 60), total: Duration::from_secs(4 * 60 * 60) }
    }
}

/// Looks at one pull.
#[derive(Debug, Clone, Copy)]
pub(super) struct Watch {
    limits: PullLimits,
    began: Instant,
    /// When it last got any further.
    moved: Instant,
}

/// What was too long, and how long that was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TooLong {
    Stalled(Duration),
    InAll(Duration),
}

impl Watch {
    pub(super) fn begin(limits: PullLimits, now: Instant) -> Self {
        Self { limits, began: now, moved: now }
    }

    /// It got further.
    pub(super) fn moved(&mut self, now: Instant) {
        self.moved = now;
    }

    /// Whether it is to be given up. The clock stands still while the machine sleeps.
    pub(super) fn too_long(&self, now: Instant) -> Option<TooLong> {
        let PullLimits { stall, total } = self.limits;
        if now.duration_since(self.began) >= total {
            return Some(TooLong::InAll(total));
        }
        (now.duration_since(self.moved) >= stall).then_some(TooLong::Stalled(stall))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_moves_is_given_up_only_when_it_takes_too_long_in_all() {
        let limits = PullLimits { stall: Duration::from_secs(10), total: Duration::from_secs(35) };
        let began = Instant::now();
        let at = |seconds| began + Duration::from_secs(seconds);
        let mut watch = Watch::begin(limits, began);
        assert_eq!((watch.too_long(at(9)), watch.too_long(at(10))), (None, Some(TooLong::Stalled(limits.stall))));
        for second in [9, 18, 27] {
            watch.moved(at(second));
            assert_eq!(watch.too_long(at(second + 7)), None);
        }
        assert_eq!(watch.too_long(at(35)), Some(TooLong::InAll(limits.total)));
    }
}
