//! `cloudai.v1.WorkerSession`: how our own workers connect.

use std::pin::Pin;

use shared::id::WorkerId;
use shared::proto::worker_session_server::WorkerSession;
use shared::proto::{
    Attempt, DescribeReply, DescribeRequest, FileFrame, FileReceipt, FromWorker, LogAck, LogFrame, ToWorker,
};
use tokio_stream::Stream;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status, Streaming};

use super::GrpcState;
use crate::master::auth::constant_time_eq;

mod control;
mod fetch;
mod logs;
mod upload;

/// The service.
#[derive(Debug)]
pub(super) struct Service {
    state: GrpcState,
}

impl Service {
    pub(super) fn new(state: GrpcState) -> Self {
        Self { state }
    }

    /// Who calls. Until workers have certificates they prove themselves with the secret of the master's first start, and
    /// then say their name.
    fn authenticate(&self, metadata: &MetadataMap) -> Result<WorkerId, Status> {
        let bearer = metadata.get("authorization").and_then(|value| value.to_str().ok());
        let token = bearer.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
        if !constant_time_eq(token.as_bytes(), self.state.worker_token.as_bytes()) {
            return Err(Status::unauthenticated(
                "the worker's token is missing or wrong (give the content of the master's worker.token file)",
            ));
        }
        let name = metadata.get("x-cloudai-worker").and_then(|value| value.to_str().ok()).unwrap_or_default();
        name.parse().map_err(|error| Status::invalid_argument(format!("x-cloudai-worker: {error}")))
    }
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl WorkerSession for Service {
    async fn describe(&self, request: Request<DescribeRequest>) -> Result<Response<DescribeReply>, Status> {
        self.authenticate(request.metadata())?;
        let status = self.state.cluster.status().await.map_err(|error| super::status(&error))?;
        Ok(Response::new(DescribeReply {
            cluster_id: status.cluster_id,
            protocol: shared::link::PROTOCOL,
            version: status.version,
        }))
    }

    type OpenStream = Answers<ToWorker>;

    async fn open(&self, request: Request<Streaming<FromWorker>>) -> Result<Response<Self::OpenStream>, Status> {
        let worker = self.authenticate(request.metadata())?;
        let answers = control::open(self.state.cluster.clone(), worker, request.into_inner()).await?;
        Ok(Response::new(answers))
    }

    type PushLogsStream = Answers<LogAck>;

    async fn push_logs(&self, request: Request<Streaming<LogFrame>>) -> Result<Response<Self::PushLogsStream>, Status> {
        let worker = self.authenticate(request.metadata())?;
        Ok(Response::new(logs::take(&self.state, worker, request.into_inner())))
    }

    async fn upload_task_files(&self, request: Request<Streaming<FileFrame>>) -> Result<Response<FileReceipt>, Status> {
        let worker = self.authenticate(request.metadata())?;
        upload::take(&self.state, worker, request.into_inner()).await.map(Response::new)
    }

    type FetchInputStream = Answers<FileFrame>;

    async fn fetch_input(&self, request: Request<Attempt>) -> Result<Response<Self::FetchInputStream>, Status> {
        let worker = self.authenticate(request.metadata())?;
        fetch::send(&self.state, worker, request.into_inner()).await.map(Response::new)
    }
}
