//! The state of the cluster, and the two entry points that change it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use shared::array::{COUNT_VARIABLE, INDEX_VARIABLE};
use shared::audit::Chain;
use shared::confinement::Profile;
use shared::gpu::GpuLease;
use shared::id::{AttemptKey, BlobId, Epoch, Fence, InputId, LoginId, SessionId, TaskId, TokenId, UserName, WorkerId};
use shared::link::{Assignment, ToWorker};
use shared::policy::ATTEMPT_VARIABLE;
use shared::registry::RegistryName;
use shared::time::{BootTime, Now};
use shared::view::{Tally, TaskCounts};

use crate::account::{TokenRecord, UserRecord};
use crate::admission::{JoinTokenRecord, PendingRecord};
use crate::alarm::{Alarm, Alarms};
use crate::effect::{Answer, Effect};
use crate::event::Event;
use crate::files::{FileUsage, InputRecord};
use crate::gpus::{self, Device};
use crate::input::Input;
use crate::kept::Kept;
use crate::ledger::Ledger;
use crate::login::LoginRecord;
use crate::nature::Nature;
use crate::queue::{Queue, Shape};
use crate::recent::Recent;
use crate::record::{Change, ClusterRecord};
use crate::registry::RegistryRecord;
use crate::scheduler::{ClassDemand, Demand, Placement, Room, Scheduler, WaitingCount};
use crate::settings::Settings;
use crate::step;
use crate::task::{Run, RunPhase, Task};
use crate::worker::Worker;

/// Everything that is not over. What is over is only in the store.
#[derive(Debug)]
pub struct Cluster {
    pub(crate) settings: Settings,
    pub(crate) identity: ClusterRecord,
    pub(crate) started: Now,
    /// Since when it has been running without a break.
    pub(crate) awake: BootTime,
    pub(crate) tasks: BTreeMap<TaskId, Task>,
    pub(crate) workers: BTreeMap<WorkerId, Worker>,
    pub(crate) join_tokens: BTreeMap<TokenId, JoinTokenRecord>,
    /// What the workers pull private images with.
    pub(crate) registries: BTreeMap<RegistryName, RegistryRecord>,
    /// Workers that wait to be let in.
    pub(crate) pending: BTreeMap<WorkerId, PendingRecord>,
    pub(crate) queue: Queue,
    pub(crate) ledger: Ledger,
    /// Runs of lost workers that nobody else could take.
    pub(crate) kept: Kept,
    pub(crate) users: BTreeMap<UserName, UserRecord>,
    pub(crate) tokens: BTreeMap<TokenId, TokenRecord>,
    pub(crate) logins: BTreeMap<LoginId, LoginRecord>,
    pub(crate) audit: Chain,
    pub(crate) inputs: BTreeMap<InputId, InputRecord>,
    /// The contents that have not arrived, of inputs that are not complete.
    pub(crate) missing: BTreeMap<InputId, BTreeSet<BlobId>>,
    /// How many of the tasks above read an input.
    pub(crate) input_readers: BTreeMap<InputId, u32>,
    /// What users keep.
    pub(crate) file_usage: BTreeMap<UserName, FileUsage>,
    /// Idempotency keys of the tasks above; the store knows the others.
    pub(crate) keys: BTreeMap<(UserName, Arc<str>), TaskId>,
    /// Elements of the tasks above by state, as of the last batch: to count them for every question would cost by tasks.
    pub(crate) totals: TaskCounts,
    pub(crate) last_sequence: u64,
    pub(crate) last_fence: u32,
    pub(crate) draining: bool,
    pub(crate) scheduler: Box<dyn Scheduler>,
    /// Tasks whose progress is not saved yet in this batch.
    pub(crate) dirty: BTreeSet<TaskId>,
    /// What time alone will do.
    pub(crate) alarms: Alarms,
    /// Whether the last plan was cut off.
    pub(crate) plan_unfinished: bool,
    /// Whether something has changed that a plan depends on.
    pub(crate) plan_stale: bool,
}

impl Cluster {
    /// One thing happens. Call [`Cluster::settle`] once after the last input of a batch.
    pub fn step(&mut self, now: Now, input: Input, effects: &mut Vec<Effect>) {
        match input {
            Input::SubmitTask { request, submission, known } => {
                step::submit::on_submit(self, now, request, submission, known.as_deref(), effects);
            }
            Input::CancelTask { request, task, force } => {
                step::cancel::on_cancel(self, now, request, (task, force), effects);
            }
            Input::EditTask { request, task, edit } => step::edit::on_edit(self, request, task, &edit, effects),
            Input::DeleteTask { request, task, user, files } => {
                step::delete::on_delete(self, request, task, user, files, effects);
            }
            Input::Swept { leftover } => effects.push(Effect::Save(Change::Swept(leftover))),
            Input::AddInput { request, id, user, files } => {
                step::input_files::on_add(self, now.wall, request, (id, user), files, effects);
            }
            Input::InputFilesReceived { request, id, files } => {
                step::input_files::on_received(self, now.wall, request, id, &files, effects);
            }
            Input::DeleteInput { request, id } => step::input_files::on_delete(self, request, id, effects),
            Input::UseInput { id } => step::input_files::touch(self, now.wall, id, effects),
            Input::ExpireInputs { unused_since, except } => {
                step::input_files::on_expire(self, unused_since, &except, effects);
            }
            Input::DeleteFiles { request, user, files } => {
                step::files::on_delete(self, request, user, files, effects);
            }
            Input::CreateFirstUser { request, user } => step::user::on_create_first(self, request, user, effects),
            Input::ChangeAccount { request, name, change } => {
                step::user::on_change(self, request, &name, change, effects);
            }
            Input::ChangeToken { request, change } => step::token::on_change(self, request, change, effects),
            Input::ChangeLogin { request, change } => {
                step::login::on_change(self, now.wall, request, change, effects);
            }
            Input::KeepGuesses { request, changes } => {
                effects.extend(changes.into_iter().map(|(key, count)| Effect::Save(Change::Guess(key, count))));
                effects.push(Effect::Reply(request, Ok(Answer::Done)));
            }
            Input::Audit { note, of } => step::audit::on_note(self, now.wall, note, &of, effects),
            Input::Drain { request } => step::drain::on_drain(self, request, effects),
            Input::DeleteRunFiles { request, user, runs, size } => {
                step::files::on_delete_runs(self, request, user, (&runs, size), effects);
            }
            Input::FilesStaged { request, worker, key, files, upload } => {
                step::upload::on_staged(self, request, (&worker, key), files, upload, effects);
            }
            Input::UploadEnded { request, worker, key, files, staged } => {
                step::upload::on_ended(self, request, (&worker, key), files, staged, effects);
            }
            Input::DropUpload { request, key, sweep } => step::upload::on_drop(request, key, sweep, effects),
            Input::FilesStored { request, worker, key, files, before } => {
                step::files::on_stored(self, request, &worker, key, (files, &before), effects);
            }
            Input::FixResources { request } => step::inquire::on_fix_resources(self, request, effects),
            Input::WorkerInventoried { worker, session, inventory } => {
                step::inquire::on_inventoried(self, now, &worker, session, &inventory, effects);
            }
            Input::ChangeJoinToken { request, change } => {
                step::join::on_change(self, now.wall, request, change, effects);
            }
            Input::ChangeRegistry { request, name, record } => {
                step::registry::on_change(self, request, name, record, effects);
            }
            Input::JoinWorker { request, joining } => step::join::on_join(self, now, request, joining, effects),
            Input::RegisterWorker { request, worker, address } => {
                step::admit::on_register(self, now, request, worker, address, effects);
            }
            Input::WorkerAnnounced { request, asking, open } => {
                step::admit::on_announced(self, now, request, asking, open, effects);
            }
            Input::ApproveWorker { request, worker, address } => {
                step::admit::on_approve(self, now, request, worker, address, effects);
            }
            Input::CordonWorker { request, worker, cordon } => {
                step::cordon::on_cordon(self, now, request, worker, cordon, effects);
            }
            Input::UnregisterWorker { request, worker } => {
                step::unregister::on_unregister(self, now, request, worker, effects);
            }
            Input::WorkerConnected { session, proof, hello } => {
                step::connect::on_connected(self, now, (session, proof), hello, effects);
            }
            Input::WorkerDisconnected { worker, session } => {
                step::connect::on_disconnected(self, &worker, session, effects);
            }
            Input::WorkerHeard { worker, session, at, heartbeat } => {
                step::lease::on_heard(self, now, (&worker, session, at), heartbeat, effects);
            }
            Input::WorkerReported { worker, session, reports } => {
                step::report::on_reported(self, now, &worker, session, reports, effects);
            }
            Input::TimerFired => step::lease::on_timer(self, now, effects),
        }
    }

    /// The end of a batch: places what waits, and saves the progress of every task that changed.
    pub fn settle(&mut self, now: Now, effects: &mut Vec<Effect>) {
        if self.plan_stale && !self.draining && !self.queue.is_empty() {
            self.place(now, effects);
        }
        self.plan_stale = self.plan_unfinished;
        for id in std::mem::take(&mut self.dirty) {
            self.save_progress(now, id, effects);
        }
    }

    /// When the shell shall send [`Input::TimerFired`]; none: nothing changes by time alone.
    #[must_use]
    pub fn next_wake(&self) -> Option<BootTime> {
        if self.plan_unfinished {
            return Some(BootTime(0));
        }
        self.next_deadline().into_iter().chain(self.alarms.first()).min()
    }

    /// When a worker that nothing is heard of becomes something else.
    pub(crate) fn next_deadline(&self) -> Option<BootTime> {
        self.workers.values().filter_map(|worker| worker.deadline(&self.settings, self.awake)).min()
    }

    /// Which cluster this is, and the number of this start.
    #[must_use]
    pub fn identity(&self) -> ClusterRecord {
        self.identity
    }

    /// The runs that workers hold, each with its worker.
    pub fn live_runs(&self) -> impl Iterator<Item = (AttemptKey, &WorkerId)> {
        self.tasks.values().flat_map(|task| task.live.iter().map(|(index, run)| (task.key(*index, run), &run.worker)))
    }

    /// How many runs workers hold.
    #[must_use]
    pub fn live_attempts(&self) -> usize {
        self.ledger.live()
    }

    /// Whether an idempotency key belongs to a task that is not over, so that the store need not be asked.
    #[must_use]
    pub fn knows_key(&self, user: &UserName, key: &Arc<str>) -> bool {
        self.keys.contains_key(&(user.clone(), Arc::clone(key)))
    }

    /// The submissions that have not ended, each with its owner.
    pub fn open_tasks(&self) -> impl Iterator<Item = (TaskId, &UserName)> {
        self.tasks.iter().map(|(id, task)| (*id, &task.record.user))
    }

    /// All personal tokens, by id.
    pub fn tokens(&self) -> impl Iterator<Item = &TokenRecord> {
        self.tokens.values()
    }

    /// All logins, by id.
    pub fn logins(&self) -> impl Iterator<Item = &LoginRecord> {
        self.logins.values()
    }

    /// All accounts, by name.
    pub fn users(&self) -> impl Iterator<Item = &UserRecord> {
        self.users.values()
    }

    /// The workers as a policy sees them, by name.
    pub(crate) fn rooms(&self) -> Vec<Room> {
        let room = |(id, worker): (&WorkerId, &Worker)| {
            let Nature { protocol, features, features_of_pool, offline, capacity, .. } =
                Nature::of(id, worker, &self.settings);
            let gpus = self.devices(id, worker);
            let mut free = capacity.saturating_sub(self.ledger.reserved(id));
            if !gpus.is_empty() {
                // What runs have of GPUs that are not there any more takes nothing from the others.
                free.gpu_millis = gpus.iter().map(Device::available).sum();
            }
            Room {
                worker: id.clone(),
                state: worker.state(),
                protocol,
                features,
                features_of_pool,
                capacity,
                free,
                gpus,
                healthy: worker.problem.is_none(),
                left_out: worker.failing.is_left_out,
                cordoned: worker.record.cordon.is_some(),
                offline,
                labels: Arc::clone(&worker.record.facts.labels),
            }
        };
        self.workers.iter().map(room).collect()
    }

    /// The GPUs of a worker, and what is free of them; empty: it has none, or only says how many.
    pub(crate) fn devices(&self, id: &WorkerId, worker: &Worker) -> Vec<Device> {
        let is_ill = |uuid: &str| worker.ill_gpus.iter().any(|ill| ill.uuid == uuid);
        let gpus = &worker.record.facts.gpus;
        let mut devices: Vec<_> = gpus.iter().map(|gpu| Device::unused(gpu, is_ill(&gpu.uuid))).collect();
        if devices.is_empty() {
            return devices;
        }
        for (element, resources) in self.ledger.runs(id) {
            if resources.gpu_millis == 0 {
                continue;
            }
            let run = self.tasks.get(&element.task).and_then(|task| task.live.get(&element.index));
            let Some(run) = run else { continue };
            if run.gpus.is_empty() {
                // Placed when the worker only said how many it has: it has some of them, and nobody knows which.
                let some = gpus::choose(&devices, resources.gpu_millis).unwrap_or_default();
                gpus::take(&mut devices, &some);
            } else {
                gpus::take(&mut devices, &run.gpus);
            }
        }
        devices
    }

    /// The GPUs for a run that is about to be placed; none: they are not to be had.
    fn lease_gpus(&self, id: &WorkerId, millis: u64) -> Option<Vec<GpuLease>> {
        let worker = self.workers.get(id)?;
        if millis == 0 || worker.record.facts.gpus.is_empty() {
            return Some(Vec::new());
        }
        gpus::choose(&self.devices(id, worker), millis)
    }

    fn place(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let rooms = self.rooms();
        let classes = self.queue.classes().map(|(shape, tasks)| ClassDemand { shape, tasks }).collect();
        let tasks = Tasks(&self.tasks);
        let limit = self.settings.placements_per_pass;
        let plan = self.scheduler.plan(&Demand::new(classes, &tasks), &rooms, limit);
        self.plan_unfinished = plan.unfinished;
        let mut orders: BTreeMap<SessionId, Vec<Assignment>> = BTreeMap::new();
        for placement in plan.placements {
            let Some(session) = self.workers.get(&placement.worker).and_then(Worker::session) else { continue };
            match self.place_one(now, &placement, effects) {
                Some(assignment) => orders.entry(session).or_default().push(assignment),
                // Elements of another class of its task came first: what was planned for it may be had by others.
                None => self.plan_unfinished = true,
            }
        }
        effects.extend(orders.into_iter().map(|(session, orders)| Effect::Send(session, ToWorker::Assign(orders))));
    }

    fn place_one(&mut self, now: Now, placement: &Placement, effects: &mut Vec<Effect>) -> Option<Assignment> {
        let Placement { task: id, shape, worker } = placement;
        let leases = self.lease_gpus(worker, shape.resources.gpu_millis)?;
        let task = self.tasks.get_mut(id)?;
        let host = self.workers.get(worker)?;
        let confinement = self.settings.confinement_in(&host.record.facts.labels, task.record.spec.confinement);
        let waiting = task.take_waiting(shape)?;
        self.last_fence += 1;
        let run = Run {
            attempt: waiting.attempts + 1,
            fence: Fence::new(self.identity.epoch, self.last_fence),
            worker: worker.clone(),
            infrastructure_failures: waiting.infrastructure_failures,
            memory: waiting.memory,
            gpus: leases,
            confinement,
            placed_at: now.wall,
            placed: now.boot,
            overdue: false,
            phase: RunPhase::Pending,
        };
        let key = task.key(waiting.index, &run);
        effects.push(Effect::Save(Change::Attempt(task.attempt_record(waiting.index, &run))));
        effects.push(Effect::Publish(Event::AttemptPlaced {
            task: task.shown(waiting.index),
            key,
            worker: worker.clone(),
        }));
        self.ledger.reserve(worker, key.element(), shape.resources);
        task.live.insert(waiting.index, run);
        if task.waiting_in(shape) == 0 {
            self.queue.remove(shape, task.record.sequence);
        }
        self.dirty.insert(*id);
        let assignment = assignment(task, key, &self.settings);
        step::ring::forget_requeued(self, key.element());
        Some(assignment)
    }

    /// What a worker is told of a run that has not arrived there: as strict as its pool has become meanwhile.
    pub(crate) fn assign_again(&mut self, key: AttemptKey, effects: &mut Vec<Effect>) -> Option<Assignment> {
        let task = self.tasks.get_mut(&key.task)?;
        let run = task.live.get_mut(&key.index)?;
        let host = self.workers.get(&run.worker)?;
        let confinement = self.settings.confinement_in(&host.record.facts.labels, task.record.spec.confinement);
        if run.confinement != confinement {
            run.confinement = confinement;
            let run = run.clone();
            effects.push(Effect::Save(Change::Attempt(task.attempt_record(key.index, &run))));
        }
        Some(assignment(task, key, &self.settings))
    }

    /// Takes the task out of the classes in which nothing of it waits any more. `before` is what waited.
    pub(crate) fn leave_queue(&mut self, id: TaskId, before: &BTreeSet<Option<u64>>) {
        if let Some(task) = self.tasks.get(&id) {
            for memory in before.difference(&task.waiting_memories()) {
                self.queue.remove(&task.shape_with(*memory), task.record.sequence);
            }
        }
        self.dirty.insert(id);
    }

    fn save_progress(&mut self, now: Now, id: TaskId, effects: &mut Vec<Effect>) {
        let Some(task) = self.tasks.get_mut(&id) else { return };
        let after = task.tally();
        let before = std::mem::replace(&mut task.progress.tally, after);
        count(&mut self.totals, &before, &after);
        let over = task.is_over();
        if over {
            task.progress.finished_at = Some(now.wall);
            task.progress.recent = Recent::default();
        }
        effects.push(Effect::Save(Change::Progress(id, task.progress.clone())));
        if over {
            effects.push(Effect::Publish(Event::TaskEnded { task: id, state: task.progress.state() }));
            if let Some(key) = &task.record.key {
                self.keys.remove(&(task.record.user.clone(), Arc::clone(&key.key)));
            }
            count(&mut self.totals, &task.progress.tally, &Tally::default());
            self.alarms.clear(&Alarm::Waited(id));
            if let Some(task) = self.tasks.remove(&id) {
                step::input_files::end_reading(self, now.wall, &task.record, effects);
            }
        }
    }
}

/// Moves what a task had into what it has.
pub(crate) fn count(totals: &mut TaskCounts, before: &Tally, after: &Tally) {
    let shift = |total: &mut u64, before: u32, after: u32| *total = *total + u64::from(after) - u64::from(before);
    shift(&mut totals.queued, before.queued, after.queued);
    shift(&mut totals.pending, before.pending, after.pending);
    shift(&mut totals.running, before.running, after.running);
}

/// What a worker is told about a run.
fn assignment(task: &Task, key: AttemptKey, settings: &Settings) -> Assignment {
    let spec = &task.record.spec;
    let run = task.live.get(&key.index);
    let confinement = run.and_then(|run| run.confinement).unwrap_or(spec.confinement);
    let mut env = spec.env.clone();
    if let Some(array) = &task.record.array {
        let facts = [(INDEX_VARIABLE, key.index), (COUNT_VARIABLE, array.indices.len())];
        env.extend(facts.map(|(name, value)| (name.to_owned(), value.to_string())));
    }
    if spec.policy.retries > 0 {
        env.insert(ATTEMPT_VARIABLE.to_owned(), key.attempt.to_string());
    }
    Assignment {
        key,
        image: task.image().clone(),
        command: spec.command.clone(),
        resources: task.resources(run.and_then(|run| run.memory)),
        gpus: run.map(|run| run.gpus.clone()).unwrap_or_default(),
        env,
        input: spec.input,
        user: task.record.user.clone(),
        name: spec.name.clone(),
        stop_grace: task.stop_grace(settings),
        time_limit: spec.policy.time_limit.map(|limit| limit.0),
        at_most_once: spec.policy.at_most_once,
        blocking_log: spec.policy.blocking_log,
        storage_reserved: spec.policy.storage_reserved && confinement.profile == Profile::Standard,
        pull: spec.pull,
        confinement,
    }
}

/// The counts that a policy asks for.
#[derive(Debug)]
struct Tasks<'a>(&'a BTreeMap<TaskId, Task>);

impl WaitingCount for Tasks<'_> {
    fn waiting(&self, task: TaskId, shape: &Shape) -> u32 {
        self.0.get(&task).map_or(0, |task| task.placeable_in(shape))
    }
}

impl Cluster {
    /// The number of this start of the master.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.identity.epoch
    }
}
