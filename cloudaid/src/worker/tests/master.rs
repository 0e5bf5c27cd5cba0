//! A master that does as the test says, over a real connection.

use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use cloudaid_core::admission::IdentityId;
use futures_util::{Stream, StreamExt};
use parking_lot::Mutex;
use shared::convert::attempt_key;
use shared::id::AttemptKey;
use shared::link::{FromWorker, PROTOCOL, Report, ToWorker};
use shared::proto::file_frame::Content as FileContent;
use shared::proto::log_frame::Content as LogContent;
use shared::proto::worker_identity_server::{WorkerIdentity, WorkerIdentityServer};
use shared::proto::worker_session_server::{WorkerSession, WorkerSessionServer};
use shared::proto::{self, DescribeReply, DescribeRequest, FileFrame, FileReceipt, LogAck, LogFrame, UploadState};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio_stream::wrappers::{TcpListenerStream, UnboundedReceiverStream};
use tonic::transport::server::Connected;
use tonic::{Request, Response, Status, Streaming};

use crate::master::join_token::JoinToken;
use crate::tls::authority::Authority;
use crate::tls::certified::Certified;
use crate::tls::connection::{self, Connection};
use crate::tls::server::ServerTls;

pub(super) const CLUSTER: &str = "01arz3ndektsv4rrffq69g5fav";

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// What a test sees of the master.
#[derive(Debug)]
pub(super) struct Master {
    pub(super) address: String,
    pub(super) sessions: mpsc::UnboundedReceiver<Talk>,
    pub(super) stored: Arc<Mutex<Stored>>,
    /// What it says it is.
    pub(super) version: Arc<Mutex<String>>,
    /// How often it was asked that.
    pub(super) described: Arc<AtomicU32>,
    /// What lets a worker join.
    pub(super) token: String,
    /// Connections that were tried, certificates that were asked for, and such as were renewed.
    pub(super) handshakes: Arc<AtomicU32>,
    pub(super) asked: Arc<AtomicU32>,
    pub(super) renewed: Arc<AtomicU32>,
    _directory: TempDir,
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
    /// As an upload has ended of which the worker does not know.
    pub(super) ended: Option<FileReceipt>,
    /// The next log frames that cannot be kept.
    pub(super) log_failures: usize,
    /// Inputs that were asked for, that are being fetched, and how many of these there were at most.
    pub(super) fetches: (usize, usize, usize),
}

/// How long an input takes.
const FETCH_TAKES: Duration = Duration::from_millis(300);

/// An input that is being fetched.
struct Fetch(Arc<Mutex<Stored>>);

impl Fetch {
    fn begin(stored: &Arc<Mutex<Stored>>) -> Self {
        let mut held = stored.lock();
        let (asked, open, most) = &mut held.fetches;
        *asked += 1;
        *open += 1;
        *most = (*most).max(*open);
        Self(Arc::clone(stored))
    }
}

impl Drop for Fetch {
    fn drop(&mut self) {
        self.0.lock().fetches.1 -= 1;
    }
}

#[derive(Debug)]
struct Service {
    sessions: mpsc::UnboundedSender<Talk>,
    stored: Arc<Mutex<Stored>>,
    version: Arc<Mutex<String>>,
    described: Arc<AtomicU32>,
}

impl Master {
    pub(super) async fn start() -> Self {
        Self::start_with(Duration::from_secs(24 * 3600)).await
    }

    /// Its certificates are good for so long.
    pub(super) async fn start_with(ttl: Duration) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let cluster = CLUSTER.parse().expect("an id");
        let authority = Authority::open(directory.path(), cluster, &[], ttl).expect("an authority");
        let tls = ServerTls::new(authority.clone(), None).expect("TLS").for_workers().expect("TLS");
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let (sender, sessions) = mpsc::unbounded_channel();
        let stored = Arc::new(Mutex::new(Stored::default()));
        let token = JoinToken::generate(authority.fingerprint());
        let [handshakes, asked, renewed, described] = <[Arc<AtomicU32>; 4]>::default();
        let version = Arc::new(Mutex::new("test".to_owned()));
        let service = Service {
            sessions: sender,
            stored: Arc::clone(&stored),
            version: Arc::clone(&version),
            described: Arc::clone(&described),
        };
        let identity =
            Identity { authority, token: token.expose(), asked: Arc::clone(&asked), renewed: Arc::clone(&renewed) };
        let tries = Arc::clone(&handshakes);
        let connections = TcpListenerStream::new(listener).filter_map(move |stream| {
            tries.fetch_add(1, Ordering::Relaxed);
            let tls = Arc::clone(&tls);
            async move { connection::accept(stream.ok()?, tls).await.ok().map(Ok::<_, std::io::Error>) }
        });
        let server = tonic::transport::Server::builder()
            .add_service(WorkerSessionServer::new(service))
            .add_service(WorkerIdentityServer::new(identity));
        tokio::spawn(server.serve_with_incoming(connections));
        let token = token.expose();
        Self { address, sessions, stored, version, described, token, handshakes, asked, renewed, _directory: directory }
    }
}

/// The certificate of the connection.
#[derive(Debug, Clone)]
pub(crate) struct Shown(Option<Certified>);

impl Connected for Connection {
    type ConnectInfo = Shown;
    fn connect_info(&self) -> Shown {
        let cluster = CLUSTER.parse().expect("an id");
        Shown(self.certificate().and_then(|certificate| Certified::read(certificate, cluster)))
    }
}

#[derive(Debug)]
struct Identity {
    authority: Authority,
    token: String,
    asked: Arc<AtomicU32>,
    renewed: Arc<AtomicU32>,
}

impl Identity {
    fn give(&self, csr: &[u8], worker: &str) -> Response<proto::Credentials> {
        let id = worker.parse().expect("a name");
        let issued = self.authority.issue(csr, &id, IdentityId(7 << 56)).expect("a request");
        Response::new(proto::Credentials {
            cluster_id: CLUSTER.to_owned(),
            worker_id: worker.to_owned(),
            certificate: issued.certificate.to_vec().into(),
            authorities: self.authority.believed().iter().map(|authority| authority.to_vec().into()).collect(),
            renew_at_unix_ms: issued.renew_at.0,
        })
    }
}

#[tonic::async_trait]
impl WorkerIdentity for Identity {
    async fn join(&self, request: Request<proto::JoinRequest>) -> Result<Response<proto::Credentials>, Status> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let request = request.into_inner();
        match request.token == self.token {
            true => Ok(self.give(&request.csr, &request.worker_id)),
            false => Err(Status::unauthenticated("the join token is not one of this cluster")),
        }
    }

    async fn renew(&self, request: Request<proto::RenewRequest>) -> Result<Response<proto::Credentials>, Status> {
        let Some(Shown(Some(shown))) = request.extensions().get().cloned() else {
            return Err(Status::unauthenticated("no certificate"));
        };
        self.renewed.fetch_add(1, Ordering::Relaxed);
        Ok(self.give(&request.into_inner().csr, shown.worker.as_str()))
    }
}

fn authorize<T>(request: &Request<T>) -> Result<(), Status> {
    match request.extensions().get() {
        Some(Shown(Some(shown))) if shown.expires_at > crate::clock::wall() => Ok(()),
        _ => Err(Status::unauthenticated("no certificate that is good")),
    }
}

#[tonic::async_trait]
impl WorkerSession for Service {
    type OpenStream = Answers<proto::ToWorker>;
    type PushLogsStream = Answers<LogAck>;
    type FetchInputStream = Answers<FileFrame>;

    async fn describe_registry(
        &self,
        request: Request<proto::Attempt>,
    ) -> Result<Response<proto::RegistryLogin>, Status> {
        authorize(&request)?;
        Err(Status::not_found("the images of these tests are for everybody"))
    }

    async fn fetch_input(&self, request: Request<proto::Attempt>) -> Result<Response<Self::FetchInputStream>, Status> {
        authorize(&request)?;
        let fetch = Fetch::begin(&self.stored);
        // Empty, but not at once: others come meanwhile, if they may.
        let slow = futures_util::stream::once(async move {
            tokio::time::sleep(FETCH_TAKES).await;
            drop(fetch);
        });
        Ok(Response::new(slow.filter_map(|()| std::future::ready(None)).boxed()))
    }

    async fn describe(&self, request: Request<DescribeRequest>) -> Result<Response<DescribeReply>, Status> {
        authorize(&request)?;
        self.described.fetch_add(1, Ordering::Relaxed);
        let (cluster_id, version) = (CLUSTER.to_owned(), self.version.lock().clone());
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

    async fn describe_upload(&self, request: Request<proto::Attempt>) -> Result<Response<UploadState>, Status> {
        authorize(&request)?;
        let ended = self.stored.lock().ended;
        Ok(Response::new(UploadState { ended, ..UploadState::default() }))
    }

    async fn upload_task_files(&self, request: Request<Streaming<FileFrame>>) -> Result<Response<FileReceipt>, Status> {
        authorize(&request)?;
        let mut inbound = request.into_inner();
        let (mut key, mut path, mut data, mut files) = (None, Vec::new(), Vec::new(), Vec::new());
        while let Some(frame) = inbound.message().await? {
            match frame.content.expect("content") {
                FileContent::Attempt(attempt) => key = Some(attempt_key(Some(attempt))?),
                FileContent::Last(last) => assert_eq!(last.files, files.len() as u64),
                FileContent::Resume(_) => panic!("nothing has arrived before"),
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
        let bytes: u64 = files.iter().map(|(_, data)| data.len() as u64).sum();
        let receipt = FileReceipt { files: u32::try_from(files.len()).expect("few files"), bytes };
        stored.files.extend(files.into_iter().map(|(path, data)| ((key, path), data)));
        Ok(Response::new(receipt))
    }
}

impl Stored {
    fn take_frame(&mut self, frame: LogFrame) -> LogAck {
        self.frames += 1;
        let key = attempt_key(frame.attempt).expect("an attempt");
        if self.log_failures > 0 {
            self.log_failures -= 1;
            let refused = "no space left on device".to_owned();
            return LogAck { attempt: Some(key.into()), refused, later: true, ..LogAck::default() };
        }
        assert!(!matches!(frame.content, Some(LogContent::Cut(_))), "nothing of these logs is lost");
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
            ..LogAck::default()
        }
    }
}
