//! The worker is being stopped, and does not leave its runs alone.

use shared::time::Now;

use super::Agent;
use super::effect::AgentEffect;
use super::journal::{StopOrder, StopReason};
use super::out::Out;
use super::run::{Run, Stage};

impl Agent {
    /// Takes nothing new from now on; with `hand_back` what is here is stopped, to run elsewhere.
    pub(super) fn leave(&mut self, now: Now, hand_back: bool, effects: &mut Vec<AgentEffect>) {
        self.leaving = true;
        let keys: Vec<_> =
            self.runs.iter().filter(|(_, run)| hand_back && !run.is_left_alone()).map(|(key, _)| *key).collect();
        for key in keys {
            self.on_run(now, key, effects, Run::hand_back);
        }
    }

    /// Whether nothing is left that a worker that leaves waits for. What may run once at most goes on without it, and so does
    /// what only the engine could tell of, which does not answer.
    #[must_use]
    pub fn may_leave(&self, hand_back: bool) -> bool {
        let is_unseen = |run: &Run| matches!(run.stage, Stage::Unseen(_));
        self.runs.values().all(|run| is_unseen(run) || hand_back && run.is_left_alone())
    }
}

impl Run {
    /// What may run once at most and may have begun is not given back, because it would not be run again.
    fn is_left_alone(&self) -> bool {
        self.at_most_once && self.may_run()
    }

    /// Stops it, and gives it back for another worker.
    pub(super) fn hand_back(&mut self, out: &mut Out<'_>) {
        match &self.stage {
            Stage::Stopping(..) | Stage::Harvesting(_) | Stage::Reporting(_) | Stage::Removing(_) => {}
            Stage::Running(_) if self.has_ended => {}
            Stage::Unseen(_)
            | Stage::WaitsToPrepare(_)
            | Stage::WaitsToStart
            | Stage::Preparing { .. }
            | Stage::Creating { .. }
            | Stage::Starting(_)
            | Stage::Running(_) => {
                let order = StopOrder { grace: self.stop_grace, reason: StopReason::HandedBack };
                self.order_stop(order, out);
            }
        }
    }
}
