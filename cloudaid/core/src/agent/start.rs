//! From the assignment to the running container.

use std::sync::Arc;
use std::time::Duration;

use shared::link::{Assignment, RunLimits};
use shared::task::Verdict;

use super::effect::{AgentEffect, StopSignal};
use super::input::EngineError;
use super::journal::JournalRecord;
use super::out::Out;
use super::pace::Pace;
use super::run::{Run, Stage, Stop};

/// How long an engine that fails is asked again, before the run is handed back for another worker. One that may run once at
/// most is handed back only if it has certainly not begun.
const ENGINE_PATIENCE: Duration = Duration::from_secs(5 * 60);

/// How often an image may be gone before its container is made.
const IMAGES_GONE: u32 = 3;

impl Run {
    pub(super) fn accept(assignment: Assignment, out: &mut Out<'_>) -> Self {
        let assignment = Arc::new(assignment);
        out.journal(JournalRecord::Accepted(Arc::clone(&assignment)));
        let mut run =
            Self::new(assignment.key, Some(RunLimits::of(&assignment)), Stage::WaitsToPrepare(Arc::clone(&assignment)));
        run.prepare(assignment, out);
        run
    }

    /// The master wants it to go on.
    pub(super) fn keep(&mut self, out: &mut Out<'_>) {
        match &self.stage {
            Stage::WaitsToPrepare(assignment) => {
                let assignment = Arc::clone(assignment);
                self.prepare(assignment, out);
            }
            Stage::WaitsToStart => self.start(out),
            Stage::Unseen(_)
            | Stage::Preparing { .. }
            | Stage::Creating { .. }
            | Stage::Starting(_)
            | Stage::Running(_)
            | Stage::Stopping(..)
            | Stage::Harvesting(_)
            | Stage::Reporting(_)
            | Stage::Removing(_) => {}
        }
    }

    fn prepare(&mut self, assignment: Arc<Assignment>, out: &mut Out<'_>) {
        out.emit(prepare(&assignment));
        self.stage = Stage::Preparing { assignment, pace: Pace::default() };
    }

    /// `image` is what it is by its content.
    pub(super) fn image_ready(&mut self, image: Option<String>, out: &mut Out<'_>) {
        let Stage::Preparing { assignment, .. } = &self.stage else { return };
        self.image = image;
        let assignment = Arc::clone(assignment);
        out.emit(AgentEffect::Create(Arc::clone(&assignment)));
        self.stage = Stage::Creating { assignment, pace: Pace::default() };
    }

    pub(super) fn image_failed(&mut self, error: &EngineError, patience: Duration, out: &mut Out<'_>) {
        let Stage::Preparing { pace, .. } = &mut self.stage else { return };
        let now = out.now.boot;
        match error {
            EngineError::ImageUnavailable(_) if !pace.has_failed_for(patience, now) => pace.failed_far(now),
            EngineError::ImageUnavailable(_) | EngineError::ImageNotFound(_) | EngineError::Setup(_) => {
                self.finish_unstarted(lasting(error), out);
            }
            EngineError::NoRoom(message) => {
                self.finish_unstarted(Verdict::Rejected { message: message.clone() }, out);
            }
            EngineError::Engine(message) | EngineError::NotStarted(message)
                if pace.has_failed_for(ENGINE_PATIENCE, now) =>
            {
                self.finish_unstarted(handed_back(message), out);
            }
            EngineError::NotFound | EngineError::Engine(_) | EngineError::NotStarted(_) => pace.failed(now),
        }
    }

    pub(super) fn created(&mut self, out: &mut Out<'_>) {
        let Stage::Creating { .. } = &self.stage else { return };
        match self.stop {
            None => self.start(out),
            Some(_) => self.finish_stopped(out),
        }
    }

    pub(super) fn create_failed(&mut self, error: &EngineError, out: &mut Out<'_>) {
        let Stage::Creating { pace, assignment } = &mut self.stage else { return };
        if self.stop.is_some() {
            self.finish_stopped(out);
            return;
        }
        match error {
            // It was removed since it was there: it is fetched again.
            EngineError::ImageUnavailable(_) if self.images_gone < IMAGES_GONE => {
                self.images_gone += 1;
                let assignment = Arc::clone(assignment);
                self.prepare(assignment, out);
            }
            EngineError::NoRoom(message) => {
                self.finish_unstarted(Verdict::Rejected { message: message.clone() }, out);
            }
            EngineError::ImageNotFound(_) | EngineError::ImageUnavailable(_) | EngineError::Setup(_) => {
                self.finish_unstarted(lasting(error), out);
            }
            EngineError::Engine(message) | EngineError::NotStarted(message)
                if pace.has_failed_for(ENGINE_PATIENCE, out.now.boot) =>
            {
                self.finish_unstarted(handed_back(message), out);
            }
            EngineError::NotFound | EngineError::Engine(_) | EngineError::NotStarted(_) => pace.failed(out.now.boot),
        }
    }

    /// It was to end before its container was started.
    fn finish_stopped(&mut self, out: &mut Out<'_>) {
        let verdict = match &self.stop {
            Some(Stop::Order(order)) => super::verdict::unstarted(&order.reason),
            Some(Stop::Discard) | None => Verdict::Cancelled,
        };
        self.finish_unstarted(verdict, out);
    }

    fn start(&mut self, out: &mut Out<'_>) {
        let (at, boot) = (out.now.wall, Some(out.now.boot));
        out.journal(JournalRecord::Starting { key: self.key, at, boot, again: false });
        out.emit(AgentEffect::Start(self.key));
        self.started_at = Some(out.now.wall);
        self.stage = Stage::Starting(Pace::default());
    }

    pub(super) fn started(&mut self, out: &mut Out<'_>) {
        let Stage::Starting(_) = &self.stage else { return };
        self.watch(out);
        // The engine may have taken a while since it was asked.
        self.started_at = Some(out.now.wall);
        self.deadline = self.time_limit.map(|limit| out.now.boot + limit);
        self.report(out);
        self.terminate_if_ordered(out);
    }

    pub(super) fn start_failed(&mut self, error: &EngineError, out: &mut Out<'_>) {
        let Stage::Starting(pace) = &mut self.stage else { return };
        if self.stop.is_some() {
            self.abandon_start(out);
            return;
        }
        let now = out.now.boot;
        let is_over = pace.has_failed_for(ENGINE_PATIENCE, now);
        self.may_have_begun |= matches!(error, EngineError::Engine(_));
        match error {
            EngineError::ImageNotFound(_) | EngineError::ImageUnavailable(_) | EngineError::Setup(_) => {
                self.finish_unstarted(lasting(error), out);
            }
            EngineError::NotFound => self.finish_unstarted(super::verdict::container_gone(), out),
            // The engine may carry it out yet, so nobody can say that it has not begun.
            EngineError::Engine(_) if self.at_most_once => pace.failed(now),
            EngineError::NoRoom(message) | EngineError::NotStarted(message) | EngineError::Engine(message)
                if is_over =>
            {
                self.give_up_start(message, out);
            }
            EngineError::NoRoom(_) | EngineError::NotStarted(_) | EngineError::Engine(_) => pace.failed(now),
        }
    }

    /// It is not tried again. What may run after all ends at once, so that it does not run beside the next one.
    fn give_up_start(&mut self, message: &str, out: &mut Out<'_>) {
        if self.may_have_begun {
            out.emit(AgentEffect::Signal(self.key, StopSignal::Kill));
        }
        // As after a restart: an engine that was killed meanwhile knows nothing of what it had started.
        let verdict = match self.at_most_once && self.may_have_begun {
            true => super::verdict::container_gone(),
            false => handed_back(message),
        };
        self.finish_unstarted(verdict, out);
    }
}

/// The order to have what a container is made of.
pub(super) fn prepare(assignment: &Assignment) -> AgentEffect {
    let Assignment { key, ref image, pull, input, .. } = *assignment;
    AgentEffect::Prepare { key, image: image.clone(), pull, input }
}

/// The verdict of a run that another worker may do better.
fn handed_back(message: &str) -> Verdict {
    Verdict::Rejected { message: format!("the container engine of the worker fails: {message}") }
}

/// The verdict of an error that stays.
fn lasting(error: &EngineError) -> Verdict {
    match error {
        EngineError::ImageNotFound(message) | EngineError::ImageUnavailable(message) => {
            Verdict::Image { message: message.clone() }
        }
        EngineError::Setup(message)
        | EngineError::Engine(message)
        | EngineError::NotStarted(message)
        | EngineError::NoRoom(message) => Verdict::Setup { message: message.clone() },
        EngineError::NotFound => super::verdict::container_gone(),
    }
}
