//! A master of the first generation that does as the test says, over real connections.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use shared::proto::seed::master_worker_client::MasterWorkerClient;
use shared::proto::seed::master_worker_server::{MasterWorker, MasterWorkerServer};
use shared::proto::seed::{
    Ack, FileChunk, FileUploadAck, Heartbeat, HeartbeatAck, LogChunk, MasterInfo, RegisterAck, Task, TaskAck, TaskId,
    TaskLogRequest, TaskResult, WorkerInfo,
};
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::transport::{Channel, Server};
use tonic::{Request, Response, Status, Streaming};

use crate::worker::tests::{LIMIT, wait_for};

/// What the worker has told it.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) workers: Vec<WorkerInfo>,
    pub(super) heartbeats: Vec<Heartbeat>,
    pub(super) results: Vec<TaskResult>,
    /// Each upload that came to its end.
    pub(super) uploads: Vec<Vec<FileChunk>>,
    /// The next answers to reports: refusals with this reason.
    pub(super) refusals: VecDeque<&'static str>,
    /// The next uploads that break off.
    pub(super) upload_failures: usize,
}

/// The master. It can go and come back at the same address.
#[derive(Debug)]
pub(super) struct Master {
    pub(super) address: SocketAddr,
    pub(super) told: Arc<Mutex<Told>>,
    stop: CancellationToken,
    server: TaskTracker,
}

#[derive(Debug)]
struct Service(Arc<Mutex<Told>>);

impl Master {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let mut master =
            Self { address, told: Arc::default(), stop: CancellationToken::new(), server: TaskTracker::new() };
        master.serve(listener);
        master
    }

    fn serve(&mut self, listener: TcpListener) {
        self.stop = CancellationToken::new();
        let server = Server::builder()
            .add_service(MasterWorkerServer::new(Service(Arc::clone(&self.told))).max_decoding_message_size(64 << 20));
        let incoming = TcpListenerStream::new(listener);
        self.server.spawn(server.serve_with_incoming_shutdown(incoming, self.stop.clone().cancelled_owned()));
    }

    /// Nothing is at its address any more when this returns.
    pub(super) async fn go(&self) {
        self.stop.cancel();
        self.server.close();
        timeout(LIMIT, self.server.wait()).await.expect("it goes");
    }

    pub(super) async fn come_back(&mut self) {
        let listener = eventually(async || TcpListener::bind(self.address).await.ok()).await;
        self.serve(listener);
    }

    /// Registers the worker and waits until it has registered.
    pub(super) async fn adopt(&self, worker: SocketAddr) -> MasterWorkerClient<Channel> {
        let before = self.told.lock().workers.len();
        let mut client = reach(worker).await;
        let info = MasterInfo { master_id: "m".to_owned(), master_address: self.address.to_string() };
        assert!(client.master_register(info).await.expect("an answer").into_inner().success);
        wait_for("registration", || self.told.lock().workers.len() > before).await;
        client
    }

    /// The only report of a task, when it is there.
    pub(super) async fn result(&self, task: &str) -> TaskResult {
        let of = |told: &Told| told.results.iter().find(|result| result.task_id == task).cloned();
        wait_for("a report", || of(&self.told.lock()).is_some()).await;
        let told = self.told.lock();
        assert_eq!(told.results.iter().filter(|result| result.task_id == task).count(), 1);
        of(&told).expect("a report")
    }

    /// Path to content of the files of the last upload.
    pub(super) fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let mut files: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        for chunk in self.told.lock().uploads.last().expect("an upload") {
            files.entry(chunk.file_path.clone()).or_default().extend_from_slice(&chunk.data);
        }
        files
    }
}

/// A connection to a worker, as soon as it is there.
pub(super) async fn reach(worker: SocketAddr) -> MasterWorkerClient<Channel> {
    eventually(async || MasterWorkerClient::connect(format!("http://{worker}")).await.ok()).await
}

async fn eventually<T>(probe: impl AsyncFn() -> Option<T>) -> T {
    let found = async {
        loop {
            if let Some(found) = probe().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(LIMIT, found).await.expect("it comes about")
}

#[tonic::async_trait]
impl MasterWorker for Service {
    async fn register_worker(&self, request: Request<WorkerInfo>) -> Result<Response<RegisterAck>, Status> {
        self.0.lock().workers.push(request.into_inner());
        Ok(Response::new(RegisterAck { success: true, message: String::new() }))
    }

    async fn send_heartbeat(&self, request: Request<Heartbeat>) -> Result<Response<HeartbeatAck>, Status> {
        self.0.lock().heartbeats.push(request.into_inner());
        Ok(Response::new(HeartbeatAck { success: true }))
    }

    async fn report_task_completion(&self, request: Request<TaskResult>) -> Result<Response<Ack>, Status> {
        let mut told = self.0.lock();
        if let Some(message) = told.refusals.pop_front() {
            return Ok(Response::new(Ack { success: false, message: message.to_owned() }));
        }
        told.results.push(request.into_inner());
        Ok(Response::new(Ack { success: true, message: String::new() }))
    }

    async fn upload_task_files(
        &self,
        request: Request<Streaming<FileChunk>>,
    ) -> Result<Response<FileUploadAck>, Status> {
        let mut inbound = request.into_inner();
        let mut chunks = Vec::new();
        while let Some(chunk) = inbound.message().await? {
            chunks.push(chunk);
            let mut told = self.0.lock();
            if told.upload_failures > 0 {
                told.upload_failures -= 1;
                return Err(Status::internal("not now"));
            }
        }
        let files_received = chunks.iter().filter(|chunk| chunk.is_last_chunk).count() as i32;
        self.0.lock().uploads.push(chunks);
        Ok(Response::new(FileUploadAck { success: true, message: String::new(), files_received }))
    }

    async fn master_register(&self, _: Request<MasterInfo>) -> Result<Response<RegisterAck>, Status> {
        Err(Status::unimplemented("of workers"))
    }

    async fn assign_task(&self, _: Request<Task>) -> Result<Response<TaskAck>, Status> {
        Err(Status::unimplemented("of workers"))
    }

    async fn cancel_task(&self, _: Request<TaskId>) -> Result<Response<TaskAck>, Status> {
        Err(Status::unimplemented("of workers"))
    }

    type StreamTaskLogsStream = ReceiverStream<Result<LogChunk, Status>>;

    async fn stream_task_logs(
        &self,
        _: Request<TaskLogRequest>,
    ) -> Result<Response<Self::StreamTaskLogsStream>, Status> {
        Err(Status::unimplemented("of workers"))
    }
}
