//! What would become of a submission, by the scheduler's own filter. Nothing is kept.

use std::sync::Arc;

use shared::task::TaskSpec;
use shared::view::{Fit, FitView};

use crate::cluster::Cluster;
use crate::explain::labels;
use crate::input::Submission;
use crate::queue::Shape;
use crate::record::TaskRecord;
use crate::reject::Reject;
use crate::scheduler::{Obstacle, Room};
use crate::step::submit;

/// What would become of a submission.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trial {
    /// What would run: as strict as the cluster wants it.
    pub spec: Arc<TaskSpec>,
    /// Where one element of it could.
    pub workers: Vec<FitView>,
    /// What its submitter would be told.
    pub warnings: Vec<String>,
}

impl Cluster {
    /// What would become of a submission. `known` is what the store says about its idempotency key.
    ///
    /// # Errors
    /// It would be refused, with this.
    pub fn trial(&self, submission: &Submission, known: Option<&TaskRecord>) -> Result<Trial, Reject> {
        submit::check(self, submission, known)?;
        let Submission { user, spec, array, .. } = submission;
        let spec = submit::kept(&self.settings, user, spec);
        let shape = Shape::new(&spec, array.is_some(), user.clone());
        let workers = self.rooms().iter().map(|room| fit(room, &shape)).collect();
        Ok(Trial { spec, workers, warnings: self.submit_warnings(&shape) })
    }
}

fn fit(room: &Room, shape: &Shape) -> FitView {
    let reasons: Vec<_> = room.obstacles(shape).map(|obstacle| in_words(room, shape, obstacle)).collect();
    let fit = match (reasons.is_empty(), room.could_ever_fit(shape)) {
        (true, _) => Fit::Now,
        (false, true) => Fit::Later,
        (false, false) => Fit::Never,
    };
    FitView { worker_id: room.worker.clone(), fit, reasons }
}

fn in_words(room: &Room, shape: &Shape, obstacle: Obstacle) -> String {
    let worker = &room.worker;
    match obstacle {
        Obstacle::OtherWorkerRequested => "the task is for another worker".to_owned(),
        Obstacle::OtherLabels => labels::unmet_by(room, shape),
        Obstacle::FirstGeneration => {
            "a worker of the first generation takes no input files, no environment without a command, and no confinement"
                .to_owned()
        }
        Obstacle::Outdated(features) => format!("{worker} is of an older version, which does not know {features}"),
        Obstacle::Offline => format!("the pool of {worker} makes every task strict, and strict tasks have no network here"),
        Obstacle::NotActive(state) => format!("{worker} is {state}"),
        Obstacle::Unhealthy => format!("{worker} has a problem with its container engine or its disk"),
        Obstacle::Cordoned => format!("{worker} was taken out of use by an operator"),
        Obstacle::IllGpus => format!("{worker} has GPUs that are out of use because something is wrong with them"),
        Obstacle::Failing => format!("{worker} is left out for a while: all its last runs failed at once"),
        Obstacle::Busy(shortage) => {
            let amount = |amount| shortage.kind.describe(amount);
            format!("{} of {} free", amount(shortage.available), amount(shortage.wanted))
        }
        Obstacle::TooSmall(shortage) => {
            let amount = |amount| shortage.kind.describe(amount);
            format!("{} of {} in all", amount(shortage.available), amount(shortage.wanted))
        }
    }
}
