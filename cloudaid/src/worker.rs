//! Runs tasks on one machine: the pure [`cloudaid_core::agent`] between a container engine and a master.
//!
//! Read in this order: `driver` (the loop), `execute` (each effect as a call), `journal` (what outlives the
//! process), `link` (the control stream), `logs` and `uploads` (bulk data on connections of their own), `seed`
//! (a master of the first generation).
//!
//! A worker that stops leaves its containers running; the next one with the same data directory finds them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use cloudaid_core::agent::AgentSettings;
use shared::id::ClusterId;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::WorkerConfig;
use crate::runtime::docker::DockerRuntime;
use crate::runtime::{Runtime, RuntimeError};
use data_dir::DataDir;
use driver::{Driver, EVENT_LIMIT};
use execute::Executor;
use gpu::Gpus;
use join::Joined;
use journal::Journal;
use link::dial::{Dialer, Master};
use link::{Link, Offer};
use seed::Gateway;

pub use error::WorkerError;

mod capacity;
mod credentials;
mod data_dir;
mod driver;
mod engine;
mod error;
mod execute;
mod gpu;
mod health;
mod inputs;
mod join;
mod journal;
mod link;
mod logs;
pub mod outputs;
mod registries;
mod seed;
mod storage;
mod telemetry;
mod tidy;
mod uploads;

#[cfg(test)]
mod tests;

/// Runs on the Docker engine of this machine until `shutdown`.
///
/// # Errors
/// It cannot start (data directory, token, another cluster), or can no longer keep its journal.
pub async fn run(config: WorkerConfig, shutdown: CancellationToken) -> Result<(), WorkerError> {
    let (host, images, room) = (config.docker_host.clone(), config.data_dir.join("images"), config.image_room);
    let connect = move || -> Result<Arc<dyn Runtime>, RuntimeError> {
        Ok(Arc::new(DockerRuntime::connect(host.as_deref())?.keeping_images(images.clone(), room)))
    };
    run_on(connect, config, shutdown).await
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
    run_on(move || Ok(Arc::clone(&runtime)), config, shutdown).await
}

async fn run_on(
    connect: impl Fn() -> Result<Arc<dyn Runtime>, RuntimeError>,
    config: WorkerConfig,
    shutdown: CancellationToken,
) -> Result<(), WorkerError> {
    let data = DataDir::open(&config.data_dir, &config.name)?;
    let journal = Journal::open(data.path())?;
    // Everything below ends when this does: on shutdown, and when the driver gives up.
    let life = CancellationToken::new();
    let end_of_life = life.clone().drop_guard();
    // Before the engine is there: a token does not wait for it.
    let found = match config.seed {
        Some(_) => None,
        None => match find_master(&config, &data, &shutdown, &life).await? {
            Some(found) => Some(found),
            None => return Ok(()),
        },
    };
    let Some((runtime, info)) = engine::wait_until_ready(connect, &shutdown).await else { return Ok(()) };
    let gpus = match config.seed {
        // Such a master counts them, and cannot say which.
        Some(_) => Gpus::none(),
        None => Gpus::find(&config.gpus, config.overrides.gpu_millis).await?,
    };
    let offer = Offer::measure(&config, &info, &gpus)?;
    let servers = TaskTracker::new();
    let (dialer, cluster) = match (found, config.seed) {
        (None, Some(listen)) => become_gateway(listen, &data, &life, &servers).await?,
        (Some(found), _) => found,
        (None, None) => return Ok(()),
    };
    let data = Arc::new(data.join(cluster)?);
    let (events, inbox) = mpsc::channel(EVENT_LIMIT);
    let (uplinks, uplink) = watch::channel(None);
    let running = Arc::new(AtomicU32::new(0));
    let gpu_watch = gpus.watch(config.gpus.quarantine, life.clone()).await;
    let usage = telemetry::watch_usage(data.path(), gpu_watch.percent.clone(), life.clone());
    let health = health::watch(Arc::clone(&runtime), &info, data.path().to_owned(), life.clone());
    tidy::keep_room(Arc::clone(&runtime), life.clone());
    let executor =
        Executor::new(Arc::clone(&runtime), cluster, Arc::clone(&data), events.clone(), uplink, gpu_watch.clone());
    let leaving = CancellationToken::new();
    let link = Link {
        dialer,
        offer,
        events,
        runtime: Arc::clone(&runtime),
        uplinks,
        usage,
        health,
        ill_gpus: gpu_watch.ill.clone(),
        leaving: leaving.clone(),
        running: Arc::clone(&running),
        life,
    };

    let settings = AgentSettings { registry_patience: config.registry_patience };
    let mut driver = Driver::new(settings, executor, journal, inbox, running);
    if !driver.recover(&shutdown).await? {
        return Ok(());
    }
    let link = tokio::spawn(link.run());
    let result = driver.run(shutdown, config.on_stop, leaving).await;
    drop(end_of_life);
    servers.close();
    // It says goodbye to the master, and leaves its address; nothing is lost if it cannot.
    let _ = tokio::time::timeout(link::FAREWELL_LIMIT, async { tokio::join!(link, servers.wait()) }).await;
    result
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
