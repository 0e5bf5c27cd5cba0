//! What waits, by class: tasks that ask for the same are considered together, so scheduling costs by classes and workers
//! and not by tasks.

use std::collections::BTreeMap;
use std::sync::Arc;

use shared::confinement::NetworkAccess;
use shared::feature::Features;
use shared::id::{TaskId, UserName, WorkerId};
use shared::resources::Resources;
use shared::selector::WorkerSelector;
use shared::task::{Command, TaskSpec};
use shared::worker::WorkerProtocol;

use crate::gpus::Device;
use crate::nature::Nature;
use crate::record::TaskRecord;
use crate::required::required;
use crate::scheduler::Obstacle;
use crate::settings::Settings;
use crate::worker::Worker;

/// What makes two tasks equal to a scheduler.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Shape {
    /// What one element asks for.
    pub resources: Resources,
    /// Only this worker may run it.
    pub worker: Option<WorkerId>,
    /// Whose it is; fair policies look at it.
    pub user: UserName,
    /// Whether it asks for what cannot be told to a worker of the first generation: files to read, or an environment
    /// without a command that could set it.
    pub needs_session: bool,
    /// What a worker has to know to run it.
    pub features: Features,
    /// Whether it says that it needs the Internet, so that it is of no use where nothing is reached.
    pub needs_internet: bool,
    /// What the labels of its worker have to be.
    pub worker_labels: WorkerSelector,
}

impl Shape {
    /// The class of a task; the elements of an array are told which they are by their environment, and what may run again
    /// which run it is. What may run once at most is for workers that know what a lease is; others pull where an image is missing, and confine no
    /// container more than Docker does.
    #[must_use]
    pub fn new(spec: &TaskSpec, is_array: bool, user: UserName) -> Self {
        let has_environment = is_array || !spec.env.is_empty() || spec.policy.retries > 0;
        let needs_session = spec.input.is_some()
            || spec.policy.at_most_once
            || spec.policy.blocking_log
            || !spec.pull.is_default()
            || !spec.confinement.is_default()
            || has_environment && spec.command == Command::ImageDefault;
        let (resources, worker, features) =
            (spec.resources, spec.worker.clone(), required(&spec.policy, spec.confinement));
        let needs_internet = spec.confinement.network == NetworkAccess::Public;
        let worker_labels = spec.worker_labels.clone();
        Self { resources, worker, user, needs_session, features, needs_internet, worker_labels }
    }

    /// Whether it would fit on a worker if nothing else ran there.
    pub(crate) fn could_ever_fit(&self, id: &WorkerId, worker: &Worker, settings: &Settings) -> bool {
        self.kept_off(id, worker, settings).is_none()
    }

    /// What keeps it off a worker for ever, if anything does; of several the one to tell.
    pub(crate) fn kept_off(&self, id: &WorkerId, worker: &Worker, settings: &Settings) -> Option<Obstacle> {
        let gpus = worker.record.facts.gpus.iter().filter(|_| self.resources.gpu_millis > 0);
        let unused: Vec<_> = gpus.map(|gpu| Device::unused(gpu, false)).collect();
        Nature::of(id, worker, settings).never(self, &unused).next()
    }

    /// Whether all that it asks for can be told to such a worker.
    pub(crate) fn can_be_told(&self, protocol: WorkerProtocol) -> bool {
        match protocol {
            WorkerProtocol::Session => true,
            WorkerProtocol::Seed => !self.needs_session,
        }
    }

    /// What it needs a worker to know that knows only so much, with what runs in its pool need. Of those of the first generation nothing of the kind is
    /// asked: see [`Self::can_be_told`].
    pub(crate) fn unknown_to(&self, protocol: WorkerProtocol, known: Features, of_pool: Features) -> Features {
        match protocol {
            WorkerProtocol::Session => self.features.with(of_pool).without(known),
            WorkerProtocol::Seed => Features::default(),
        }
    }

    /// The class of a submission.
    pub(crate) fn of(record: &TaskRecord) -> Self {
        Self::new(&record.spec, record.array.is_some(), record.user.clone())
    }
}

/// The classes, each first in, first out. How many elements of a task wait stands in the task.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Queue {
    classes: BTreeMap<Arc<Shape>, BTreeMap<u64, TaskId>>,
}

impl Queue {
    /// The task has elements that wait. `sequence` is its place in the order of submissions.
    pub(crate) fn insert(&mut self, shape: &Arc<Shape>, sequence: u64, task: TaskId) {
        match self.classes.get_mut(shape) {
            Some(class) => {
                class.insert(sequence, task);
            }
            None => {
                self.classes.insert(Arc::clone(shape), BTreeMap::from([(sequence, task)]));
            }
        }
    }

    /// No element of the task waits any more.
    pub(crate) fn remove(&mut self, shape: &Arc<Shape>, sequence: u64) {
        if let Some(class) = self.classes.get_mut(shape) {
            class.remove(&sequence);
            if class.is_empty() {
                self.classes.remove(shape);
            }
        }
    }

    /// One value per class, so that tasks share it.
    pub(crate) fn intern(&self, shape: Shape) -> Arc<Shape> {
        self.classes.get_key_value(&shape).map_or_else(|| Arc::new(shape), |(known, _)| Arc::clone(known))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.classes.is_empty()
    }

    /// The classes in the order of their shapes, each with its tasks in the order of their submission.
    pub(crate) fn classes(&self) -> impl Iterator<Item = (&Arc<Shape>, &BTreeMap<u64, TaskId>)> {
        self.classes.iter()
    }
}
