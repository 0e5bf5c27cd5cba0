//! `cluster.MasterWorker` at the master: workers of the first generation register and report, users submit, cancel and read
//! logs. Who may call what was looked at by the gate.
//!
//! Users' calls are refused with a status; a worker that does as workers do is told by the `success` of its answer.

use std::pin::Pin;

use shared::error::{ApiError, ErrorCode};
use shared::proto::seed::master_worker_server::MasterWorker;
use shared::proto::seed::{
    Ack, FileChunk, FileUploadAck, Heartbeat, HeartbeatAck, LogChunk, MasterInfo, RegisterAck, Task, TaskAck, TaskId,
    TaskLogRequest, TaskResult, WorkerInfo,
};
use tokio_stream::Stream;
use tonic::{Request, Response, Status, Streaming};

use super::peer::Peer;
use super::{GrpcState, audit, in_words};
use crate::master::links::dialed::Dialed;

mod follow;
mod register;
mod report;
mod text;
mod upload;
mod user;

/// The service.
#[derive(Debug)]
pub(super) struct Service {
    state: GrpcState,
}

impl Service {
    pub(super) fn new(state: GrpcState) -> Self {
        Self { state }
    }
}

#[tonic::async_trait]
impl MasterWorker for Service {
    async fn register_worker(&self, request: Request<WorkerInfo>) -> Result<Response<RegisterAck>, Status> {
        let peer = Peer::of(request.extensions())?;
        register::register(&self.state, &peer, request.into_inner()).await.map(Response::new)
    }

    async fn send_heartbeat(&self, request: Request<Heartbeat>) -> Result<Response<HeartbeatAck>, Status> {
        let peer = Peer::of(request.extensions())?;
        report::heartbeat(&self.state, &peer, request.into_inner()).await.map(Response::new)
    }

    async fn report_task_completion(&self, request: Request<TaskResult>) -> Result<Response<Ack>, Status> {
        let peer = Peer::of(request.extensions())?;
        report::completion(&self.state, &peer, request.into_inner()).await.map(Response::new)
    }

    async fn upload_task_files(
        &self,
        request: Request<Streaming<FileChunk>>,
    ) -> Result<Response<FileUploadAck>, Status> {
        let peer = Peer::of(request.extensions())?;
        upload::take(&self.state, &peer, request.into_inner()).await.map(Response::new)
    }

    async fn master_register(&self, _request: Request<MasterInfo>) -> Result<Response<RegisterAck>, Status> {
        Err(Status::unimplemented("this is a master; masters register themselves with workers"))
    }

    async fn assign_task(&self, request: Request<Task>) -> Result<Response<TaskAck>, Status> {
        user::submit(&self.state, request).await.map(Response::new)
    }

    async fn cancel_task(&self, request: Request<TaskId>) -> Result<Response<TaskAck>, Status> {
        user::cancel(&self.state, request).await.map(Response::new)
    }

    type StreamTaskLogsStream = Pin<Box<dyn Stream<Item = Result<LogChunk, Status>> + Send>>;

    async fn stream_task_logs(
        &self,
        request: Request<TaskLogRequest>,
    ) -> Result<Response<Self::StreamTaskLogsStream>, Status> {
        user::logs(&self.state, request).await.map(Response::new)
    }
}

/// The workers of the first generation. The gate has let nobody through if they are not served.
fn dialed(state: &GrpcState) -> Result<&Dialed, Status> {
    state.dialed.as_ref().ok_or_else(|| Status::failed_precondition("workers of the first generation are not served"))
}

/// Notes that a worker's call was refused for who calls or what it is about, and says so in the log.
fn refused(state: &GrpcState, peer: &Peer, method: &str, object: &str, error: &ApiError) {
    let object: String = shared::text::printable(object).chars().take(100).collect();
    // What may be better in a moment is nobody's fault.
    if !matches!(error.code, ErrorCode::Unavailable | ErrorCode::OutcomeUnknown | ErrorCode::Internal) {
        audit::refused(state, peer, &format!("gRPC {method}"), &object, error.code);
    }
    tracing::warn!("{method} of {object} from {} is refused: {}", peer.address, error.message);
}
