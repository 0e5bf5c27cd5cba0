//! A master that does as the test says, over a real connection.

use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;
use std::sync::Arc;

use futures_util::{Stream, StreamExt};
use parking_lot::Mutex;
use shared::convert::attempt_key;
use shared::id::AttemptKey;
use shared::link::{FromWorker, PROTOCOL, Report, ToWorker};
use shared::proto::file_frame::Content as FileContent;
use shared::proto::log_frame::Content as LogContent;
use shared::proto::worker_session_server::{WorkerSession, WorkerSessionServer};
use shared::proto::{self, DescribeReply, DescribeRequest, FileFrame, FileReceipt, LogAck, LogFrame};
use tokio::sync::mpsc;
use tokio_stream::wrappers::{TcpListenerStream, UnboundedReceiverStream};
use tonic::{Request, Response, Status, Streaming};

pub(super) const TOKEN: &str = "the token of this test";
pub(super) const CLUSTER: &str = "01arz3ndektsv4rrffq69g5fav";

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// What a test sees of the master.
#[derive(Debug)]
pub(super) struct Master {
    pub(super) address: String,
    pub(super) sessions: mpsc::UnboundedReceiver<Talk>,
    pub(super) stored: Arc<Mutex<Stored>>,
}

/// One control stream.
#[derive(Debug)]
pub(super) struct Talk {
    pub(super) said: mpsc::UnboundedReceiver<FromWorker>,
    pub(super) say: mpsc::UnboundedSender<ToWorker>,
    /// Said and not yet looked at.
    pub(super) reports: VecDeque<Report>,
}

/// What has been pushed.
#[derive(Debug, Default)]
pub(super) struct Stored {
    pub(super) stdout: BTreeMap<AttemptKey, Vec<u8>>,
    pub(super) stderr: BTreeMap<AttemptKey, Vec<u8>>,
    pub(super) files: BTreeMap<(AttemptKey, Vec<u8>), Vec<u8>>,
    /// Log frames seen.
    pub(super) frames: usize,
    /// The next uploads that fail for a passing reason.
    pub(super) upload_failures: usize,
}

#[derive(Debug)]
struct Service {
    sessions: mpsc::UnboundedSender<Talk>,
    stored: Arc<Mutex<Stored>>,
}

impl Master {
    pub(super) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = format!("http://{}", listener.local_addr().expect("an address"));
        let (sender, sessions) = mpsc::unbounded_channel();
        let stored = Arc::new(Mutex::new(Stored::default()));
        let service = Service { sessions: sender, stored: Arc::clone(&stored) };
        let server = tonic::transport::Server::builder().add_service(WorkerSessionServer::new(service));
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        Self { address, sessions, stored }
    }
}

fn authorize<T>(request: &Request<T>) -> Result<(), Status> {
    let metadata = request.metadata();
    let authorized = metadata.get("authorization").is_some_and(|value| value == &format!("Bearer {TOKEN}"));
    match authorized && metadata.contains_key("x-cloudai-worker") {
        true => Ok(()),
        false => Err(Status::unauthenticated("the worker token is not that of this master")),
    }
}

#[tonic::async_trait]
impl WorkerSession for Service {
    type OpenStream = Answers<proto::ToWorker>;
    type PushLogsStream = Answers<LogAck>;
    type FetchInputStream = Answers<FileFrame>;

    async fn fetch_input(&self, request: Request<proto::Attempt>) -> Result<Response<Self::FetchInputStream>, Status> {
        authorize(&request)?;
        Err(Status::not_found("the tasks of these tests read nothing"))
    }

    async fn describe(&self, request: Request<DescribeRequest>) -> Result<Response<DescribeReply>, Status> {
        authorize(&request)?;
        let (cluster_id, version) = (CLUSTER.to_owned(), "test".to_owned());
        Ok(Response::new(DescribeReply { cluster_id, protocol: PROTOCOL, version }))
    }

    async fn open(&self, request: Request<Streaming<proto::FromWorker>>) -> Result<Response<Self::OpenStream>, Status> {
        authorize(&request)?;
        let mut inbound = request.into_inner();
        let (sender, said) = mpsc::unbounded_channel();
        let (say, outbound) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok(Some(message)) = inbound.message().await {
                let _ = sender.send(message.try_into().expect("a good message"));
            }
        });
        let _ = self.sessions.send(Talk { said, say, reports: VecDeque::new() });
        Ok(Response::new(UnboundedReceiverStream::new(outbound).map(|message: ToWorker| Ok(message.into())).boxed()))
    }

    async fn push_logs(&self, request: Request<Streaming<LogFrame>>) -> Result<Response<Self::PushLogsStream>, Status> {
        authorize(&request)?;
        let stored = Arc::clone(&self.stored);
        Ok(Response::new(request.into_inner().map(move |frame| Ok(stored.lock().take_frame(frame?))).boxed()))
    }

    async fn upload_task_files(&self, request: Request<Streaming<FileFrame>>) -> Result<Response<FileReceipt>, Status> {
        authorize(&request)?;
        let mut inbound = request.into_inner();
        let (mut key, mut path, mut data, mut files) = (None, Vec::new(), Vec::new(), Vec::new());
        while let Some(frame) = inbound.message().await? {
            match frame.content.expect("content") {
                FileContent::Attempt(attempt) => key = Some(attempt_key(Some(attempt))?),
                FileContent::Begin(begin) => path = begin.path.to_vec(),
                FileContent::Data(piece) => data.extend_from_slice(&piece),
                FileContent::End(end) => {
                    assert_eq!(end.blake3.as_ref(), blake3::hash(&data).as_bytes());
                    files.push((std::mem::take(&mut path), std::mem::take(&mut data)));
                }
            }
        }
        let key = key.expect("an attempt");
        let mut stored = self.stored.lock();
        if stored.upload_failures > 0 {
            stored.upload_failures -= 1;
            return Err(Status::unavailable("not now"));
        }
        let receipt = FileReceipt { files: u32::try_from(files.len()).expect("few files"), bytes: 0 };
        stored.files.extend(files.into_iter().map(|(path, data)| ((key, path), data)));
        Ok(Response::new(receipt))
    }
}

impl Stored {
    fn take_frame(&mut self, frame: LogFrame) -> LogAck {
        self.frames += 1;
        let key = attempt_key(frame.attempt).expect("an attempt");
        if let Some(LogContent::Chunk(chunk)) = frame.content {
            let log = match chunk.stream() {
                proto::LogStream::Stdout => self.stdout.entry(key).or_default(),
                proto::LogStream::Stderr => self.stderr.entry(key).or_default(),
                proto::LogStream::Unspecified => panic!("a chunk without a stream"),
            };
            let offset = usize::try_from(chunk.offset).expect("a small log");
            assert!(offset <= log.len(), "a gap before {offset}");
            // Bytes that came before are the same bytes.
            let known = log.len() - offset;
            assert_eq!(log[offset..], chunk.data[..known.min(chunk.data.len())]);
            log.extend_from_slice(chunk.data.get(known..).unwrap_or_default());
        }
        let length = |logs: &BTreeMap<_, Vec<u8>>| logs.get(&key).map_or(0, |log| log.len() as u64);
        LogAck {
            attempt: Some(key.into()),
            stdout_offset: length(&self.stdout),
            stderr_offset: length(&self.stderr),
            refused: String::new(),
        }
    }
}
