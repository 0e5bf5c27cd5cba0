//! Ending a run from outside: a person cancels it, or the master has given it up.

use std::time::Duration;

use shared::task::Verdict;

use super::effect::{AgentEffect, StopSignal};
use super::journal::{JournalRecord, StopOrder};
use super::out::Out;
use super::run::{Run, Stage, Stop};

impl Run {
    /// A person wants it stopped. What has not started ends at once; what has ended keeps its own end.
    pub(super) fn cancel(&mut self, grace: Duration, out: &mut Out<'_>) {
        match &mut self.stage {
            Stage::WaitsToPrepare(_) | Stage::WaitsToStart | Stage::Preparing { .. } => {
                self.finish_unstarted(Verdict::Cancelled, out);
            }
            Stage::Creating { pace, .. } if !pace.is_in_flight() => self.finish_unstarted(Verdict::Cancelled, out),
            Stage::Starting(pace) if !pace.is_in_flight() => self.abandon_start(out),
            // The engine is at work: its answer decides.
            Stage::Creating { .. } | Stage::Starting(_) => self.want_cancelled(grace, out),
            Stage::Running(_) => {
                self.want_cancelled(grace, out);
                self.terminate(Stop::Cancel { grace }, out);
            }
            Stage::Stopping(_, kill_at) => *kill_at = (*kill_at).min(out.now.boot + grace),
            Stage::Harvesting(_) | Stage::Reporting(_) | Stage::Removing(_) => {}
        }
    }

    /// The master has given it up: stop it and say nothing.
    pub(super) fn give_up(&mut self, out: &mut Out<'_>) {
        match &self.stage {
            Stage::Running(_) => {
                self.stop = Some(Stop::Discard);
                self.terminate(Stop::Discard, out);
            }
            Stage::Stopping(..) => self.stop = Some(Stop::Discard),
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
            Stage::WaitsToPrepare(_)
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

    /// Asks the running container to end.
    pub(super) fn terminate(&mut self, stop: Stop, out: &mut Out<'_>) {
        let Stage::Running(watch) = &self.stage else { return };
        let grace = match stop {
            Stop::Cancel { grace } => grace,
            Stop::Discard => self.stop_grace,
        };
        out.emit(AgentEffect::Signal(self.key, StopSignal::Term));
        self.stage = Stage::Stopping(*watch, out.now.boot + grace);
    }

    /// Stops what may have been started although the engine did not say so.
    pub(super) fn abandon_start(&mut self, out: &mut Out<'_>) {
        out.emit(AgentEffect::Signal(self.key, StopSignal::Kill));
        self.finish_unstarted(Verdict::Cancelled, out);
    }

    /// Remembers the wish, durably: after a restart it is still a person who ended the run.
    fn want_cancelled(&mut self, grace: Duration, out: &mut Out<'_>) {
        match self.stop {
            Some(Stop::Cancel { .. } | Stop::Discard) => {}
            None => {
                self.stop = Some(Stop::Cancel { grace });
                out.journal(JournalRecord::Stopping { key: self.key, order: StopOrder { grace } });
            }
        }
    }
}
