//! Requests about which workers may join.

use shared::id::{TokenId, WorkerId};
use shared::view::{
    ApproveWorkerRequest, AuthorityView, CordonRequest, CreateWorkerTokenRequest, DrainRequest, NewWorkerTokenView,
    PendingWorkerListView, RegisterWorkerRequest, WorkerTokenListView, WorkerView,
};

use super::encode_segment;
use crate::client::Client;
use crate::exit::CtlError;

impl Client {
    /// Makes a join token.
    pub(crate) async fn create_worker_token(
        &self,
        request: &CreateWorkerTokenRequest,
    ) -> Result<NewWorkerTokenView, CtlError> {
        self.post("api/worker-tokens", request).await
    }

    /// The join tokens that can still be used.
    pub(crate) async fn worker_tokens(&self) -> Result<WorkerTokenListView, CtlError> {
        self.get("api/worker-tokens", &[]).await
    }

    /// Ends a join token.
    pub(crate) async fn revoke_worker_token(&self, id: TokenId) -> Result<(), CtlError> {
        self.remove(&format!("api/worker-tokens/{id}")).await
    }

    /// Registers a worker that the master dials.
    pub(crate) async fn register_worker(&self, request: &RegisterWorkerRequest) -> Result<WorkerView, CtlError> {
        self.post("api/workers", request).await
    }

    /// Removes a worker from the cluster.
    pub(crate) async fn unregister_worker(&self, worker: &WorkerId) -> Result<(), CtlError> {
        self.remove(&worker_path(worker)).await
    }

    /// Lets a worker get no new work.
    pub(crate) async fn cordon_worker(
        &self,
        worker: &WorkerId,
        request: &CordonRequest,
    ) -> Result<WorkerView, CtlError> {
        self.post(&format!("{}/cordon", worker_path(worker)), request).await
    }

    /// Lets a worker become empty.
    pub(crate) async fn drain_worker(&self, worker: &WorkerId, request: &DrainRequest) -> Result<WorkerView, CtlError> {
        self.post(&format!("{}/drain", worker_path(worker)), request).await
    }

    /// Lets a worker get work again.
    pub(crate) async fn undrain_worker(&self, worker: &WorkerId) -> Result<WorkerView, CtlError> {
        self.post(&format!("{}/undrain", worker_path(worker)), &serde_json::json!({})).await
    }

    /// Lets a worker in that waits.
    pub(crate) async fn approve_worker(
        &self,
        worker: &WorkerId,
        request: &ApproveWorkerRequest,
    ) -> Result<WorkerView, CtlError> {
        self.post(&format!("{}/approve", worker_path(worker)), request).await
    }

    /// The workers that wait to be let in.
    pub(crate) async fn pending_workers(&self) -> Result<PendingWorkerListView, CtlError> {
        self.get("api/pending-workers", &[]).await
    }

    /// Lets the master sign certificates with a new authority.
    pub(crate) async fn rotate_authority(&self) -> Result<AuthorityView, CtlError> {
        self.post("api/auth/authority/rotate", &serde_json::json!({})).await
    }
}

fn worker_path(worker: &WorkerId) -> String {
    format!("api/workers/{}", encode_segment(worker.as_str().as_bytes()))
}
