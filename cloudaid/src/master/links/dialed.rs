//! The link to workers of the first generation: the master dials them, and they dial the master back.
//!
//! To the core such a worker is like any other: a session with a hello, reports that are acknowledged when they are durable,
//! and an outbox. What its protocol lacks is made up for here: that a call is repeated where nobody knows whether it has
//! arrived, that a run which the worker does not name any more is lost, and that what ended is reported once.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use shared::error::{ApiError, ErrorCode};
use shared::id::{AttemptKey, ClusterId, WorkerId};
use shared::proto::seed::{Heartbeat, TaskResult};
use shared::resources::Resources;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::master::files::FileStore;
use crate::master::handle::ClusterHandle;
use crate::master::logs::LogStore;

mod arriving;
mod facts;
mod finish;
mod follow;
mod line;
mod merge;
mod order;
mod outputs;
mod progress;
mod register;
mod reports;
mod run;
mod wire_id;
mod worker;

pub(crate) use arriving::Arriving;
pub(crate) use facts::capacity_of;

use wire_id::WireId;
use worker::{Call, Worker};

/// Calls that workers answer at once, over all of them.
const CALLS_AT_ONCE: usize = 64;
/// Calls of one worker that wait to be looked at.
const WAITING_CALLS: usize = 64;
/// How long a worker waits for its report to be durable; it counts all the same if that comes later.
const REPORT_TIMEOUT: Duration = Duration::from_secs(60);

/// All workers of the first generation. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Dialed {
    inner: Arc<Inner>,
}

/// What all their parts have in common.
#[derive(Debug)]
struct Inner {
    cluster: ClusterHandle,
    logs: LogStore,
    files: FileStore,
    own: OwnAddress,
    /// After so much silence a worker is dialled again.
    silence: Duration,
    shutdown: CancellationToken,
    calls: Semaphore,
    workers: Mutex<BTreeMap<WorkerId, Entry>>,
}

/// How this master is known to workers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OwnAddress {
    /// Its cluster.
    pub(crate) cluster: ClusterId,
    /// Where its gRPC port is.
    pub(crate) listens: SocketAddr,
}

/// A worker that is dialled.
#[derive(Debug)]
struct Entry {
    address: SocketAddr,
    calls: mpsc::Sender<Call>,
    life: CancellationToken,
}

impl Dialed {
    /// Dials all that are registered, and those that will be.
    pub(crate) fn start(
        cluster: ClusterHandle,
        logs: LogStore,
        files: FileStore,
        own: OwnAddress,
        silence: Duration,
        shutdown: CancellationToken,
    ) -> Self {
        let mut changes = cluster.admissions().subscribe();
        let (calls, workers) = (Semaphore::new(CALLS_AT_ONCE), Mutex::default());
        let inner = Inner { cluster, logs, files, own, silence, shutdown: shutdown.clone(), calls, workers };
        let dialed = Self { inner: Arc::new(inner) };
        let all = dialed.clone();
        tokio::spawn(async move {
            changes.mark_changed();
            while let Some(Ok(())) = shutdown.run_until_cancelled(changes.changed()).await {
                all.keep_up();
            }
        });
        dialed
    }

    /// Begins with who was registered, ends with who was taken out.
    fn keep_up(&self) {
        let wanted: BTreeMap<_, _> = self.inner.cluster.admissions().dialed().into_iter().collect();
        let mut workers = self.inner.workers.lock();
        workers.retain(|worker, entry| {
            let stays = wanted.get(worker) == Some(&entry.address);
            if !stays {
                entry.life.cancel();
            }
            stays
        });
        for (worker, address) in wanted {
            workers.entry(worker.clone()).or_insert_with(|| self.begin(worker, address));
        }
    }

    fn begin(&self, worker: WorkerId, address: SocketAddr) -> Entry {
        let (calls, receiver) = mpsc::channel(WAITING_CALLS);
        let life = self.inner.shutdown.child_token();
        tokio::spawn(Worker::new(Arc::clone(&self.inner), worker, address, receiver, life.clone()).run());
        Entry { address, calls, life }
    }

    /// The worker of this name, if it is called for from where it is registered.
    pub(crate) fn known(&self, name: &str, from: IpAddr) -> Result<WorkerId, ApiError> {
        let shown: String = shared::text::printable(name).chars().take(64).collect();
        let worker = name.parse::<WorkerId>().ok();
        let address = worker.as_ref().and_then(|worker| self.inner.cluster.admissions().address(worker));
        match (worker, address) {
            (Some(worker), Some(address)) if is_same(address.ip(), from) => Ok(worker),
            (Some(worker), Some(_)) => {
                let message = format!("{worker} is not registered at {}", from.to_canonical());
                let hint = format!("if it has moved: `cloudctl unregister {worker}`, then register it anew");
                Err(ApiError::new(ErrorCode::PermissionDenied, message, hint))
            }
            (_, None) | (None, _) => {
                let message = format!("no worker {shown} is registered");
                let hint = "register it: `cloudctl register NAME IP:PORT`";
                Err(ApiError::new(ErrorCode::PermissionDenied, message, hint))
            }
        }
    }

    /// A worker has registered with what it has.
    pub(crate) async fn registered(&self, worker: &WorkerId, capacity: Resources) -> Result<(), ApiError> {
        // It may have been let in just now.
        self.keep_up();
        self.ask(worker, |reply| Call::Registered { capacity, reply }).await
    }

    /// A worker lives. Whether its master knows what it is.
    pub(crate) async fn heartbeat(&self, worker: &WorkerId, heartbeat: Heartbeat) -> Result<bool, ApiError> {
        self.ask(worker, |reply| Call::Heartbeat { heartbeat, reply }).await
    }

    /// A run has ended. Returns when that is durable, or at once if it was before.
    pub(crate) async fn completed(&self, worker: &WorkerId, result: TaskResult) -> Result<(), ApiError> {
        let id: WireId = result.task_id.parse()?;
        let Some(key) = self.find_run(id, worker).await? else { return Ok(()) };
        let done = self.ask(worker, |reply| Call::Completed { key, result, reply });
        match tokio::time::timeout(REPORT_TIMEOUT, done).await {
            Ok(done) => done,
            Err(_elapsed) => {
                let message = "the report could not be made durable in time";
                Err(ApiError::new(ErrorCode::Unavailable, message, "it will be, unless the master stops before"))
            }
        }
    }

    /// Files of a run begin to arrive from an address.
    pub(crate) async fn arriving(&self, task: &str, from: IpAddr) -> Result<Arriving, ApiError> {
        let id: WireId = task.parse()?;
        let live = self.inner.cluster.live().find(id.element).filter(|live| live.key.attempt == id.attempt);
        let Some(live) = live else { return Err(over(&id)) };
        let worker = self.known(live.worker.as_str(), from)?;
        let progress = self.ask(&worker, |reply| Call::Progress { key: live.key, reply }).await?;
        Ok(Arriving::new(live.key, worker, progress))
    }

    /// The live run of an id; none: it has ended, as this worker has reported before.
    async fn find_run(&self, id: WireId, worker: &WorkerId) -> Result<Option<AttemptKey>, ApiError> {
        match self.inner.cluster.live().find(id.element) {
            Some(live) if live.key.attempt == id.attempt && live.worker == *worker => return Ok(Some(live.key)),
            Some(_) | None => {}
        }
        let view = match self.inner.cluster.task(id.element.into()).await {
            Ok(view) => view,
            Err(error) if error.code == ErrorCode::TaskNotFound => return Err(over(&id)),
            Err(error) => return Err(error),
        };
        let is_last = view.attempts.iter().all(|run| run.attempt <= id.attempt);
        let run = view.attempts.iter().find(|run| run.attempt == id.attempt && run.worker_id == *worker);
        let was_given_up = |verdict: &shared::task::Verdict| verdict.is_infrastructure();
        let is_said_again = run.is_some_and(|run| run.verdict.as_ref().is_some_and(|verdict| !was_given_up(verdict)));
        if is_last && is_said_again { Ok(None) } else { Err(over(&id)) }
    }

    async fn ask<T>(&self, worker: &WorkerId, call: impl FnOnce(oneshot::Sender<T>) -> Call) -> Result<T, ApiError> {
        let calls = self.inner.workers.lock().get(worker).map(|entry| entry.calls.clone());
        let gone = || {
            let hint = "register it: `cloudctl register NAME IP:PORT`";
            ApiError::new(ErrorCode::Unavailable, format!("{worker} is not served any more"), hint)
        };
        let (reply, answer) = oneshot::channel();
        calls.ok_or_else(gone)?.send(call(reply)).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())
    }
}

/// What a worker says of a run that is none of its own now.
fn over(id: &WireId) -> ApiError {
    let message = format!("{id} is not a live attempt of this worker");
    ApiError::new(ErrorCode::Conflict, message, "it was given up or never was: stop it and drop what it made")
}

fn is_same(one: IpAddr, other: IpAddr) -> bool {
    one.to_canonical() == other.to_canonical()
}
