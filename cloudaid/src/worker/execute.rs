//! Each effect as the call that it is. Nothing is decided here; what takes time runs by itself and answers by an input.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cloudaid_core::agent::{AgentEffect, AgentInput, StopSignal};
use shared::confinement::Profile;
use shared::id::{AttemptKey, ClusterId, Fence, InputId};
use shared::link::{Assignment, AttemptChange, Report, RunLimits};
use shared::pull::PullPolicy;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use super::data_dir::{DataDir, remove_stale};
use super::driver::{Event, Saying};
use super::engine;
use super::gpu::GpuWatch;
use super::hold::Hold;
use super::inputs::{Inputs, blocking};
use super::link::dial::Uplink;
use super::logs::{Intake, Lanes, Place, Pump, Room, Spool};
use super::means::Means;
use super::registries;
use super::storage::{self, Excess, StorageWatch};
use super::tidy::Tidy;
use super::uploads::{Outputs, Uploads};
use super::volume::Volume;
use crate::pause::Pauses;
use crate::runtime::{ContainerSpec, ImageWish, Runtime, RuntimeError};

/// Engine calls at a time, waits and log streams not counted: more only queue inside the engine.
const ENGINE_CALLS: usize = 32;
/// Looks at files without a name at a time: the threads that they take are everybody's.
const LOOKS: usize = 2;

/// How long a container may run before its log is followed. Most that are short have ended by then, and to read a log
/// that is complete costs the engine less than following it.
const LOG_DELAY: Duration = Duration::from_millis(500);

/// How an engine says that it cannot mount a volume.
const NOT_MOUNTED: &str = "failed to mount local volume";
/// How long what a run has left is tried to be mounted.
const MOUNT_PATIENCE: Duration = Duration::from_secs(120);

/// What is going on for a run.
#[derive(Debug, Default)]
struct Following {
    /// What has no purpose any more when the run is removed.
    orders: Vec<AbortHandle>,
    /// Cancelled when its container has ended.
    ended: CancellationToken,
    /// Whether its log waits for the master.
    log_waits: watch::Sender<bool>,
    /// If it may be held for its log: ends that.
    hold: Option<CancellationToken>,
}

/// Carries effects out.
#[derive(Debug)]
pub(super) struct Executor {
    runtime: Arc<dyn Runtime>,
    cluster: ClusterId,
    data: Arc<DataDir>,
    events: mpsc::Sender<Event>,
    calls: Arc<Semaphore>,
    looks: Arc<Semaphore>,
    tidy: Arc<Tidy>,
    lanes: Arc<Lanes>,
    /// Disk for logs that wait for the master.
    log_room: Arc<Room>,
    uploads: Arc<Uploads>,
    inputs: Arc<Inputs>,
    uplink: watch::Receiver<Option<Uplink>>,
    /// Looked at before it is said that a run has failed.
    gpus: GpuWatch,
    means: Means,
    runs: BTreeMap<AttemptKey, Following>,
    /// Everything that goes on; ends with this executor.
    orders: JoinSet<()>,
}

impl Executor {
    pub(super) fn new(
        runtime: Arc<dyn Runtime>,
        cluster: ClusterId,
        data: Arc<DataDir>,
        events: mpsc::Sender<Event>,
        uplink: watch::Receiver<Option<Uplink>>,
        gpus: GpuWatch,
        means: Means,
    ) -> Self {
        let lanes = Arc::new(Lanes::new(uplink.clone()));
        let uploads = Arc::new(Uploads::new(uplink.clone()));
        let inputs = Arc::new(Inputs::new(Arc::clone(&data), uplink.clone()));
        let calls = Arc::new(Semaphore::new(ENGINE_CALLS));
        let tidy = Arc::default();
        let (runs, orders) = (BTreeMap::new(), JoinSet::new());
        Self {
            runtime,
            cluster,
            data,
            events,
            calls,
            looks: Arc::new(Semaphore::new(LOOKS)),
            tidy,
            lanes,
            log_room: Arc::default(),
            uploads,
            inputs,
            uplink,
            gpus,
            means,
            runs,
            orders,
        }
    }

    /// Removes output directories that belong to no run.
    pub(super) fn sweep(&self, held: &BTreeSet<AttemptKey>) {
        match self.data.stale(held) {
            Ok(stale) => drop(tokio::task::spawn_blocking(|| remove_stale(stale))),
            Err(error) => tracing::warn!(%error, "Old output directories cannot be removed"),
        }
        self.inputs.sweep();
    }

    pub(super) fn execute(&mut self, effect: AgentEffect, master: Option<&mpsc::UnboundedSender<Saying>>) {
        while self.orders.try_join_next().is_some() {}
        match effect {
            // The driver has made it durable.
            AgentEffect::Journal(_) => {}
            AgentEffect::Prepare { key, image, pull, input } => self.prepare(key, image, pull, input),
            AgentEffect::Create(assignment) => self.create(assignment),
            AgentEffect::Start(key) => self.start(key),
            AgentEffect::Wait(key) => self.wait(key),
            AgentEffect::Signal(key, signal) => self.signal(key, signal),
            AgentEffect::CollectLogs(key) => self.collect_logs(key),
            AgentEffect::HoldForLog(key) => self.hold_for_log(key),
            AgentEffect::WatchStorage { key, limit_bytes, reserved } => self.watch_storage(key, limit_bytes, reserved),
            AgentEffect::UploadOutputs(key) => self.upload_outputs(key),
            AgentEffect::Remove(key) => self.remove(key),
            AgentEffect::ListContainers { horizon, watched } => self.list_containers(horizon, watched),
            AgentEffect::Report(report) => {
                note(&report);
                say(master, Saying::Report(report));
            }
            AgentEffect::Answer(inventory) => say(master, Saying::Inventory(inventory)),
        }
    }

    fn list_containers(&mut self, horizon: Fence, watched: Vec<AttemptKey>) {
        let (runtime, data, cluster) = (Arc::clone(&self.runtime), Arc::clone(&self.data), self.cluster);
        self.call(async move {
            let found = runtime.inventory(cluster, data.name()).await;
            let found = found.map(|found| found.into_iter().map(engine::found).collect());
            AgentInput::Listed { horizon, watched, found: found.map_err(|error| engine::in_words(&error)) }
        });
    }

    fn prepare(&mut self, key: AttemptKey, image: String, pull: PullPolicy, input: Option<InputId>) {
        let (runtime, inputs) = (Arc::clone(&self.runtime), Arc::clone(&self.inputs));
        let wish = ImageWish { image, pull, logins: Some(registries::of(key, self.uplink.clone())) };
        // It may take long, and ends with the run. It is no call of those that are counted: many runs may wait for one
        // image, and no other may wait for them.
        self.follow(key, async move {
            let prepared = async {
                if let Some(input) = input {
                    inputs.ensure(key, input).await?;
                }
                runtime.prepare_image(&wish).await
            };
            match prepared.await {
                Ok(image) => AgentInput::ImageReady(key, image),
                Err(error) => {
                    tracing::warn!(task = %key, image = wish.image, %error, "Image or input is not available");
                    AgentInput::ImageFailed(key, engine::error(error))
                }
            }
        });
    }

    fn create(&mut self, assignment: Arc<Assignment>) {
        let (runtime, data, cluster) = (Arc::clone(&self.runtime), Arc::clone(&self.data), self.cluster);
        let starting = self.tidy.starting();
        let is_strict = assignment.confinement.profile == Profile::Strict;
        let means = self.means.clone();
        self.call(async move {
            let _starting = starting;
            let key = assignment.key;
            let has_volume = is_strict && means.has_volumes().await;
            match create(&*runtime, &data, cluster, &assignment, has_volume).await {
                Ok(()) => AgentInput::Created(key),
                Err(error) => {
                    tracing::warn!(task = %key, %error, "Container was not made");
                    AgentInput::CreateFailed(key, engine::error(error))
                }
            }
        });
    }

    fn start(&mut self, key: AttemptKey) {
        let (runtime, gpus) = (Arc::clone(&self.runtime), self.gpus.clone());
        let (data, means) = (Arc::clone(&self.data), self.means.clone());
        let starting = self.tidy.starting();
        self.call(async move {
            let _starting = starting;
            let started = match data.output_device(&key) {
                Some(device) => start_on(&*runtime, &data, key, device, &means).await,
                None => runtime.start(&key).await,
            };
            match started {
                Ok(()) => AgentInput::Started(key),
                Err(error) => {
                    tracing::warn!(task = %key, %error, "Container was not started");
                    gpus.look().await;
                    AgentInput::StartFailed(key, engine::error(error))
                }
            }
        });
    }

    fn wait(&mut self, key: AttemptKey) {
        let (runtime, gpus) = (Arc::clone(&self.runtime), self.gpus.clone());
        let (data, events) = (Arc::clone(&self.data), self.events.clone());
        let ended = self.runs.entry(key).or_default().ended.clone();
        self.follow(key, async move {
            match runtime.wait(&key).await {
                // What goes on for it goes on.
                Ok(exit) if exit.runs_again => AgentInput::Exited(key, engine::ended(exit)),
                Ok(exit) => {
                    ended.cancel();
                    if exit.code != 0 {
                        gpus.look().await;
                        // Before its end: it is why it failed, unless there is a better reason.
                        let may_be = !exit.by_engine && !exit.oom;
                        let (volume, output, limit) = (data.volume(&key), data.output(&key), data.storage(&key));
                        if may_be && let Some(largest) = storage::filled(volume, output, limit).await {
                            let full = AgentInput::StorageExceeded { key, used_bytes: None, largest };
                            let _ = events.send(Event::Input(full)).await;
                        }
                    }
                    AgentInput::Exited(key, engine::ended(exit))
                }
                Err(error) => {
                    tracing::warn!(task = %key, %error, "Waiting for the container failed");
                    AgentInput::WaitFailed(key, engine::error(error))
                }
            }
        });
    }

    fn signal(&mut self, key: AttemptKey, signal: StopSignal) {
        tracing::info!(task = %key, ?signal, "Stopping");
        let runtime = Arc::clone(&self.runtime);
        let held = self.runs.get(&key).and_then(|following| following.hold.clone());
        self.orders.spawn(async move {
            if let Some(over) = held {
                // What stands still does not hear it.
                over.cancel();
                if let Err(error) = runtime.freeze(&key, false).await {
                    tracing::warn!(task = %key, %error, "The container could not be thawed");
                }
            }
            if let Err(error) = runtime.signal(&key, engine::signal(signal)).await {
                tracing::warn!(task = %key, %error, "The container could not be signalled");
            }
        });
    }

    fn collect_logs(&mut self, key: AttemptKey) {
        let place = Place::at(self.data.log_place(&key));
        let spool = Spool::at(self.data.log_spool(&key), Arc::clone(&self.log_room));
        let intake = Intake::new(key, Arc::clone(&self.runtime), place, spool);
        let following = self.runs.entry(key).or_default();
        let (ended, waits) = (following.ended.clone(), following.log_waits.clone());
        let pump = Pump { key, lanes: Arc::clone(&self.lanes), intake, waits };
        self.follow(key, async move {
            // Whichever comes first.
            let _early = tokio::time::timeout(LOG_DELAY, ended.cancelled()).await;
            AgentInput::LogsDrained(key, pump.drain().await)
        });
    }

    fn hold_for_log(&mut self, key: AttemptKey) {
        let following = self.runs.entry(key).or_default();
        let (over, waits) = (following.ended.child_token(), following.log_waits.subscribe());
        let hold = Hold { key, runtime: Arc::clone(&self.runtime), waits, over: over.clone() };
        following.hold = Some(over);
        following.orders.push(self.orders.spawn(hold.keep()));
    }

    fn watch_storage(&mut self, key: AttemptKey, limit_bytes: u64, reserved: bool) {
        if self.data.volume(&key).exists() {
            // Nothing else can be written to, and that is as large as it may be.
            return;
        }
        let (runtime, output) = (Arc::clone(&self.runtime), self.data.output(&key));
        let (calls, looks) = (Arc::clone(&self.calls), Arc::clone(&self.looks));
        let ended = self.runs.entry(key).or_default().ended.clone();
        self.follow(key, async move {
            let watch = StorageWatch { key, runtime, calls, looks, output, limit_bytes };
            match ended.run_until_cancelled(watch.seen(reserved)).await {
                Some(Excess { used_bytes, largest }) => {
                    AgentInput::StorageExceeded { key, used_bytes: Some(used_bytes), largest }
                }
                // There is nothing to answer. It goes with the run.
                None => std::future::pending().await,
            }
        });
    }

    fn upload_outputs(&mut self, key: AttemptKey) {
        let (uploads, volume) = (Arc::clone(&self.uploads), self.data.volume(&key));
        let (storage, given_up) = (self.data.storage(&key), self.data.given_up(&key));
        let outputs = Outputs { root: self.data.output(&key), storage, given_up };
        self.follow(key, async move {
            match open_volume(key, volume).await {
                Ok(()) => uploads.upload(key, outputs).await,
                Err(error) => AgentInput::UploadFailed(key, format!("its /output cannot be mounted: {error}")),
            }
        });
    }

    fn remove(&mut self, key: AttemptKey) {
        if let Some(following) = self.runs.remove(&key) {
            following.orders.iter().for_each(AbortHandle::abort);
        }
        let (runtime, data, tidy) = (Arc::clone(&self.runtime), Arc::clone(&self.data), Arc::clone(&self.tidy));
        if data.reads_input(&key) {
            let inputs = Arc::clone(&self.inputs);
            self.orders.spawn(async move { inputs.sweep_later().await });
        }
        self.spawn(async move {
            let _turn = tidy.turn().await;
            let removed = async {
                runtime.remove(&key).await.map_err(|error| error.to_string())?;
                if data.has_run(&key) {
                    blocking(move || data.remove_run(&key)).await.map_err(|error| error.to_string())?;
                }
                Ok::<_, String>(())
            };
            match removed.await {
                Ok(()) => AgentInput::Removed(key),
                Err(error) => {
                    tracing::warn!(task = %key, error, "Something of the container is left; trying again");
                    AgentInput::RemoveFailed(key)
                }
            }
        });
    }

    /// A short call to the engine, of which only so many run at a time.
    fn call(&mut self, order: impl Future<Output = AgentInput> + Send + 'static) {
        let calls = Arc::clone(&self.calls);
        self.spawn(async move {
            // The semaphore is never closed.
            let _slot = calls.acquire().await;
            order.await
        });
    }

    /// Something that goes on until it is done or the run is removed.
    fn follow(&mut self, key: AttemptKey, order: impl Future<Output = AgentInput> + Send + 'static) {
        let order = self.spawn(order);
        let orders = &mut self.runs.entry(key).or_default().orders;
        orders.retain(|order| !order.is_finished());
        orders.push(order);
    }

    fn spawn(&mut self, order: impl Future<Output = AgentInput> + Send + 'static) -> AbortHandle {
        let events = self.events.clone();
        self.orders.spawn(async move {
            let input = order.await;
            // Nobody listens when the worker has stopped.
            let _ = events.send(Event::Input(input)).await;
        })
    }
}

async fn create(
    runtime: &dyn Runtime,
    data: &DataDir,
    cluster: ClusterId,
    assignment: &Assignment,
    has_volume: bool,
) -> Result<(), RuntimeError> {
    let key = assignment.key;
    let noted = data.note_storage(&key, assignment.resources.storage_bytes);
    noted.map_err(|error| RuntimeError::Engine(format!("/output cannot be made: {error}")))?;
    let volume = data.volume(&key);
    // What an earlier try has made is what will be read.
    let output_device = match has_volume || volume.exists() {
        true => Some(make_volume(volume, assignment.resources.storage_bytes).await?),
        false => None,
    };
    if let Some(device) = &output_device {
        let noted = data.output_device(&key);
        if noted.as_ref().is_some_and(|noted| noted != device) {
            // One that was made with another device, and never started.
            runtime.remove(&key).await?;
        }
        if noted.as_ref() != Some(device) {
            let written = data.note_output_device(&key, device);
            written.map_err(|error| RuntimeError::Engine(format!("/output cannot be made: {error}")))?;
        }
    }
    let spec = ContainerSpec {
        key,
        cluster,
        worker: data.name().clone(),
        name: assignment.name.clone(),
        image: assignment.image.clone(),
        confinement: assignment.confinement,
        command: assignment.command.clone(),
        env: assignment.env.clone(),
        resources: assignment.resources,
        gpus: assignment.gpus.iter().map(|lease| lease.uuid.clone()).collect(),
        output: data.output(&key),
        output_device,
        input: assignment.input.map(|input| data.input(input)),
        limits: RunLimits::of(assignment),
    };
    runtime.create(&spec).await
}

async fn make_volume(volume: Volume, bytes: u64) -> Result<PathBuf, RuntimeError> {
    let made = blocking(move || volume.ensure(bytes)).await;
    made.map_err(|error| RuntimeError::Engine(format!("/output cannot be made: {error}")))
}

/// Starts a container whose /output is on a device, if it is still that of this run.
async fn start_on(
    runtime: &dyn Runtime,
    data: &DataDir,
    key: AttemptKey,
    device: PathBuf,
    means: &Means,
) -> Result<(), RuntimeError> {
    let volume = data.volume(&key);
    let problem = match blocking(move || volume.mount()).await {
        Ok(now) if now == device => match runtime.start(&key).await {
            Err(RuntimeError::Engine(message) | RuntimeError::NotStarted(message)) if message.contains(NOT_MOUNTED) => {
                tracing::warn!("/output of strict tasks is measured from now on: this engine mounts no loop devices");
                means.lack_volumes();
                message
            }
            other => return other,
        },
        Ok(now) => format!("it is not on {} any more, but on {}", device.display(), now.display()),
        Err(error) => format!("it cannot be mounted: {error}"),
    };
    tracing::warn!(task = %key, problem, "It is run anew: its container cannot have its /output");
    runtime.remove(&key).await?;
    Err(RuntimeError::NotFound)
}

/// Mounts it again, where something has unmounted it. What is in it is all that the run leaves, so it is tried for a while.
async fn open_volume(key: AttemptKey, volume: Volume) -> std::io::Result<()> {
    let mut pauses = Pauses::default();
    let begin = tokio::time::Instant::now();
    loop {
        let volume = volume.clone();
        match blocking(move || if volume.exists() { volume.mount().map(drop) } else { Ok(()) }).await {
            Err(error) if begin.elapsed() < MOUNT_PATIENCE => {
                tracing::warn!(task = %key, %error, "Its /output cannot be mounted; trying again");
            }
            other => return other,
        }
        tokio::time::sleep(pauses.next()).await;
    }
}

/// A session that has just ended takes no more; the next one begins with everything.
fn say(master: Option<&mpsc::UnboundedSender<Saying>>, saying: Saying) {
    if let Some(master) = master {
        let _ = master.send(saying);
    }
}

/// What a person who watches the worker's log wants to see.
fn note(report: &Report) {
    match &report.change {
        AttemptChange::Preparing => {}
        AttemptChange::Started { .. } => tracing::info!("Run started: {}", report.key),
        AttemptChange::Finished(outcome) => {
            tracing::info!("Run ended: {} ({})", report.key, outcome.verdict);
        }
    }
}
