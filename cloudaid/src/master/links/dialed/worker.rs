//! One worker of the first generation: its session towards the core, and its runs.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use shared::id::{AttemptKey, WorkerId};
use shared::proto::seed::{Heartbeat, TaskResult};
use shared::resources::Resources;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::line::Line;
use super::progress::Progress;
use super::reports::Reports;
use super::run::Event;
use super::{Inner, facts, register};
use crate::master::narrate::Heartbeats;

mod runs;
mod session;

use runs::HeldRun;
use session::Session;

/// A call of the worker, and where its answer goes.
#[derive(Debug)]
pub(super) enum Call {
    /// It is there, with so much.
    Registered { capacity: Resources, reply: oneshot::Sender<()> },
    /// It lives. Answered with whether its master knows what it is.
    Heartbeat { heartbeat: Heartbeat, reply: oneshot::Sender<bool> },
    /// A live run of it has ended. Answered when that is durable.
    Completed { key: AttemptKey, result: TaskResult, reply: oneshot::Sender<()> },
    /// Somebody wants to know how far a live run of it is.
    Progress { key: AttemptKey, reply: oneshot::Sender<Arc<Progress>> },
}

/// Everything that is known of it.
pub(super) struct Worker {
    inner: Arc<Inner>,
    id: WorkerId,
    line: Line,
    calls: mpsc::Receiver<Call>,
    life: CancellationToken,
    /// What it has, once it has said so.
    capacity: Option<Resources>,
    session: Option<Session>,
    runs: BTreeMap<AttemptKey, HeldRun>,
    tasks: JoinSet<AttemptKey>,
    reports: Arc<Reports>,
    is_silent: watch::Sender<bool>,
    heard: Instant,
    heartbeats: Heartbeats,
    /// What it was told to stop because no run of ours is called so.
    told: BTreeSet<String>,
    /// How many runs it named last.
    named: u32,
}

impl Worker {
    pub(super) fn new(
        inner: Arc<Inner>,
        id: WorkerId,
        address: SocketAddr,
        calls: mpsc::Receiver<Call>,
        life: CancellationToken,
    ) -> Self {
        let line = Line::new(Arc::clone(&inner), address);
        let reports = Arc::new(Reports::new(inner.cluster.clone(), id.clone()));
        let heartbeats = Heartbeats::new(id.clone());
        Self {
            inner,
            id,
            line,
            calls,
            life,
            capacity: None,
            session: None,
            runs: BTreeMap::new(),
            tasks: JoinSet::new(),
            reports,
            is_silent: watch::Sender::new(true),
            heard: Instant::now(),
            heartbeats,
            told: BTreeSet::new(),
            named: 0,
        }
    }

    /// Serves it until it is taken out of the cluster, or the master stops.
    pub(super) async fn run(mut self) {
        let dials = register::whenever_silent(self.line.clone(), self.is_silent.subscribe());
        let dials = tokio::spawn(self.life.clone().run_until_cancelled_owned(dials));
        let life = self.life.clone();
        loop {
            let is_awaited = self.session.is_some() && !*self.is_silent.borrow();
            tokio::select! {
                () = life.cancelled() => break,
                call = self.calls.recv() => match call {
                    Some(call) => self.on_call(call).await,
                    None => break,
                },
                sent = session::next(&mut self.session) => self.on_sent(sent).await,
                Some(ended) = self.tasks.join_next() => self.on_ended(ended),
                () = tokio::time::sleep_until(self.heard + self.inner.silence), if is_awaited => {
                    tracing::warn!("Worker {} is silent: it is told of its master again", self.id);
                    self.is_silent.send_replace(true);
                }
            }
        }
        self.leave().await;
        dials.abort();
    }

    async fn on_call(&mut self, call: Call) {
        // Whoever has called may have gone.
        match call {
            Call::Registered { capacity, reply } => {
                self.heard_of();
                let is_news = self.capacity.replace(capacity) != Some(capacity);
                if is_news || self.session.is_none() {
                    self.connect(capacity).await;
                }
                let _ = reply.send(());
            }
            Call::Heartbeat { heartbeat, reply } => {
                let _ = reply.send(self.on_heartbeat(&heartbeat).await);
            }
            Call::Completed { key, result, reply } => {
                self.ensure_session().await;
                let events = self.ensure_run(key).events.clone();
                // One that has ended meanwhile drops the reply, and a full one is not listened to.
                let _ = events.try_send(Event::Completed(result, reply));
            }
            Call::Progress { key, reply } => {
                self.ensure_session().await;
                let _ = reply.send(Arc::clone(&self.ensure_run(key).progress));
            }
        }
    }

    async fn on_heartbeat(&mut self, heartbeat: &Heartbeat) -> bool {
        let Some((session, capacity)) = self.ensure_session().await else { return false };
        self.heard_of();
        let usage = facts::usage_of(heartbeat, capacity);
        self.heartbeats.beat(&usage);
        self.inner.cluster.worker_heard(
            &self.id,
            session,
            Some(shared::link::Heartbeat { usage, ..Default::default() }),
        );
        self.reconcile(&heartbeat.running_tasks);
        true
    }

    fn heard_of(&mut self) {
        self.heard = Instant::now();
        self.is_silent.send_if_modified(std::mem::take);
    }
}
