//! Runs tasks on one machine: the pure [`cloudaid_core::agent`] between a container engine and a master.
//!
//! Read in this order: `first_look` (what there is to begin with), `driver` (the loop), `execute` (each effect as a call),
//! `journal` and `lease` (what outlives the process), `backlog` and `refusal` (what waits for the journal, and why), `means`
//! (what a strict task waits for at the start), `link` (the control stream), `logs` and `uploads` (bulk data on connections of
//! their own), `seed` (a master of the first generation).
//!
//! A worker that stops leaves its containers running; the next one with the same data directory finds them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use cloudaid_core::agent::AgentSettings;
use shared::id::ClusterId;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock;
use crate::config::WorkerConfig;
use crate::held;
use crate::open_files;
use crate::runtime::Runtime;
use crate::runtime::docker::DockerRuntime;
use data_dir::DataDir;
use driver::{Driver, EVENT_LIMIT};
use execute::Executor;
use first_look::{FirstLook, Patience};
use gpu::Gpus;
use join::Joined;
use journal::Journal;
use late::Late;
use lease::LeaseFile;
use link::dial::{Dialer, Master};
use link::{Link, Offer};
use means::Means;
use seed::Gateway;

pub use error::WorkerError;

mod backlog;
pub mod bad_disk;
mod capacity;
mod checksum;
mod credentials;
mod data_dir;
pub mod doctor;
mod driver;
mod engine;
mod error;
mod execute;
mod first_look;
mod gpu;
mod health;
mod hold;
mod inputs;
mod join;
mod journal;
mod late;
mod lease;
mod link;
mod logs;
mod means;
pub mod outputs;
mod presence;
mod program;
mod refusal;
mod registries;
mod removal;
mod seed;
mod storage;
mod telemetry;
mod tidy;
mod uploads;
mod volume;

#[cfg(test)]
mod tests;

/// Who stops and wants nothing kept waits so long for a journal that takes nothing.
const JOURNAL_PATIENCE: Duration = Duration::from_secs(30);

/// Runs on the Docker engine of this machine until `shutdown`.
///
/// # Errors
/// It cannot start (data directory, token, another cluster). A disk that gets full or fails later is waited for.
pub async fn run(config: WorkerConfig, shutdown: CancellationToken) -> Result<(), WorkerError> {
    // Each container takes some.
    open_files::as_many_as_can_be();
    let engine = DockerRuntime::connect(config.docker_host.as_deref());
    let engine = engine.map_err(|error| WorkerError::Engine(engine::in_words(&error)))?;
    let engine = engine.keeping_images(config.data_dir.join("images"), config.image_room);
    let engine = engine.with_pull_limits(config.pull_limits).after(presence::last(&config.data_dir));
    run_with(Arc::new(engine), config, shutdown).await
}

/// The same on any engine, for tests and benches.
///
/// # Errors
/// As [`run`].
pub async fn run_with(
    runtime: Arc<dyn Runtime>,
    config: WorkerConfig,
    shutdown: CancellationToken,
) -> Result<(), WorkerError> {
    run_within(runtime, config, shutdown, JOURNAL_PATIENCE).await
}

/// The same, with so much patience for a journal when it stops.
async fn run_within(
    runtime: Arc<dyn Runtime>,
    config: WorkerConfig,
    shutdown: CancellationToken,
    patience: Duration,
) -> Result<(), WorkerError> {
    let open = || std::future::ready(DataDir::open(&config.data_dir, &config.name));
    let data = held::wait(held::PATIENCE, open, |error| matches!(error, WorkerError::InUse { .. }));
    let Some(data) = shutdown.run_until_cancelled(data).await else { return Ok(()) };
    let data = data?;
    let journal = Journal::open(data.path())?;
    // Everything below ends when this does: on shutdown, and when the driver gives up.
    let life = CancellationToken::new();
    let end_of_life = life.clone().drop_guard();
    let servers = TaskTracker::new();
    let belongs = belong(&*runtime, &config, &data, &servers, &shutdown, &life).await?;
    let Some((dialer, cluster, gpus)) = belongs else { return Ok(()) };
    let had_joined = data.cluster().is_some();
    let data = Arc::new(data.join(cluster)?);
    let lease_file = LeaseFile::at(data.lease());
    let lease = lease_file.load();
    let engine_patience = match config.seed {
        Some(_) => Patience::Endless,
        None if had_joined && journal.is_damaged() => Patience::Blind,
        None => Patience::within(lease::left(lease, &journal.entries(), clock::boot())),
    };
    let look = FirstLook::take(&*runtime, cluster, data.name(), engine_patience);
    let Some(FirstLook { answer, found }) = shutdown.run_until_cancelled(look).await else { return Ok(()) };
    let offer = watch::Sender::new(Offer::measure(&config, answer.as_ref().ok(), &gpus)?);
    let first_answer = watch::Sender::new(answer);
    let (events, inbox) = mpsc::channel(EVENT_LIMIT);
    let (uplinks, uplink) = watch::channel(None);
    let running = Arc::new(AtomicU32::new(0));
    let means = Means::find(data.path().to_owned(), life.clone());
    storage::announce();
    let gpu_watch = gpus.watch(config.gpus.quarantine, data.gpu_reports(), life.clone()).await;
    let usage = telemetry::watch_usage(data.path(), gpu_watch.percent.clone(), life.clone());
    let health = health::watch(Arc::clone(&runtime), first_answer.subscribe(), data.path().to_owned(), life.clone());
    tidy::keep_room(Arc::clone(&runtime), life.clone());
    let executor = Executor::new(
        Arc::clone(&runtime),
        cluster,
        Arc::clone(&data),
        events.clone(),
        uplink,
        gpu_watch.clone(),
        means,
    );
    let leaving = CancellationToken::new();
    let refused = watch::Sender::new(None);
    let link = Link {
        dialer,
        offer: offer.subscribe(),
        events: events.clone(),
        runtime: Arc::clone(&runtime),
        uplinks,
        usage,
        health,
        refused: refused.subscribe(),
        ill_gpus: gpu_watch.ill.clone(),
        leaving: leaving.clone(),
        running: Arc::clone(&running),
        life: life.clone(),
    };

    let settings = AgentSettings { registry_patience: config.registry_patience };
    let mut driver = Driver::new(settings, executor, journal, refused, lease_file, inbox, running);
    let is_there = found.is_some();
    driver.recover(found, lease).await?;
    let presence = tokio::spawn(presence::show(data.path().to_owned(), link.health.clone(), life.clone()));
    if is_there {
        tokio::spawn(life.run_until_cancelled_owned(async move { doctor::warn(&*runtime).await }));
    } else {
        let late = Late { runtime, data, cluster, events, offer, first_answer, gpus, config: config.clone() };
        tokio::spawn(life.run_until_cancelled_owned(late.arrives()));
    }
    let link = tokio::spawn(link.run());
    let result = driver.run(shutdown, config.on_stop, leaving, patience).await;
    drop(end_of_life);
    servers.close();
    // It says goodbye to the master, and leaves its address; nothing is lost if it cannot.
    let _ = timeout(link::FAREWELL_LIMIT, async { tokio::join!(link, servers.wait(), presence) }).await;
    result
}

/// Who gives it work, to which cluster that belongs, and the GPUs that it knows one by one there. None if `shutdown` comes
/// first.
async fn belong(
    runtime: &dyn Runtime,
    config: &WorkerConfig,
    data: &DataDir,
    servers: &TaskTracker,
    shutdown: &CancellationToken,
    life: &CancellationToken,
) -> Result<Option<(Dialer, ClusterId, Gpus)>, WorkerError> {
    let Some(listen) = config.seed else {
        // Before the engine is there: a token does not wait for it.
        let Some((dialer, cluster)) = find_master(config, data, shutdown, life).await? else { return Ok(None) };
        let gpus = Gpus::find(&config.gpus, config.overrides.gpu_millis).await?;
        return Ok(Some((dialer, cluster, gpus)));
    };
    // Such a master cannot be told that nothing should come, so it has to wait.
    if shutdown.run_until_cancelled(engine::at_last(|| runtime.info())).await.is_none() {
        return Ok(None);
    }
    let (dialer, cluster) = become_gateway(listen, data, life, servers).await?;
    // It counts GPUs, and cannot say which.
    Ok(Some((dialer, cluster, Gpus::none())))
}

/// The masters and their cluster, which the worker joins if it has not yet: containers carry the cluster's id, so without
/// one there is nothing to look for. None if `shutdown` comes first.
async fn find_master(
    config: &WorkerConfig,
    data: &DataDir,
    shutdown: &CancellationToken,
    life: &CancellationToken,
) -> Result<Option<(Dialer, ClusterId)>, WorkerError> {
    let Some(Joined { cluster, keyring }) = join::ensure(config, data.cluster(), shutdown).await? else {
        return Ok(None);
    };
    let masters = Master::all(&config.masters)?;
    tokio::spawn(join::keep_fresh(masters.clone(), keyring.clone(), life.clone()));
    Ok(Some((Dialer::new(masters, config.name.clone(), keyring, cluster), cluster)))
}

/// A master of the first generation finds us; who stands for it is in this process.
async fn become_gateway(
    listen: SocketAddr,
    data: &DataDir,
    life: &CancellationToken,
    servers: &TaskTracker,
) -> Result<(Dialer, ClusterId), WorkerError> {
    let Gateway { pipe, cluster } = seed::start(listen, data, life, servers).await?;
    Ok((Dialer::in_process(data.name().clone(), cluster, pipe)?, cluster))
}
