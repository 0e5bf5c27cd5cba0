//! Which of the agent's reports are acknowledged.

use std::collections::BTreeMap;

use shared::id::AttemptKey;

/// An acknowledgement covers all reports up to a number, so one that is owed holds back those behind it.
#[derive(Debug, Default)]
pub(super) struct Acks {
    /// Number of the last report.
    last: u64,
    /// Ends that the master has not acknowledged, by the number of their report.
    owed: BTreeMap<u64, AttemptKey>,
    /// Said to the agent.
    said: u64,
}

impl Acks {
    /// A report came that needs nobody's acknowledgement but ours.
    pub(super) fn take(&mut self, sequence: u64) {
        self.last = self.last.max(sequence);
    }

    /// An end was reported, and the master is to acknowledge it.
    pub(super) fn owe(&mut self, sequence: u64, key: AttemptKey) {
        self.take(sequence);
        self.owed.insert(sequence, key);
    }

    /// The master has acknowledged an end.
    pub(super) fn settle(&mut self, key: AttemptKey) {
        self.owed.retain(|_, owed| *owed != key);
    }

    /// Up to where to acknowledge now, if that is more than before.
    pub(super) fn due(&mut self) -> Option<u64> {
        let through = self.owed.keys().next().map_or(self.last, |first| first.saturating_sub(1));
        (through > self.said).then(|| {
            self.said = through;
            through
        })
    }
}

#[cfg(test)]
mod tests {
    use shared::id::Fence;

    use super::*;

    fn key(fence: u64) -> AttemptKey {
        let task = "task-01arz3ndektsv4rrffq69g5fav".parse().expect("an id");
        AttemptKey { task, index: 0, attempt: 1, fence: Fence(fence) }
    }

    #[test]
    fn an_end_that_is_owed_holds_back_what_is_behind_it() {
        let mut acks = Acks::default();
        assert_eq!(acks.due(), None);
        acks.take(1);
        assert_eq!((acks.due(), acks.due()), (Some(1), None));
        acks.owe(2, key(7));
        acks.take(3);
        acks.owe(4, key(8));
        assert_eq!(acks.due(), None);
        acks.settle(key(8));
        assert_eq!(acks.due(), None);
        acks.settle(key(7));
        assert_eq!((acks.due(), acks.due()), (Some(4), None));
    }

    #[test]
    fn an_end_that_was_reported_twice_is_settled_once() {
        let mut acks = Acks::default();
        acks.owe(1, key(7));
        acks.owe(2, key(7));
        acks.settle(key(7));
        assert_eq!(acks.due(), Some(2));
    }
}
