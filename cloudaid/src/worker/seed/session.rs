//! The agent's side: `cloudai.v1.WorkerSession`, as its master would serve it. Only our own agent can reach it.

use std::pin::Pin;
use std::sync::Arc;

use futures_util::{Stream, StreamExt};
use shared::link::{FromWorker, Hello, PROTOCOL};
use shared::proto::worker_session_server::WorkerSession;
use shared::proto::{
    self, Attempt, DescribeReply, DescribeRequest, FileFrame, FileReceipt, LogAck, LogFrame, RegistryLogin, UploadState,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::desk::Desk;
use super::{push, upload};

/// The service.
#[derive(Debug)]
pub(super) struct Service {
    desk: Arc<Desk>,
}

impl Service {
    pub(super) fn new(desk: Arc<Desk>) -> Self {
        Self { desk }
    }
}

pub(super) type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl WorkerSession for Service {
    async fn describe(&self, _: Request<DescribeRequest>) -> Result<Response<DescribeReply>, Status> {
        Ok(Response::new(DescribeReply {
            cluster_id: self.desk.cluster().to_string(),
            protocol: PROTOCOL,
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }))
    }

    type OpenStream = Answers<proto::ToWorker>;

    async fn open(&self, request: Request<Streaming<proto::FromWorker>>) -> Result<Response<Self::OpenStream>, Status> {
        let mut inbound = request.into_inner();
        let hello = first(&mut inbound).await?;
        let (say, outbound) = mpsc::unbounded_channel();
        let session = self.desk.begin(&hello, say);
        tokio::spawn(read(Arc::clone(&self.desk), session, inbound));
        Ok(Response::new(UnboundedReceiverStream::new(outbound).map(|message| Ok(message.into())).boxed()))
    }

    type PushLogsStream = Answers<LogAck>;

    async fn push_logs(&self, request: Request<Streaming<LogFrame>>) -> Result<Response<Self::PushLogsStream>, Status> {
        Ok(Response::new(push::take(Arc::clone(&self.desk), request.into_inner())))
    }

    async fn upload_task_files(&self, request: Request<Streaming<FileFrame>>) -> Result<Response<FileReceipt>, Status> {
        upload::pass_on(&self.desk, request.into_inner()).await.map(Response::new)
    }

    async fn describe_upload(&self, _: Request<Attempt>) -> Result<Response<UploadState>, Status> {
        // These masters keep nothing of a stream that broke off, and take everything.
        Ok(Response::new(UploadState::default()))
    }

    async fn describe_registry(&self, _: Request<Attempt>) -> Result<Response<RegistryLogin>, Status> {
        Err(Status::not_found("this master knows nobody at any registry"))
    }

    type FetchInputStream = Answers<FileFrame>;

    async fn fetch_input(&self, _: Request<Attempt>) -> Result<Response<Self::FetchInputStream>, Status> {
        Err(Status::not_found("tasks of this master read nothing"))
    }
}

async fn first(inbound: &mut Streaming<proto::FromWorker>) -> Result<Hello, Status> {
    match inbound.message().await?.map(FromWorker::try_from) {
        Some(Ok(FromWorker::Hello(hello))) => Ok(hello),
        Some(Err(error)) => Err(error.into()),
        Some(Ok(FromWorker::Heartbeat(_) | FromWorker::Reports(_) | FromWorker::Inventory(_))) | None => {
            Err(Status::invalid_argument("the first message must be a hello"))
        }
    }
}

/// Reads until the stream ends; the agent opens another one then.
async fn read(desk: Arc<Desk>, session: u64, mut inbound: Streaming<proto::FromWorker>) {
    while let Ok(Some(message)) = inbound.message().await {
        match FromWorker::try_from(message) {
            Ok(FromWorker::Heartbeat(heartbeat)) => desk.used(heartbeat.usage),
            Ok(FromWorker::Reports(reports)) => reports.into_iter().for_each(|report| desk.reported(session, report)),
            // Never asked for.
            Ok(FromWorker::Inventory(_) | FromWorker::Hello(_)) => {}
            Err(error) => tracing::error!("The agent said something that cannot be read: {error}"),
        }
    }
}
