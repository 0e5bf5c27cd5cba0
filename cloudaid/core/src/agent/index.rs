//! What is asked for after every batch, kept beside the runs: to look at all of them each time would cost more than
//! everything else where a worker holds thousands.

use std::collections::{BTreeMap, BTreeSet};

use shared::id::AttemptKey;
use shared::time::BootTime;

use super::run::Run;

/// Follows from the runs; [`Index::update`] is called for each run that may have changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Index {
    wakes: BTreeSet<(BootTime, AttemptKey)>,
    wake_of: BTreeMap<AttemptKey, BootTime>,
    running: BTreeSet<AttemptKey>,
    leased: BTreeSet<AttemptKey>,
}

impl Index {
    /// The index of all runs.
    pub(super) fn of(runs: &BTreeMap<AttemptKey, Run>) -> Self {
        let mut index = Self::default();
        runs.iter().for_each(|(key, run)| index.update(*key, Some(run)));
        index
    }

    /// The run has changed, or is gone.
    pub(super) fn update(&mut self, key: AttemptKey, run: Option<&Run>) {
        let wake = run.and_then(Run::next_wake);
        if self.wake_of.get(&key).copied() != wake {
            if let Some(old) = self.wake_of.remove(&key) {
                self.wakes.remove(&(old, key));
            }
            if let Some(new) = wake {
                self.wake_of.insert(key, new);
                self.wakes.insert((new, key));
            }
        }
        let list = |set: &mut BTreeSet<AttemptKey>, listed: bool| {
            let _ = if listed { set.insert(key) } else { set.remove(&key) };
        };
        list(&mut self.running, run.is_some_and(Run::may_run));
        list(&mut self.leased, run.is_some_and(Run::is_leased));
    }

    /// The first time at which something is due.
    pub(super) fn next_wake(&self) -> Option<BootTime> {
        self.wakes.first().map(|(wake, _)| *wake)
    }

    /// The runs for which something is due.
    pub(super) fn due(&self, now: BootTime) -> Vec<AttemptKey> {
        self.wakes.iter().take_while(|(wake, _)| *wake <= now).map(|(_, key)| *key).collect()
    }

    /// The runs that end with the lease.
    pub(super) fn leased(&self) -> &BTreeSet<AttemptKey> {
        &self.leased
    }

    /// How many runs may have a container that runs.
    pub(super) fn running(&self) -> usize {
        self.running.len()
    }
}
