//! What somebody does to a container at the engine, past its worker.

use std::time::Duration;

use shared::task::signal_of;

use super::effect::AgentEffect;
use super::input::Ended;
use super::journal::{JournalRecord, Starting, StopOrder, StopReason};
use super::out::Out;
use super::run::{Run, Stage, Stop};
use super::verdict;

/// What is said of a run whose container somebody has started again.
const STARTED_AGAIN: &str = "its container was started again by hand, so its program has run more than once: its log and its \
                             outputs are of all of that";
/// The same of one that may run once at most.
const STARTED_AGAIN_AND_STOPPED: &str = "its container was started again by hand, and as it may run once at most it was \
                                         stopped then: this is how it ended first, and its log and its outputs are of both";

impl Run {
    /// It has ended so, and somebody has started its container again. What may run once at most is over by that; another one
    /// goes on, and so does its time.
    pub(super) fn runs_again(&mut self, ended: &Ended, out: &mut Out<'_>) {
        let logs = match &mut self.stage {
            Stage::Running(watch) | Stage::Stopping(watch, _) => watch.logs.take(),
            Stage::Unseen(_)
            | Stage::WaitsToPrepare(_)
            | Stage::WaitsToStart
            | Stage::Preparing { .. }
            | Stage::Creating { .. }
            | Stage::Starting(_)
            | Stage::Harvesting(_)
            | Stage::Reporting(_)
            | Stage::Removing(_) => return,
        };
        self.was_started_again = true;
        // Its time counts from the first start, by the wall clock: its host may have booted since.
        let at = self.started_at.or(ended.started_at).unwrap_or(out.now.wall);
        self.started_at = Some(at);
        out.journal(JournalRecord::Starting { key: self.key, at, boot: None, again: true });
        out.emit(AgentEffect::Wait(self.key));
        self.reads_log_again = logs.is_none();
        if logs.is_some() {
            out.emit(AgentEffect::CollectLogs(self.key));
        }
        // Of one that had ended nobody has watched more than its end.
        let had_ended = std::mem::take(&mut self.has_ended);
        if had_ended {
            self.limit_again(Some(Starting { at, boot: None }), out);
        }
        if let Stage::Stopping(_, kill_at) = &mut self.stage {
            // What was asked once is not asked again.
            *kill_at = out.now.boot;
        } else if self.at_most_once {
            let first = verdict::of(ended, self.memory_limit, None);
            self.order_stop(StopOrder { grace: Duration::ZERO, reason: StopReason::StartedAgain { first } }, out);
        } else if had_ended {
            self.hold_to_limits(out);
        }
    }

    /// What there is to say of its end besides how it ended.
    pub(super) fn notes(&self, ended: Option<&Ended>) -> Vec<String> {
        let again = match (self.is_stopped_for_a_second_start(), self.was_started_again) {
            (true, _) => Some(STARTED_AGAIN_AND_STOPPED.to_owned()),
            (false, true) => Some(STARTED_AGAIN.to_owned()),
            (false, false) => None,
        };
        // Of one that no journal spoke of, that may have been its worker.
        let is_told = self.stop.is_none() && !self.is_adopted;
        let stopped = ended.filter(|ended| is_told && !ended.by_engine).and_then(stopped_by_hand);
        again.into_iter().chain(stopped).collect()
    }

    fn is_stopped_for_a_second_start(&self) -> bool {
        matches!(self.stop, Some(Stop::Order(StopOrder { reason: StopReason::StartedAgain { .. }, .. })))
    }
}

/// That somebody had it stopped, where its verdict does not say so.
fn stopped_by_hand(ended: &Ended) -> Option<String> {
    let signal = ended.by_hand.filter(|signal| signal_of(ended.code) != Some(*signal))?;
    Some(format!(
        "it was stopped by hand: somebody had the container engine send it signal {signal} shortly before it ended with exit \
         code {}",
        ended.code
    ))
}
