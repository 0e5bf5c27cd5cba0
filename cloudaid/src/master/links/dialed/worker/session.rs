//! The session of a worker towards the core: begun when something is heard of it, by what it has said or what is known.

use cloudaid_core::admission::Proof;
use futures_util::FutureExt;
use shared::id::SessionId;
use shared::link::{Decision, Held, Hello, Inventory, PROTOCOL, Phase, ToWorker};
use shared::resources::Resources;

use super::Worker;
use crate::master::links::dialed::facts;
use crate::master::links::dialed::run::{self, Event};
use crate::master::links::{Outbox, Outgoing};

/// As the core knows it.
pub(super) struct Session {
    pub(super) id: SessionId,
    capacity: Resources,
    outbox: Outbox,
    /// Of the session that this one has replaced: what was sent over it counts.
    older: Option<Outbox>,
    /// Whether the core has answered.
    pub(super) is_welcome: bool,
}

/// What leaves next; it never comes without a session.
pub(super) async fn next(session: &mut Option<Session>) -> Option<Outgoing> {
    match session {
        Some(session) => session.outbox.next().await,
        None => std::future::pending().await,
    }
}

impl Worker {
    /// The session, and what the worker has in it. One is begun if that is known, be it from an earlier life of this master.
    pub(super) async fn ensure_session(&mut self) -> Option<(SessionId, Resources)> {
        if self.session.is_none() {
            let capacity = match self.capacity {
                Some(capacity) => capacity,
                None => self.inner.cluster.worker(self.id.clone()).await.ok()?.capacity,
            };
            // One that has never registered has nothing yet.
            if capacity != Resources::default() {
                self.connect(capacity).await;
            }
        }
        self.session.as_ref().map(|session| (session.id, session.capacity))
    }

    /// Begins a session. The worker is taken to hold all that the core gave it: its heartbeats will tell what it lacks.
    pub(super) async fn connect(&mut self, capacity: Resources) {
        let address = self.line.address();
        let (id, outbox) = self.inner.cluster.shell().links.open();
        let live = self.inner.cluster.live().of(&self.id);
        let hello = Hello {
            worker: self.id.clone(),
            protocol: PROTOCOL,
            facts: facts::facts_of(address.to_string(), capacity),
            incarnation: String::new(),
            inventory: live.iter().map(|run| Held { key: run.key, phase: Phase::Running }).collect(),
            problem: None,
            ill_gpus: Vec::new(),
        };
        if self.inner.cluster.worker_connected(id, Proof::Dialed(address), hello).await.is_err() {
            self.inner.cluster.shell().links.forget(id);
            return;
        }
        let older = self.session.take().map(|session| session.outbox);
        self.session = Some(Session { id, capacity, outbox, older, is_welcome: false });
        self.reports.begin(id).await;
    }

    /// The core has sent something, or has ended the session.
    pub(super) async fn on_sent(&mut self, sent: Option<Outgoing>) {
        match sent {
            Some(Outgoing::Message(message)) => self.on_message(message).await,
            Some(Outgoing::Refuse(why)) => {
                tracing::warn!("The session of worker {} has ended: {}", self.id, why.message);
                self.lose_session();
            }
            None => self.lose_session(),
        }
    }

    fn lose_session(&mut self) {
        self.session = None;
        self.reports.end();
        self.is_silent.send_replace(true);
    }

    async fn on_message(&mut self, message: ToWorker) {
        match message {
            ToWorker::Welcome(welcome) => {
                let older = self.session.as_mut().and_then(|session| {
                    session.is_welcome = true;
                    session.older.take()
                });
                older.into_iter().for_each(|older| self.take_older(older));
                self.decide(welcome.decisions);
                self.forget_ended();
            }
            ToWorker::Assign(assignments) => self.assign(assignments),
            ToWorker::Cancel(orders) => {
                for order in orders {
                    self.tell(order.key, Event::Cancel);
                }
            }
            ToWorker::Ack { through } => self.reports.acknowledged(through),
            ToWorker::Inquire { horizon } => self.tell_inventory(horizon).await,
            ToWorker::Decide(decisions) => self.decide(decisions),
            ToWorker::Heard { .. } | ToWorker::Goodbye { .. } => {}
        }
    }

    /// What was sent over the session before. Its acknowledgements count there only.
    fn take_older(&mut self, mut older: Outbox) {
        while let Some(Some(Outgoing::Message(message))) = older.next().now_or_never() {
            match message {
                ToWorker::Assign(assignments) => self.assign(assignments),
                ToWorker::Cancel(orders) => orders.iter().for_each(|order| self.tell(order.key, Event::Cancel)),
                ToWorker::Decide(decisions) => self.decide(decisions),
                ToWorker::Welcome(_)
                | ToWorker::Ack { .. }
                | ToWorker::Inquire { .. }
                | ToWorker::Heard { .. }
                | ToWorker::Goodbye { .. } => {}
            }
        }
    }

    fn decide(&mut self, decisions: Vec<(shared::id::AttemptKey, Decision)>) {
        for (key, decision) in decisions {
            match decision {
                Decision::Keep => drop(self.ensure_run(key)),
                Decision::Stop => {
                    let name = self.name_of(key);
                    self.forget(key);
                    tokio::spawn(run::cancel(self.line.clone(), name));
                }
                Decision::Forget => self.forget(key),
            }
        }
    }

    /// What it holds, as far as its heartbeats have told.
    async fn tell_inventory(&self, horizon: shared::id::Fence) {
        let Some(session) = &self.session else { return };
        let held = self.runs.keys().map(|key| Held { key: *key, phase: Phase::Running }).collect();
        let inventory = Inventory {
            horizon,
            held,
            adopted: Vec::new(),
            lost: Vec::new(),
            leaving: Vec::new(),
            containers: self.named,
            problem: None,
        };
        // The driver may be gone already, and then nobody needs to know.
        let _stopping = self.inner.cluster.worker_inventoried(self.id.clone(), session.id, inventory).await;
    }

    /// The worker is no more, or the master stops.
    pub(super) async fn leave(mut self) {
        let Some(Session { id, mut outbox, .. }) = self.session.take() else { return };
        // Who was taken out of the cluster has been told what to stop.
        while let Some(Some(Outgoing::Message(message))) = outbox.next().now_or_never() {
            if let ToWorker::Decide(decisions) = message {
                self.decide(decisions);
            }
        }
        self.inner.cluster.shell().links.forget(id);
        let _stopping = self.inner.cluster.worker_disconnected(self.id.clone(), id).await;
    }
}
