//! Ending a run: a person cancels it, its time is up, or the master has given it up.

use std::time::Duration;

use shared::task::StoredPart;

use super::effect::{AgentEffect, StopSignal};
use super::journal::{JournalRecord, StopOrder, StopReason};
use super::out::Out;
use super::run::{Run, Stage, Stop};
use super::verdict;

impl Run {
    /// It is to end, for a reason that its end will say. What has not started ends at once; what has ended keeps its own
    /// end.
    pub(super) fn order_stop(&mut self, order: StopOrder, out: &mut Out<'_>) {
        match &mut self.stage {
            Stage::WaitsToPrepare(_) | Stage::WaitsToStart | Stage::Preparing { .. } => self.never_start(order, out),
            Stage::Creating { pace, .. } if !pace.is_in_flight() => self.never_start(order, out),
            Stage::Starting(pace) if !pace.is_in_flight() => {
                self.stop.get_or_insert(Stop::Order(order));
                self.abandon_start(out);
            }
            // The engine is at work: its answer decides.
            Stage::Unseen(_) | Stage::Creating { .. } | Stage::Starting(_) => self.remember(order, out),
            Stage::Running(_) => {
                let grace = order.grace;
                self.remember(order, out);
                self.terminate(grace, out);
            }
            Stage::Stopping(_, kill_at) => *kill_at = (*kill_at).min(out.now.boot + order.grace),
            Stage::Harvesting(_) | Stage::Reporting(_) | Stage::Removing(_) => {}
        }
    }

    fn never_start(&mut self, order: StopOrder, out: &mut Out<'_>) {
        let verdict = verdict::unstarted(&order.reason);
        self.stop.get_or_insert(Stop::Order(order));
        self.finish_unstarted(verdict, out);
    }

    /// It stores more than it may: it ends at once, because whoever is asked may go on writing. Who is being stopped for
    /// another reason is stopped for that, and now.
    pub(super) fn storage_exceeded(&mut self, used_bytes: Option<u64>, largest: Vec<StoredPart>, out: &mut Out<'_>) {
        if matches!(self.stage, Stage::Running(_) | Stage::Stopping(..)) {
            let reason = StopReason::Storage { limit_bytes: self.storage_limit, used_bytes, largest };
            self.order_stop(StopOrder { grace: Duration::ZERO, reason }, out);
        }
    }

    /// The master has given it up: stop it and say nothing.
    pub(super) fn give_up(&mut self, out: &mut Out<'_>) {
        match &self.stage {
            Stage::Running(_) => {
                self.stop = Some(Stop::Discard);
                self.terminate(self.stop_grace, out);
            }
            Stage::Unseen(_) | Stage::Stopping(..) => self.stop = Some(Stop::Discard),
            Stage::WaitsToPrepare(_)
            | Stage::WaitsToStart
            | Stage::Preparing { .. }
            | Stage::Creating { .. }
            | Stage::Starting(_)
            | Stage::Harvesting(_)
            | Stage::Reporting(_)
            | Stage::Removing(_) => self.forget(out),
        }
    }

    /// Its end is known, or nobody wants it: remove what is left, at once if the engine is not at work on it.
    pub(super) fn forget(&mut self, out: &mut Out<'_>) {
        self.stop = Some(Stop::Discard);
        match &self.stage {
            Stage::Creating { pace, .. } | Stage::Starting(pace) if pace.is_in_flight() => {}
            Stage::Unseen(_)
            | Stage::WaitsToPrepare(_)
            | Stage::WaitsToStart
            | Stage::Preparing { .. }
            | Stage::Creating { .. }
            | Stage::Starting(_)
            | Stage::Running(_)
            | Stage::Stopping(..)
            | Stage::Harvesting(_)
            | Stage::Reporting(_) => self.remove(out),
            Stage::Removing(_) => {}
        }
    }

    /// It runs now: if it was to end before that, it is asked to.
    pub(super) fn terminate_if_ordered(&mut self, out: &mut Out<'_>) {
        let grace = match &self.stop {
            Some(Stop::Order(order)) => order.grace,
            Some(Stop::Discard) => self.stop_grace,
            None => return,
        };
        self.terminate(grace, out);
    }

    /// Asks the running container to end.
    fn terminate(&mut self, grace: Duration, out: &mut Out<'_>) {
        let Stage::Running(watch) = &self.stage else { return };
        out.emit(AgentEffect::Signal(self.key, StopSignal::Term));
        self.stage = Stage::Stopping(*watch, out.now.boot + grace);
    }

    /// Stops what may have been started although the engine did not say so.
    pub(super) fn abandon_start(&mut self, out: &mut Out<'_>) {
        out.emit(AgentEffect::Signal(self.key, StopSignal::Kill));
        self.finish_unstarted(verdict::stopped(self.stop.as_ref()), out);
    }

    /// Remembers the order, durably: after a restart the reason is still the same.
    fn remember(&mut self, order: StopOrder, out: &mut Out<'_>) {
        match self.stop {
            Some(Stop::Order(_) | Stop::Discard) => {}
            None => {
                self.stop = Some(Stop::Order(order.clone()));
                out.journal(JournalRecord::Stopping { key: self.key, order });
            }
        }
    }
}
