//! What the cluster shows of itself. Reading changes nothing.

use std::collections::BTreeMap;

use shared::gpu::Gpu;
use shared::id::{AttemptKey, ElementId, Elements, TaskId, TaskRef, WorkerId};
use shared::pull::PullProgress;
use shared::reference;
use shared::registry::RegistryName;
use shared::resources::Resources;
use shared::time::WallTime;
use shared::view::{GpuView, QueueView, QueuedView, StatusView, StoreState, TaskCounts, WorkerView};
use shared::worker::WorkerState;

use crate::admission::{Admission, JoinTokenRecord, Joining, PendingRecord};
use crate::cluster::Cluster;
use crate::explain;
use crate::gpus::Device;
use crate::registry::RegistryRecord;
use crate::reject::Reject;
use crate::scheduler::Room;
use crate::task::RunPhase;
use crate::worker::Worker;

impl Cluster {
    /// One worker.
    #[must_use]
    pub fn worker_view(&self, id: &WorkerId) -> Option<WorkerView> {
        self.workers.get(id).map(|worker| self.view_of(id, worker))
    }

    /// All workers, by name.
    #[must_use]
    pub fn worker_views(&self) -> Vec<WorkerView> {
        self.workers.iter().map(|(id, worker)| self.view_of(id, worker)).collect()
    }

    /// What each worker proves itself with, by name.
    pub fn admissions(&self) -> impl Iterator<Item = (&WorkerId, &Admission)> {
        self.workers.iter().map(|(id, worker)| (id, &worker.record.admission))
    }

    /// The join tokens that can be used now, the newest first.
    pub fn join_tokens(&self, now: WallTime) -> impl Iterator<Item = &JoinTokenRecord> {
        self.join_tokens.values().rev().filter(move |token| token.is_good(now))
    }

    /// The registries that know us, by name.
    pub fn registries(&self) -> impl Iterator<Item = &RegistryRecord> {
        self.registries.values()
    }

    /// What the image of a task that has not ended is pulled with, if there is anything.
    #[must_use]
    pub fn registry_of(&self, task: TaskId) -> Option<&RegistryRecord> {
        self.registries.get(&RegistryName::of(self.tasks.get(&task)?.image()))
    }

    /// Whether a worker could join now.
    ///
    /// # Errors
    /// Why not.
    pub fn check_join(&self, now: WallTime, joining: &Joining) -> Result<(), Reject> {
        crate::step::join::check(self, now, joining).map(|_| ())
    }

    /// The workers that wait to be let in, by name.
    pub fn pending_workers(&self) -> impl Iterator<Item = &PendingRecord> {
        self.pending.values()
    }

    /// Whether any of these elements waits or is with a worker. What is over, or never was, is not.
    #[must_use]
    pub fn is_open(&self, target: TaskRef) -> bool {
        self.tasks.get(&target.task).is_some_and(|task| {
            let tally = task.tally_of(target.elements);
            tally.queued + tally.pending + tally.running > 0
        })
    }

    /// How people know the element of a run: a plain task has no index.
    #[must_use]
    pub fn shown(&self, key: AttemptKey) -> TaskRef {
        let plain = self.tasks.get(&key.task).is_some_and(|task| task.record.array.is_none());
        TaskRef { task: key.task, elements: if plain { Elements::All } else { Elements::One(key.index) } }
    }

    /// How far the image of an element's run is that its worker is fetching, as it last said; none: it fetches none.
    #[must_use]
    pub fn pull_of(&self, element: ElementId) -> Option<PullProgress> {
        let task = self.tasks.get(&element.task)?;
        let run = task.live.get(&element.index).filter(|run| run.phase == RunPhase::Pending)?;
        // One that was placed before the image was pinned is pulled by its tag; and another task may write it in another way.
        let is_it =
            |image: &str| [&task.record.spec.image, task.image()].iter().any(|own| reference::is_same(own, image));
        let pulling = &self.workers.get(&run.worker)?.pulling;
        pulling.iter().find(|pulling| is_it(&pulling.image)).map(|pulling| pulling.progress.clone())
    }

    /// Whether a run is live that its worker was told to stop, for whatever reason.
    #[must_use]
    pub fn is_stopping(&self, key: AttemptKey) -> bool {
        let Some(task) = self.tasks.get(&key.task) else { return false };
        let Some(run) = task.live.get(&key.index) else { return false };
        let progress = &task.progress;
        run.overdue || progress.cancelling.contains(key.index) || progress.evicting.contains(key.index)
    }

    /// What waits: the count of all, and the first `limit` rows in the order in which they are considered.
    #[must_use]
    pub fn queue_view(&self, limit: usize) -> QueueView {
        let rooms = self.rooms();
        let mut rows: Vec<_> = self
            .queue
            .classes()
            .flat_map(|(shape, tasks)| tasks.iter().map(move |(sequence, task)| (*sequence, *task, shape)))
            .collect();
        rows.sort_unstable_by_key(|(sequence, ..)| *sequence);
        let mut waiting = 0;
        let mut tasks = Vec::new();
        let mut reasons: BTreeMap<_, String> = Default::default();
        for (_, id, shape) in rows {
            let Some(task) = self.tasks.get(&id) else { continue };
            if tasks.len() < limit {
                let reason = match explain::held_back(task) {
                    Some(reason) => reason.message,
                    None => reasons.entry(shape).or_insert_with(|| self.class_reason(&rooms, shape)).clone(),
                };
                tasks.push(QueuedView {
                    position: waiting + 1,
                    task_id: id.to_string(),
                    name: task.record.spec.name.clone(),
                    user: task.record.user.clone(),
                    waiting: task.waiting_in(shape),
                    resources: shape.resources,
                    submitted_at: task.record.submitted_at,
                    reason,
                });
            }
            waiting += u64::from(task.waiting_in(shape));
        }
        QueueView { waiting, tasks }
    }

    /// The cluster in numbers. `ended` is what the store counts, `version` and `store` are the shell's to say.
    #[must_use]
    pub fn status_view(
        &self,
        version: &str,
        (store, store_state): (&str, StoreState),
        ended: TaskCounts,
    ) -> StatusView {
        let active = |room: &&Room| room.state == WorkerState::Active;
        let rooms = self.rooms();
        let TaskCounts { queued, pending, running, .. } = self.totals;
        let tasks = TaskCounts { queued, pending, running, ..ended };
        StatusView {
            version: version.to_owned(),
            cluster_id: self.identity.cluster.to_string(),
            epoch: self.identity.epoch.0,
            total_workers: self.workers.len() as u32,
            active_workers: rooms.iter().filter(active).count() as u32,
            tasks,
            capacity: rooms.iter().filter(active).map(|room| room.capacity).sum(),
            allocated: rooms.iter().filter(active).map(|room| self.ledger.reserved(&room.worker)).sum::<Resources>(),
            store: store.to_owned(),
            store_state,
            draining: self.draining,
            started_at: self.started.wall,
        }
    }

    fn view_of(&self, id: &WorkerId, worker: &Worker) -> WorkerView {
        let facts = &worker.record.facts;
        WorkerView {
            worker_id: id.clone(),
            state: worker.state(),
            protocol: worker.record.admission.protocol(),
            address: facts.address.clone(),
            version: facts.version.clone(),
            capacity: facts.capacity,
            allocated: self.ledger.reserved(id),
            usage: worker.usage,
            problem: worker.problem.clone().or_else(|| worker.failing.describe()),
            cordon: worker.record.cordon.clone(),
            running_tasks: self
                .ledger
                .runs(id)
                .filter_map(|(element, _)| Some(self.tasks.get(&element.task)?.shown(element.index).to_string()))
                .collect(),
            last_heartbeat: worker.heard_at,
            registered_at: worker.record.registered_at,
            labels: BTreeMap::clone(&facts.labels),
            gpus: self.gpu_views(id, worker),
            pulling: worker.pulling.clone(),
        }
    }

    fn gpu_views(&self, id: &WorkerId, worker: &Worker) -> Vec<GpuView> {
        let devices = self.devices(id, worker);
        let holders = |uuid: &str| {
            let runs = self.ledger.runs(id).filter_map(|(element, _)| {
                let task = self.tasks.get(&element.task)?;
                let has = task.live.get(&element.index)?.gpus.iter().any(|lease| lease.uuid == uuid);
                has.then(|| task.shown(element.index).to_string())
            });
            runs.collect()
        };
        let view = |(gpu, device): (&Gpu, Device)| GpuView {
            gpu: gpu.clone(),
            free_millis: device.free,
            problem: worker.gpu_problem(&gpu.uuid),
            running_tasks: holders(&gpu.uuid),
        };
        worker.record.facts.gpus.iter().zip(devices).map(view).collect()
    }
}
