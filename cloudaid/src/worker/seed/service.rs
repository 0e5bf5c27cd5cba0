//! The master's side: what a worker serves of `cluster.MasterWorker`. Thin: parse, one call, convert.
//!
//! The protocol is plaintext and knows no credentials: whoever reaches this port can run containers here.

use std::net::SocketAddr;
use std::sync::Arc;

use shared::proto::seed::master_worker_server::MasterWorker;
use shared::proto::seed::{
    Ack, FileChunk, FileUploadAck, Heartbeat, HeartbeatAck, LogChunk, MasterInfo, RegisterAck, Task, TaskAck, TaskId,
    TaskLogRequest, TaskResult, WorkerInfo,
};
use shared::text::printable;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::desk::Desk;
use super::logs;
use super::master::Master;

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

#[tonic::async_trait]
impl MasterWorker for Service {
    async fn master_register(&self, request: Request<MasterInfo>) -> Result<Response<RegisterAck>, Status> {
        let caller = request.remote_addr();
        let answer = match Master::from_wire(request.get_ref(), caller.map(|address| address.ip())) {
            Ok(master) => registered(&self.desk, master, caller).await,
            Err(refused) => Err(refused),
        };
        let (success, message) = spoken(answer);
        Ok(Response::new(RegisterAck { success, message }))
    }

    async fn assign_task(&self, request: Request<Task>) -> Result<Response<TaskAck>, Status> {
        let task = request.into_inner();
        let (id, image) = (shown(&task.task_id), shown(&task.docker_image));
        let answer = self.desk.assign(task).await;
        match &answer {
            Ok(message) => tracing::info!("Task {id} ({image}): {message}"),
            Err(refused) => tracing::warn!("Task {id} ({image}) refused: {}", printable(refused)),
        }
        let (success, message) = spoken(answer.map(str::to_owned));
        Ok(Response::new(TaskAck { success, message }))
    }

    async fn cancel_task(&self, request: Request<TaskId>) -> Result<Response<TaskAck>, Status> {
        let id = request.into_inner().task_id;
        let answer = self.desk.cancel(&id).await;
        match &answer {
            Ok(message) => tracing::info!("Cancellation of task {}: {message}", shown(&id)),
            Err(refused) => tracing::warn!("Cancellation of task {} refused: {refused}", shown(&id)),
        }
        let (success, message) = spoken(answer.map(str::to_owned));
        Ok(Response::new(TaskAck { success, message }))
    }

    type StreamTaskLogsStream = ReceiverStream<Result<LogChunk, Status>>;

    async fn stream_task_logs(
        &self,
        request: Request<TaskLogRequest>,
    ) -> Result<Response<Self::StreamTaskLogsStream>, Status> {
        let TaskLogRequest { task_id, follow, .. } = request.into_inner();
        let known = self.desk.find(&task_id).ok_or_else(|| Status::not_found("there is no such task here"))?;
        Ok(Response::new(logs::stream(known, follow)))
    }

    async fn register_worker(&self, _: Request<WorkerInfo>) -> Result<Response<RegisterAck>, Status> {
        Err(no_master())
    }

    async fn send_heartbeat(&self, _: Request<Heartbeat>) -> Result<Response<HeartbeatAck>, Status> {
        Err(no_master())
    }

    async fn report_task_completion(&self, _: Request<TaskResult>) -> Result<Response<Ack>, Status> {
        Err(no_master())
    }

    async fn upload_task_files(&self, _: Request<Streaming<FileChunk>>) -> Result<Response<FileUploadAck>, Status> {
        Err(no_master())
    }
}

async fn registered(desk: &Desk, master: Master, caller: Option<SocketAddr>) -> Result<String, String> {
    let caller = caller.map_or_else(|| "somewhere".to_owned(), |caller| caller.to_string());
    match desk.master() {
        Some(before) if before.address != master.address => tracing::warn!(
            "Registered by another master, {} at {} (called from {caller}); the one at {} hears no more of this worker",
            master.id,
            master.address,
            before.address
        ),
        Some(_) | None => {
            tracing::info!("Registered by master {} at {} (called from {caller})", master.id, master.address);
        }
    }
    desk.registered_by(master).await.map_err(|error| {
        tracing::error!(%error, "The master's address cannot be written down");
        "the disk of this worker cannot be written; its log says more".to_owned()
    })?;
    Ok(format!("{} registers now", desk.name()))
}

fn spoken(answer: Result<String, String>) -> (bool, String) {
    match answer {
        Ok(message) => (true, message),
        Err(refused) => (false, refused),
    }
}

fn no_master() -> Status {
    Status::unimplemented("this is a worker; its master serves this call")
}

fn shown(text: &str) -> String {
    printable(&text.chars().take(80).collect::<String>())
}
