//! The heartbeats of a session, and which of them have arrived.

use std::collections::VecDeque;

use shared::time::BootTime;

/// The most that are remembered; a master that answers none of so many is not there.
const LIMIT: usize = 1024;

/// Heartbeats that nothing is known of, by their number.
#[derive(Debug, Default)]
pub(super) struct Pulse {
    last: u64,
    sent: VecDeque<(u64, BootTime)>,
}

impl Pulse {
    /// The number of the next one, which is sent now.
    pub(super) fn beat(&mut self, now: BootTime) -> u64 {
        self.last += 1;
        if self.sent.len() == LIMIT {
            self.sent.pop_front();
        }
        self.sent.push_back((self.last, now));
        self.last
    }

    /// When it was sent. Those before it have arrived too, and matter no more.
    pub(super) fn arrived(&mut self, number: u64) -> Option<BootTime> {
        let arrived = self.sent.partition_point(|(sent, _)| *sent <= number);
        let (last, at) = self.sent.drain(..arrived).next_back()?;
        (last == number).then_some(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_arrived_says_when_it_was_sent() {
        let mut pulse = Pulse::default();
        assert_eq!([5, 6, 7].map(|at| pulse.beat(BootTime(at))), [1, 2, 3]);
        assert_eq!(pulse.arrived(2), Some(BootTime(6)));
        assert_eq!(pulse.arrived(2), None, "once");
        assert_eq!(pulse.arrived(1), None);
        assert_eq!(pulse.arrived(9), None, "there is no such heartbeat");
        assert_eq!(pulse.arrived(3), None);
    }

    #[test]
    fn not_all_are_remembered() {
        let mut pulse = Pulse::default();
        for at in 0..5000 {
            pulse.beat(BootTime(at));
        }
        assert_eq!(pulse.sent.len(), LIMIT);
        assert_eq!(pulse.arrived(5000), Some(BootTime(4999)));
    }
}
