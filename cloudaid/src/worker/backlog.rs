//! What is to be done and may have to wait, because nothing is done before the journal has what it must not forget.
//!
//! Mostly nothing waits. When the journal finds no room on its disk, what needs none goes on, what has been said to the core
//! stays said, and the rest is done in its order when there is room: the worker does not end, and says nothing that it may
//! forget. First it is what begins that waits, so that what is kept of the disk is there for what ends.

use std::collections::BTreeSet;

use cloudaid_core::agent::{AgentEffect, JournalRecord};
use shared::id::AttemptKey;

/// Effects of any number of steps.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    /// What is to be made durable before anything of the same run is done.
    pub(super) records: Vec<JournalRecord>,
    /// What is done then, in this order.
    pub(super) orders: Vec<AgentEffect>,
}

/// What has to wait for room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Waits {
    Nothing,
    /// Runs that begin.
    Beginnings,
    /// All runs of which something is to be made durable.
    Records,
}

impl Waits {
    /// The less has to wait the better.
    pub(super) const ALL: [Self; 3] = [Self::Nothing, Self::Beginnings, Self::Records];
}

impl Backlog {
    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty() && self.orders.is_empty()
    }

    /// Adds what follows from the next step.
    pub(super) fn add(&mut self, effects: Vec<AgentEffect>) {
        for effect in effects {
            match effect {
                AgentEffect::Journal(record) => self.records.push(record),
                // Signals are sent again and again; once is enough for who has heard none.
                signal @ AgentEffect::Signal(..) if self.orders.contains(&signal) => {}
                order => self.orders.push(order),
            }
        }
    }

    /// Takes out what can be done while this waits.
    pub(super) fn take(&mut self, waits: Waits) -> Self {
        let waiting: BTreeSet<AttemptKey> = match waits {
            Waits::Nothing => return std::mem::take(self),
            Waits::Beginnings => {
                let begins = |record: &&JournalRecord| matches!(record, JournalRecord::Accepted(_));
                self.records.iter().filter(begins).map(JournalRecord::key).collect()
            }
            Waits::Records => self.records.iter().map(JournalRecord::key).collect(),
        };
        let (kept, records) =
            std::mem::take(&mut self.records).into_iter().partition(|record| waiting.contains(&record.key()));
        self.records = kept;
        // Also of what is said: it is numbered when that is done, so that nobody waits for what others have to say.
        let stays = |order: &AgentEffect| run_of(order).is_some_and(|key| waiting.contains(&key));
        let (kept, orders) = std::mem::take(&mut self.orders).into_iter().partition(stays);
        self.orders = kept;
        Self { records, orders }
    }

    /// What was taken out has to wait too.
    pub(super) fn put_back(&mut self, taken: Self) {
        let later = std::mem::replace(self, taken);
        self.records.extend(later.records);
        self.orders.extend(later.orders);
    }

    /// The session has ended, and what was to be said in it is not said any more: the next begins with everything.
    pub(super) fn end_session(&mut self) {
        self.orders.retain(|order| !is_said(order));
    }
}

fn is_said(order: &AgentEffect) -> bool {
    matches!(order, AgentEffect::Report(_) | AgentEffect::Answer(_))
}

/// Whose it is, if it is of one run.
fn run_of(effect: &AgentEffect) -> Option<AttemptKey> {
    match effect {
        AgentEffect::Journal(record) => Some(record.key()),
        AgentEffect::Create(assignment) => Some(assignment.key),
        AgentEffect::Prepare { key, .. }
        | AgentEffect::WatchStorage { key, .. }
        | AgentEffect::Start(key)
        | AgentEffect::Wait(key)
        | AgentEffect::Signal(key, _)
        | AgentEffect::CollectLogs(key)
        | AgentEffect::HoldForLog(key)
        | AgentEffect::UploadOutputs(key)
        | AgentEffect::Remove(key) => Some(*key),
        AgentEffect::Report(report) => Some(report.key),
        AgentEffect::ListContainers { .. } | AgentEffect::Answer(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use cloudaid_core::agent::{StopOrder, StopReason, StopSignal};
    use shared::id::Fence;
    use shared::link::{AttemptChange, Inventory, Report};
    use shared::pull::PullPolicy;

    use super::*;
    use crate::worker::tests::{assignment, key};

    fn accepted(index: u32) -> AgentEffect {
        AgentEffect::Journal(JournalRecord::Accepted(assignment(index).into()))
    }

    fn prepare(index: u32) -> AgentEffect {
        let image = "test".to_owned();
        AgentEffect::Prepare { key: key(index), image, pull: PullPolicy::Missing, input: None }
    }

    fn stopping(index: u32) -> AgentEffect {
        let order = StopOrder { grace: std::time::Duration::ZERO, reason: StopReason::Lease };
        AgentEffect::Journal(JournalRecord::Stopping { key: key(index), order })
    }

    fn signal(index: u32, signal: StopSignal) -> AgentEffect {
        AgentEffect::Signal(key(index), signal)
    }

    fn report(index: u32) -> AgentEffect {
        AgentEffect::Report(Report { sequence: 0, key: key(index), change: AttemptChange::Preparing })
    }

    fn answer() -> AgentEffect {
        let inventory = Inventory {
            horizon: Fence(1),
            held: Vec::new(),
            adopted: Vec::new(),
            lost: Vec::new(),
            leaving: Vec::new(),
            containers: 0,
            problem: None,
        };
        AgentEffect::Answer(inventory)
    }

    fn backlog(effects: Vec<AgentEffect>) -> Backlog {
        let mut backlog = Backlog::default();
        backlog.add(effects);
        backlog
    }

    /// All of it, records first.
    fn all(backlog: Backlog) -> Vec<AgentEffect> {
        backlog.records.into_iter().map(AgentEffect::Journal).chain(backlog.orders).collect()
    }

    #[test]
    fn what_begins_waits_first_and_then_all_that_is_to_be_durable() {
        let term = || signal(1, StopSignal::Term);
        let wait = || AgentEffect::Wait(key(2));
        let effects = || vec![accepted(0), prepare(0), stopping(1), term(), wait()];
        assert_eq!(
            all(backlog(effects()).take(Waits::Nothing)),
            [accepted(0), stopping(1), prepare(0), term(), wait()]
        );

        let mut waiting = backlog(effects());
        assert_eq!(all(waiting.take(Waits::Beginnings)), [stopping(1), term(), wait()]);
        assert_eq!(all(waiting), [accepted(0), prepare(0)]);

        let mut waiting = backlog(effects());
        assert_eq!(all(waiting.take(Waits::Records)), [wait()]);
        assert_eq!(all(waiting), [accepted(0), stopping(1), prepare(0), term()]);
    }

    #[test]
    fn who_waits_silences_nobody_else() {
        let mut waiting = backlog(vec![report(1), accepted(0), report(0), report(2), answer(), prepare(1)]);
        assert_eq!(all(waiting.take(Waits::Beginnings)), [report(1), report(2), answer(), prepare(1)]);
        assert_eq!(all(waiting), [accepted(0), report(0)]);
    }

    #[test]
    fn what_is_put_back_comes_first_again() {
        let mut waiting = backlog(vec![prepare(0), accepted(1), prepare(1), prepare(0), prepare(1)]);
        let taken = waiting.take(Waits::Beginnings);
        waiting.add(vec![AgentEffect::Start(key(0)), AgentEffect::Start(key(1))]);
        waiting.put_back(taken);
        let of = |index, effects: &[AgentEffect]| {
            effects.iter().filter(|effect| run_of(effect) == Some(key(index))).cloned().collect::<Vec<_>>()
        };
        let orders = all(waiting);
        assert_eq!(of(0, &orders), [prepare(0), prepare(0), AgentEffect::Start(key(0))]);
        assert_eq!(of(1, &orders), [accepted(1), prepare(1), prepare(1), AgentEffect::Start(key(1))]);
    }

    #[test]
    fn a_session_takes_with_it_what_was_to_be_said() {
        let mut waiting = backlog(vec![accepted(0), report(0), prepare(0), answer()]);
        waiting.end_session();
        assert_eq!(all(waiting), [accepted(0), prepare(0)]);
    }

    #[test]
    fn who_cannot_be_signalled_is_not_signalled_more_and_more() {
        let mut waiting = backlog(vec![stopping(0), signal(0, StopSignal::Term)]);
        (0..9).for_each(|_| waiting.add(vec![signal(0, StopSignal::Kill)]));
        assert_eq!(all(waiting), [stopping(0), signal(0, StopSignal::Term), signal(0, StopSignal::Kill)]);
    }
}
