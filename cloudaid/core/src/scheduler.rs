//! Where things run: policies are values behind one trait. A policy reads numbers and returns a plan; the core carries
//! it out.
//!
//! The interface is made for more than one policy: a plan is made for the whole queue at once and not task by task, so a
//! policy may reorder classes (priority, fair share), hold room back (backfill) or place several elements together
//! (gangs).

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use shared::feature::Features;
use shared::id::{TaskId, WorkerId};
use shared::resources::{Kind, Resources, Shortage};
use shared::worker::{WorkerProtocol, WorkerState};

use crate::gpus::{self, Device};
use crate::nature::Nature;
use crate::queue::Shape;

pub mod round_robin;

/// A policy.
pub trait Scheduler: fmt::Debug + Send + Sync {
    /// Its name, for configuration and people.
    fn name(&self) -> &'static str;

    /// Decides, for at most `limit` waiting elements, where they run. Must be a function of its arguments and of what it
    /// decided before: ties end on ids. Every placement must pass [`Room::obstacles`] with what earlier ones of the same
    /// plan have taken.
    fn plan(&mut self, demand: &Demand<'_>, rooms: &[Room], limit: usize) -> Plan;
}

/// What waits.
#[derive(Debug)]
pub struct Demand<'a> {
    classes: Vec<ClassDemand<'a>>,
    waiting: &'a dyn WaitingCount,
}

/// How many elements of a task wait and may be placed now.
pub trait WaitingCount: fmt::Debug {
    /// Those in one class. 0 for a task that is not there, and for one that has as many elements with workers as it may.
    fn waiting(&self, task: TaskId, shape: &Shape) -> u32;
}

/// The tasks of one class.
#[derive(Debug, Clone, Copy)]
pub struct ClassDemand<'a> {
    /// What they have in common.
    pub shape: &'a Arc<Shape>,
    /// By their place in the order of submissions.
    pub tasks: &'a BTreeMap<u64, TaskId>,
}

impl<'a> Demand<'a> {
    /// The demand of these classes.
    pub fn new(classes: Vec<ClassDemand<'a>>, waiting: &'a dyn WaitingCount) -> Self {
        Self { classes, waiting }
    }

    /// The classes, in the order of their shapes.
    #[must_use]
    pub fn classes(&self) -> &[ClassDemand<'a>] {
        &self.classes
    }

    /// How many elements of a task wait in a class and may be placed now. A task that waits in several classes may have
    /// fewer placed than they have together: the core leaves out what is too much, and asks for another plan.
    #[must_use]
    pub fn waiting(&self, task: TaskId, shape: &Shape) -> u32 {
        self.waiting.waiting(task, shape)
    }
}

/// A worker as a policy sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Room {
    /// Which worker.
    pub worker: WorkerId,
    /// Whether it gets work.
    pub state: WorkerState,
    /// How it and the master talk: not everything can be told to everybody.
    pub protocol: WorkerProtocol,
    /// What it knows of what not every worker knows.
    pub features: Features,
    /// What all that runs there needs because of its pool.
    pub features_of_pool: Features,
    /// All that it has.
    pub capacity: Resources,
    /// What is not reserved, and of GPUs what is well.
    pub free: Resources,
    /// Its GPUs one by one; empty: it has none, or only says how many.
    pub gpus: Vec<Device>,
    /// Whether it says itself that it can run anything.
    pub healthy: bool,
    /// Whether it gets nothing because all its last runs failed at once.
    pub left_out: bool,
    /// Whether it gets nothing because an operator wants it so.
    pub cordoned: bool,
    /// Whether all that runs there is strict because of its pool, and reaches nothing.
    pub offline: bool,
    /// Its labels.
    pub labels: Arc<BTreeMap<String, String>>,
}

/// What keeps a task of some shape off a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Obstacle {
    /// The task is for another worker.
    OtherWorkerRequested,
    /// Its labels are not what the task asks for.
    OtherLabels,
    /// What the task asks for cannot be told to a worker of the first generation.
    FirstGeneration,
    /// It is of an older version, and does not know these, which the task needs.
    Outdated(Features),
    /// The task says that it needs the Internet, and in its pool nothing is reached.
    Offline,
    /// It is not active.
    NotActive(WorkerState),
    /// Its engine does not answer, or its disk is full.
    Unhealthy,
    /// All its last runs failed at once, and elsewhere they did not.
    Failing,
    /// An operator wants it to get nothing.
    Cordoned,
    /// Too little is free, though it has enough in all.
    Busy(Shortage),
    /// It does not have that much in all.
    TooSmall(Shortage),
    /// It would have room if all its GPUs were well.
    IllGpus,
}

impl Room {
    /// Everything that keeps `shape` off this worker; nothing: it fits now. Policies and explanations both ask here.
    pub fn obstacles(&self, shape: &Shape) -> impl Iterator<Item = Obstacle> {
        let inactive = match self.state {
            WorkerState::Active if !self.healthy => Some(Obstacle::Unhealthy),
            WorkerState::Active if self.cordoned => Some(Obstacle::Cordoned),
            WorkerState::Active => self.left_out.then_some(Obstacle::Failing),
            state @ (WorkerState::Suspect | WorkerState::Inactive) => Some(Obstacle::NotActive(state)),
        };
        let (nature, gpus) = (self.nature(), self.gpus_in_the_way(shape.resources.gpu_millis));
        let lacking = self.free.lacking(shape.resources).filter(move |lack| gpus.is_none() || lack.kind != Kind::Gpu);
        let lacking = lacking.map(move |shortage| {
            let in_all = nature.too_small(shortage.kind, shortage.wanted, &[]);
            in_all.map_or(Obstacle::Busy(shortage), Obstacle::TooSmall)
        });
        let refusal = nature.refusals(shape).find(|refusal| !self.may_change(refusal));
        // For a task that is not for this worker nothing else matters here.
        let rest = refusal.is_none().then(|| inactive.into_iter().chain(lacking).chain(gpus));
        refusal.into_iter().chain(rest.into_iter().flatten())
    }

    fn nature(&self) -> Nature<'_> {
        Nature {
            worker: &self.worker,
            protocol: self.protocol,
            features: self.features,
            features_of_pool: self.features_of_pool,
            offline: self.offline,
            labels: &self.labels,
            capacity: self.capacity,
        }
    }

    /// One that is not there may come back with another version.
    fn may_change(&self, obstacle: &Obstacle) -> bool {
        matches!(obstacle, Obstacle::Outdated(_)) && self.state == WorkerState::Inactive
    }

    /// Its GPUs as if all were well and nobody had any of them.
    fn unused_gpus(&self) -> Vec<Device> {
        self.gpus.iter().map(|device| Device { free: device.millis, ill: false, ..device.clone() }).collect()
    }

    /// What keeps so many thousandths from being had of its GPUs, where they are known one by one.
    fn gpus_in_the_way(&self, wanted: u64) -> Option<Obstacle> {
        if self.gpus.is_empty() || gpus::could(&self.gpus, wanted) {
            return None;
        }
        if let Some(in_all) = self.nature().too_small(Kind::Gpu, wanted, &self.unused_gpus()) {
            return Some(Obstacle::TooSmall(in_all));
        }
        let well: Vec<_> = self.gpus.iter().map(|device| Device { ill: false, ..device.clone() }).collect();
        let shortage = Shortage { kind: Kind::Gpu, available: gpus::most(&self.gpus), wanted };
        Some(if gpus::could(&well, wanted) { Obstacle::IllGpus } else { Obstacle::Busy(shortage) })
    }

    /// Takes what a task of some shape reserves: it must fit.
    pub fn take(&mut self, shape: &Shape) {
        self.free = self.free.saturating_sub(shape.resources);
        let leases = gpus::choose(&self.gpus, shape.resources.gpu_millis).unwrap_or_default();
        gpus::take(&mut self.gpus, &leases);
    }

    /// Whether `shape` fits now.
    #[must_use]
    pub fn fits(&self, shape: &Shape) -> bool {
        self.obstacles(shape).next().is_none()
    }

    /// Whether `shape` would fit if nothing else ran here.
    #[must_use]
    pub fn could_ever_fit(&self, shape: &Shape) -> bool {
        let unused = if shape.resources.gpu_millis > 0 { self.unused_gpus() } else { Vec::new() };
        self.nature().never(shape, &unused).all(|obstacle| self.may_change(&obstacle))
    }
}

/// What a policy decided. Which elements of a task run is not its business.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// In this order.
    pub placements: Vec<Placement>,
    /// Whether the limit cut it off, so that another pass would find more.
    pub unfinished: bool,
}

/// One more element of a task on a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// Of which task.
    pub task: TaskId,
    /// Of which of the classes in which it waits.
    pub shape: Arc<Shape>,
    /// Where it runs.
    pub worker: WorkerId,
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Placement { task, worker, .. } in &self.placements {
            writeln!(f, "{task} -> {worker}")?;
        }
        if self.unfinished { writeln!(f, "...") } else { Ok(()) }
    }
}
