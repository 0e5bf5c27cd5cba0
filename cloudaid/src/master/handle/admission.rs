//! Which workers belong to the cluster.

use std::net::SocketAddr;
use std::sync::Arc;

use cloudaid_core::Cluster;
use cloudaid_core::admission::{Identity, JoinTokenChange, JoinTokenRecord, Joining, PendingRecord, Proof};
use cloudaid_core::effect::Answer;
use cloudaid_core::input::Input;
use cloudaid_core::reject::Reject;
use shared::error::ApiError;
use shared::id::{TokenId, WorkerId};
use shared::view::{PendingWorkerListView, PendingWorkerView, WorkerTokenListView};
use shared::worker::Cordon;

use super::{ClusterHandle, internal};
use crate::clock;
use crate::master::admissions::Admissions;

/// What becomes of a worker of the first generation that says that it is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Announced {
    /// It belongs to the cluster; it is dialled here.
    Admitted(SocketAddr),
    /// It waits until an admin lets it in.
    Waits,
}

impl ClusterHandle {
    /// What workers prove themselves with, as it is now.
    #[must_use]
    pub fn admissions(&self) -> Arc<Admissions> {
        Arc::clone(&self.shell.admissions)
    }

    /// Fails for a worker that may not be served who has proved this.
    ///
    /// # Errors
    /// It was taken out of the cluster, or joined anew.
    pub fn check_admission(&self, worker: &WorkerId, proof: Proof) -> Result<(), ApiError> {
        if self.shell.admissions.is_proved(worker, proof) {
            return Ok(());
        }
        Err(Reject::NotAdmitted(worker.clone()).into())
    }

    /// Makes a join token.
    ///
    /// # Errors
    /// There are too many.
    pub async fn create_join_token(&self, token: JoinTokenRecord) -> Result<(), ApiError> {
        let change = JoinTokenChange::Create(token);
        self.ask(|request| Input::ChangeJoinToken { request, change }).await.map(|_done| ())
    }

    /// Ends a join token.
    ///
    /// # Errors
    /// There is none of this id.
    pub async fn revoke_join_token(&self, id: TokenId) -> Result<(), ApiError> {
        let change = JoinTokenChange::Revoke(id);
        self.ask(|request| Input::ChangeJoinToken { request, change }).await.map(|_done| ())
    }

    /// Fails for a worker that may not join. It costs no commit, however many try.
    ///
    /// # Errors
    /// That, or the master is stopping.
    pub async fn check_join(&self, joining: Joining) -> Result<(), ApiError> {
        let now = clock::wall();
        self.read(move |cluster| cluster.check_join(now, &joining)).await?.map_err(ApiError::from)
    }

    /// The join tokens that can be used.
    ///
    /// # Errors
    /// The master is stopping.
    pub async fn join_tokens(&self) -> Result<WorkerTokenListView, ApiError> {
        let now = clock::wall();
        let list = move |cluster: &Cluster| cluster.join_tokens(now).map(JoinTokenRecord::view).collect();
        Ok(WorkerTokenListView { worker_tokens: self.read(list).await? })
    }

    /// Lets a worker join.
    ///
    /// # Errors
    /// The token is not good for it.
    pub async fn join_worker(&self, joining: Joining) -> Result<Identity, ApiError> {
        match self.ask(|request| Input::JoinWorker { request, joining }).await? {
            Answer::Joined(identity) => Ok(identity),
            _ => Err(internal("a join got another's answer")),
        }
    }

    /// Registers a worker of the first generation.
    ///
    /// # Errors
    /// There is one of this name with a certificate, or at another address.
    pub async fn register_worker(&self, worker: WorkerId, address: SocketAddr) -> Result<(), ApiError> {
        self.ask(|request| Input::RegisterWorker { request, worker, address }).await.map(|_done| ())
    }

    /// A worker of the first generation says that it is there. `open`: whoever is not known is let in.
    ///
    /// # Errors
    /// The name is another worker's, or too many wait.
    pub async fn worker_announced(&self, asking: PendingRecord, open: bool) -> Result<Announced, ApiError> {
        match self.ask(|request| Input::WorkerAnnounced { request, asking, open }).await? {
            Answer::Admitted(address) => Ok(Announced::Admitted(address)),
            Answer::Waits => Ok(Announced::Waits),
            _ => Err(internal("a registration got another's answer")),
        }
    }

    /// Lets a worker in that waits.
    ///
    /// # Errors
    /// None of this name does.
    pub async fn approve_worker(&self, worker: WorkerId, address: Option<SocketAddr>) -> Result<(), ApiError> {
        self.ask(|request| Input::ApproveWorker { request, worker, address }).await.map(|_done| ())
    }

    /// Lets a worker get no new work; none: lets it get work again.
    ///
    /// # Errors
    /// There is none of this name.
    pub async fn cordon_worker(&self, worker: WorkerId, cordon: Option<Cordon>) -> Result<(), ApiError> {
        self.ask(|request| Input::CordonWorker { request, worker, cordon }).await.map(|_done| ())
    }

    /// Takes a worker out of the cluster.
    ///
    /// # Errors
    /// There is none of this name.
    pub async fn unregister_worker(&self, worker: WorkerId) -> Result<(), ApiError> {
        self.ask(|request| Input::UnregisterWorker { request, worker }).await.map(|_done| ())
    }

    /// The workers that wait to be let in.
    ///
    /// # Errors
    /// The master is stopping.
    pub async fn pending_workers(&self) -> Result<PendingWorkerListView, ApiError> {
        let list = |cluster: &Cluster| -> Vec<PendingWorkerView> {
            cluster.pending_workers().map(PendingRecord::view).collect()
        };
        Ok(PendingWorkerListView { pending: self.read(list).await? })
    }
}
