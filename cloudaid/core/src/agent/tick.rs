//! What is done because time has passed.

use std::sync::Arc;
use std::time::Duration;

use shared::time::BootTime;

use super::effect::{AgentEffect, StopSignal};
use super::journal::{StopOrder, StopReason};
use super::out::Out;
use super::run::{Run, Stage};
use super::start;

/// KILL is sent again after this time: the first may have met an engine that did not answer.
const KILL_AGAIN: Duration = Duration::from_secs(7);

impl Run {
    pub(super) fn tick(&mut self, out: &mut Out<'_>) {
        let (key, now) = (self.key, out.now.boot);
        match &mut self.stage {
            Stage::Preparing { assignment, pace, .. } => {
                if pace.take_due(now) {
                    out.emit(start::prepare(assignment));
                }
            }
            Stage::Creating { assignment, pace } => {
                if pace.take_due(now) {
                    out.emit(AgentEffect::Create(Arc::clone(assignment)));
                }
            }
            Stage::Starting(pace) => {
                if pace.take_due(now) {
                    out.emit(AgentEffect::Start(key));
                }
            }
            Stage::Running(watch) => {
                if watch.wait.take_due(now) {
                    out.emit(AgentEffect::Wait(key));
                }
                if let Some(limit) = self.time_limit.filter(|_| self.deadline.is_some_and(|deadline| deadline <= now)) {
                    let order = StopOrder { grace: self.stop_grace, reason: StopReason::TimeLimit(limit) };
                    self.order_stop(order, out);
                }
            }
            Stage::Stopping(watch, kill_at) => {
                if watch.wait.take_due(now) {
                    out.emit(AgentEffect::Wait(key));
                }
                if *kill_at <= now {
                    *kill_at = now + KILL_AGAIN;
                    out.emit(AgentEffect::Signal(key, StopSignal::Kill));
                }
            }
            Stage::Removing(pace) => {
                if pace.take_due(now) {
                    out.emit(AgentEffect::Remove(key));
                }
            }
            Stage::Unseen(_)
            | Stage::WaitsToPrepare(_)
            | Stage::WaitsToStart
            | Stage::Harvesting(_)
            | Stage::Reporting(_) => {}
        }
    }

    pub(super) fn next_wake(&self) -> Option<BootTime> {
        match &self.stage {
            Stage::Preparing { pace, .. }
            | Stage::Creating { pace, .. }
            | Stage::Starting(pace)
            | Stage::Removing(pace) => pace.next_wake(),
            Stage::Running(watch) => watch.wait.next_wake().into_iter().chain(self.deadline).min(),
            Stage::Stopping(watch, kill_at) => Some(watch.wait.next_wake().map_or(*kill_at, |wait| wait.min(*kill_at))),
            Stage::Unseen(_)
            | Stage::WaitsToPrepare(_)
            | Stage::WaitsToStart
            | Stage::Harvesting(_)
            | Stage::Reporting(_) => None,
        }
    }
}
