//! `cloudai.v1.WorkerSession`: how our own workers connect.

use std::pin::Pin;

use cloudaid_core::admission::Proof;
use shared::error::{ApiError, ErrorCode};
use shared::id::WorkerId;
use shared::proto::worker_session_server::WorkerSession;
use shared::proto::{
    Attempt, DescribeReply, DescribeRequest, FileFrame, FileReceipt, FromWorker, LogAck, LogFrame, RegistryLogin,
    ToWorker, UploadState,
};
use tokio_stream::Stream;
use tonic::{Extensions, Request, Response, Status, Streaming};

use super::peer::Peer;
use super::{GrpcState, audit};
use crate::tls::certified::Certified;

mod control;
mod fetch;
mod live;
mod logs;
mod registry;
mod upload;

pub(crate) use upload::UploadTurns;

/// The service.
#[derive(Debug)]
pub(super) struct Service {
    state: GrpcState,
}

impl Service {
    pub(super) fn new(state: GrpcState) -> Self {
        Self { state }
    }

    /// Who calls: as the certificate of the connection says, and the list of workers allows. What is refused is noted.
    fn authenticate(&self, extensions: &Extensions, method: &str) -> Result<Caller, Status> {
        let peer = Peer::of(extensions)?;
        self.check(&peer).map_err(|error| {
            let object = peer.certified.as_ref().map(|certified| certified.worker.to_string()).unwrap_or_default();
            audit::refused(&self.state, &peer, &format!("gRPC {method}"), &object, error.code);
            tracing::warn!("A worker at {} is refused: {}", peer.address, error.message);
            super::status(&error)
        })
    }

    fn check(&self, peer: &Peer) -> Result<Caller, ApiError> {
        let refuse = |message: &str, hint: &str| Err(ApiError::new(ErrorCode::Unauthenticated, message, hint));
        let Some(Certified { worker, identity, .. }) = peer.certified.clone() else {
            let message = "a worker proves who it is with a certificate of this cluster, over TLS";
            return refuse(message, "let it join: `cloudctl worker-token create`");
        };
        if peer.is_expired {
            return refuse("the worker's certificate has run out", "renew it: a worker that is restarted does");
        }
        let proof = Proof::Certificate(identity);
        self.state.cluster.check_admission(&worker, proof)?;
        Ok(Caller { worker, proof, peer: peer.clone() })
    }
}

/// A worker that has proved who it is.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    pub(super) worker: WorkerId,
    pub(super) proof: Proof,
    pub(super) peer: Peer,
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl WorkerSession for Service {
    async fn describe(&self, request: Request<DescribeRequest>) -> Result<Response<DescribeReply>, Status> {
        self.authenticate(request.extensions(), "Describe")?;
        let status = self.state.cluster.status().await.map_err(|error| super::status(&error))?;
        Ok(Response::new(DescribeReply {
            cluster_id: status.cluster_id,
            protocol: shared::link::PROTOCOL,
            version: status.version,
        }))
    }

    type OpenStream = Answers<ToWorker>;

    async fn open(&self, request: Request<Streaming<FromWorker>>) -> Result<Response<Self::OpenStream>, Status> {
        let caller = self.authenticate(request.extensions(), "Open")?;
        let answers = control::open(&self.state, caller, request.into_inner()).await?;
        Ok(Response::new(answers))
    }

    type PushLogsStream = Answers<LogAck>;

    async fn push_logs(&self, request: Request<Streaming<LogFrame>>) -> Result<Response<Self::PushLogsStream>, Status> {
        let caller = self.authenticate(request.extensions(), "PushLogs")?;
        Ok(Response::new(logs::take(&self.state, caller, request.into_inner())))
    }

    async fn upload_task_files(&self, request: Request<Streaming<FileFrame>>) -> Result<Response<FileReceipt>, Status> {
        let caller = self.authenticate(request.extensions(), "UploadTaskFiles")?;
        upload::take(&self.state, caller, request.into_inner()).await.map(Response::new)
    }

    async fn describe_upload(&self, request: Request<Attempt>) -> Result<Response<UploadState>, Status> {
        let caller = self.authenticate(request.extensions(), "DescribeUpload")?;
        upload::describe(&self.state, &caller, request.into_inner()).await.map(Response::new)
    }

    async fn describe_registry(&self, request: Request<Attempt>) -> Result<Response<RegistryLogin>, Status> {
        let caller = self.authenticate(request.extensions(), "DescribeRegistry")?;
        registry::describe(&self.state, &caller, request.into_inner()).await.map(Response::new)
    }

    type FetchInputStream = Answers<FileFrame>;

    async fn fetch_input(&self, request: Request<Attempt>) -> Result<Response<Self::FetchInputStream>, Status> {
        let caller = self.authenticate(request.extensions(), "FetchInput")?;
        fetch::send(&self.state, caller, request.into_inner()).await.map(Response::new)
    }
}
