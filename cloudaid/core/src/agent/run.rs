//! One run: where it stands, and what it says of itself.

use std::sync::Arc;
use std::time::Duration;

use shared::id::AttemptKey;
use shared::link::{Assignment, AttemptChange, ContainerUsage, Decision, Outcome, Phase, RunLimits};
use shared::task::Verdict;
use shared::time::{BootTime, WallTime};

use super::effect::AgentEffect;
use super::input::LogBytes;
use super::journal::{JournalEntry, StopOrder};
use super::out::Out;
use super::pace::Pace;

/// Between TERM and KILL where the assignment is not known any more. As `docker stop` has it by default.
pub(super) const DEFAULT_GRACE: Duration = Duration::from_secs(10);

/// The container of a run, as people find it in the engine. Nothing is ever decided by it.
#[must_use]
pub fn container_name(key: &AttemptKey) -> String {
    format!("cloudai-{}.{}-{}", key.task.0.to_string().to_ascii_lowercase(), key.index, key.attempt)
}

/// One run of one element.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) key: AttemptKey,
    /// 0 where it is not known.
    pub(super) memory_limit: u64,
    /// In bytes; 0 where it is not known, and not watched.
    pub(super) storage_limit: u64,
    /// Whether that is only reserved for it.
    pub(super) storage_reserved: bool,
    pub(super) stop_grace: Duration,
    /// How long its container may run.
    pub(super) time_limit: Option<Duration>,
    /// When that is over; none until it runs.
    pub(super) deadline: Option<BootTime>,
    /// Whether it ends with the lease.
    pub(super) at_most_once: bool,
    /// Whether it stands still while its log is not brought on.
    pub(super) blocking_log: bool,
    /// What its image is by its content, where that is known.
    pub(super) image: Option<String>,
    /// How often its image was gone before its container was made.
    pub(super) images_gone: u32,
    /// Whether the engine failed to say what became of a start.
    pub(super) may_have_begun: bool,
    pub(super) started_at: Option<WallTime>,
    pub(super) stop: Option<Stop>,
    /// Whether no journal spoke of it when it was taken up, so that an earlier life may have stopped it.
    pub(super) is_adopted: bool,
    /// Whether its container had ended when it was taken up, so that only its end has to be read.
    pub(super) has_ended: bool,
    /// Whether somebody was seen to have started its container again.
    pub(super) was_started_again: bool,
    /// Whether its log is read once more when who reads it is done, which may have stopped at an earlier end.
    pub(super) reads_log_again: bool,
    pub(super) stage: Stage,
}

/// Why it is being stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Stop {
    /// Its end says why.
    Order(StopOrder),
    /// The master has given it up: nobody wants to hear of its end.
    Discard,
}

impl Stop {
    pub(super) fn order(&self) -> Option<&StopOrder> {
        match self {
            Self::Order(order) => Some(order),
            Self::Discard => None,
        }
    }
}

/// Where it stands.
#[derive(Debug)]
pub(super) enum Stage {
    /// Taken up while the engine gives no answer: it may run, or have run.
    Unseen(Box<JournalEntry>),
    /// Accepted in an earlier life, without a container: goes on when the master says so.
    WaitsToPrepare(Arc<Assignment>),
    /// Its container was made in an earlier life: is started when the master says so.
    WaitsToStart,
    /// The image is being fetched.
    Preparing { assignment: Arc<Assignment>, pace: Pace },
    /// The container is being made.
    Creating { assignment: Arc<Assignment>, pace: Pace },
    /// The container is being started.
    Starting(Pace),
    /// The container runs.
    Running(Watch),
    /// The container runs and was asked to end; KILL is sent at this time, and again until it ends.
    Stopping(Watch, BootTime),
    /// The container ended; its log and its outputs are on their way.
    Harvesting(Harvest),
    /// Everything is at the master but the report, or its acknowledgement.
    Reporting(Outcome),
    /// Container and output are being removed.
    Removing(Pace),
}

/// What is awaited while the container runs.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Watch {
    pub(super) wait: Pace,
    /// There when its streams ended, which may be before its end is known.
    pub(super) logs: Option<LogBytes>,
}

/// What is awaited when the container has ended.
#[derive(Debug)]
pub(super) struct Harvest {
    pub(super) verdict: Verdict,
    /// Of its program; none: nobody has said it, or its worker was restarted since.
    pub(super) exit_code: Option<i32>,
    pub(super) finished_at: WallTime,
    pub(super) usage: Option<ContainerUsage>,
    /// What else there is to say of its end.
    pub(super) notes: Vec<String>,
    pub(super) logs: Option<LogBytes>,
    pub(super) outputs: Option<Collected>,
}

/// What of /output is at the master.
#[derive(Debug)]
pub(super) struct Collected {
    pub(super) files: u32,
    /// In all of them.
    pub(super) bytes: u64,
    /// What was left out.
    pub(super) notes: Vec<String>,
}

impl Run {
    pub(super) fn new(key: AttemptKey, limits: Option<RunLimits>, stage: Stage) -> Self {
        Self {
            key,
            memory_limit: limits.map_or(0, |limits| limits.memory_bytes),
            storage_limit: limits.map_or(0, |limits| limits.storage_bytes),
            storage_reserved: limits.is_some_and(|limits| limits.storage_reserved),
            stop_grace: limits.map_or(DEFAULT_GRACE, |limits| limits.stop_grace),
            time_limit: limits.and_then(|limits| limits.time_limit),
            deadline: None,
            at_most_once: limits.is_some_and(|limits| limits.at_most_once),
            blocking_log: limits.is_some_and(|limits| limits.blocking_log),
            image: None,
            images_gone: 0,
            may_have_begun: false,
            started_at: None,
            stop: None,
            is_adopted: false,
            has_ended: false,
            was_started_again: false,
            reads_log_again: false,
            stage,
        }
    }

    /// Looks after a container that runs, or has ended already.
    pub(super) fn watch(&mut self, out: &mut Out<'_>) {
        self.stage = Stage::Running(Watch::default());
        out.emit(AgentEffect::Wait(self.key));
        out.emit(AgentEffect::CollectLogs(self.key));
        if !self.has_ended {
            self.hold_to_limits(out);
        }
    }

    /// The orders that hold what runs to its limits.
    pub(super) fn hold_to_limits(&self, out: &mut Out<'_>) {
        if self.blocking_log {
            out.emit(AgentEffect::HoldForLog(self.key));
        }
        if self.storage_limit > 0 {
            out.emit(self.watch_storage());
        }
    }

    /// The order to measure what it stores.
    pub(super) fn watch_storage(&self) -> AgentEffect {
        let (limit_bytes, reserved) = (self.storage_limit, self.storage_reserved);
        AgentEffect::WatchStorage { key: self.key, limit_bytes, reserved }
    }

    pub(super) fn key(&self) -> AttemptKey {
        self.key
    }

    pub(super) fn is_removing(&self) -> bool {
        matches!(self.stage, Stage::Removing(_))
    }

    /// How far it is, for the master; none if nobody waits for it.
    pub(super) fn phase(&self) -> Option<Phase> {
        if self.is_discarded() {
            return None;
        }
        match &self.stage {
            Stage::WaitsToPrepare(_)
            | Stage::WaitsToStart
            | Stage::Preparing { .. }
            | Stage::Creating { .. }
            | Stage::Starting(_) => Some(Phase::Accepted),
            Stage::Unseen(_) | Stage::Running(_) | Stage::Stopping(..) => Some(Phase::Running),
            Stage::Harvesting(_) | Stage::Reporting(_) => Some(Phase::Finished),
            Stage::Removing(_) => None,
        }
    }

    /// In words.
    pub(super) fn standing(&self) -> &'static str {
        match &self.stage {
            Stage::Unseen(_) => "it may run: the container engine will say, when it answers",
            Stage::WaitsToPrepare(_) => "it has no container yet, and gets one if the master still wants it",
            Stage::WaitsToStart => "its container was never started, and is if the master still wants it",
            Stage::Preparing { .. } => "its image is being fetched",
            Stage::Creating { .. } => "its container is being made",
            Stage::Starting(_) => "its container is being started",
            Stage::Running(_) => "its container was started, and is watched",
            Stage::Stopping(..) => "its container is being stopped",
            Stage::Harvesting(_) => "its container has ended; its log and outputs are brought to the master",
            Stage::Reporting(_) => "it is over, and the master is told",
            Stage::Removing(_) => "what is left of it is being removed",
        }
    }

    /// Whether it was given up, and only has to be stopped and removed.
    pub(super) fn is_discarded(&self) -> bool {
        self.stop == Some(Stop::Discard)
    }

    /// Whether its container has been started and must be there.
    pub(super) fn is_watched(&self) -> bool {
        match &self.stage {
            Stage::Running(_) | Stage::Stopping(..) => true,
            Stage::Unseen(_)
            | Stage::WaitsToPrepare(_)
            | Stage::WaitsToStart
            | Stage::Preparing { .. }
            | Stage::Creating { .. }
            | Stage::Starting(_)
            | Stage::Harvesting(_)
            | Stage::Reporting(_)
            | Stage::Removing(_) => false,
        }
    }

    /// Whether the end of the lease ends it. What nobody sees may have ended before that, and is looked at when it is seen.
    pub(super) fn is_leased(&self) -> bool {
        self.at_most_once
            && !self.has_ended
            && self.stop.is_none()
            && match &self.stage {
                Stage::WaitsToPrepare(_)
                | Stage::WaitsToStart
                | Stage::Preparing { .. }
                | Stage::Creating { .. }
                | Stage::Starting(_)
                | Stage::Running(_) => true,
                Stage::Unseen(_)
                | Stage::Stopping(..)
                | Stage::Harvesting(_)
                | Stage::Reporting(_)
                | Stage::Removing(_) => false,
            }
    }

    /// What the master wants to become of it.
    pub(super) fn decide(&mut self, decision: Decision, out: &mut Out<'_>) {
        match decision {
            Decision::Keep => self.keep(out),
            Decision::Stop => self.give_up(out),
            Decision::Forget => self.forget(out),
        }
    }

    /// Whether its container may be running.
    pub(super) fn may_run(&self) -> bool {
        match &self.stage {
            Stage::Unseen(_) | Stage::Starting(_) | Stage::Running(_) | Stage::Stopping(..) => true,
            Stage::WaitsToPrepare(_)
            | Stage::WaitsToStart
            | Stage::Preparing { .. }
            | Stage::Creating { .. }
            | Stage::Harvesting(_)
            | Stage::Reporting(_)
            | Stage::Removing(_) => false,
        }
    }

    /// Says where it stands.
    pub(super) fn report(&self, out: &mut Out<'_>) {
        if self.stop == Some(Stop::Discard) {
            return;
        }
        match &self.stage {
            Stage::Unseen(_)
            | Stage::WaitsToPrepare(_)
            | Stage::WaitsToStart
            | Stage::Preparing { .. }
            | Stage::Creating { .. }
            | Stage::Starting(_)
            | Stage::Removing(_) => {}
            // It may never have begun.
            Stage::Harvesting(harvest) if matches!(harvest.verdict, Verdict::WorkerLost { .. }) => {}
            Stage::Running(_) | Stage::Stopping(..) | Stage::Harvesting(_) => {
                let at = self.started_at.unwrap_or(out.now.wall);
                let (container, image) = (container_name(&self.key), self.image.clone());
                out.report(self.key, AttemptChange::Started { at, container, image });
            }
            Stage::Reporting(outcome) => out.report(self.key, AttemptChange::Finished(outcome.clone())),
        }
    }
}
