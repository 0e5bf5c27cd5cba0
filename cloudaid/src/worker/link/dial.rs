//! Reaching a master: its address, the worker's credentials, and whether it is the right one.

use std::time::Duration;

use shared::id::{ClusterId, WorkerId};
use shared::link::PROTOCOL;
use shared::proto::DescribeRequest;
use shared::proto::worker_session_client::WorkerSessionClient;
use tokio_util::sync::CancellationToken;
use tonic::metadata::AsciiMetadataValue;
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

use crate::config::{Secret, WorkerConfig, WorkerToken};
use crate::worker::error::WorkerError;
use crate::worker::pause::Pauses;
use crate::worker::seed::pipe::Pipe;

const CONNECT_LIMIT: Duration = Duration::from_secs(5);
const CALL_LIMIT: Duration = Duration::from_secs(10);
/// A peer that vanished without a word is found out after both together.
const KEEPALIVE_EVERY: Duration = Duration::from_secs(20);
const KEEPALIVE_LIMIT: Duration = Duration::from_secs(10);
/// The largest message taken or sent; a welcome names every run of a worker.
const MESSAGE_LIMIT: usize = 16 << 20;
/// Bytes on their way, per stream and per connection.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 8 << 20;

/// The master's service, with this worker's credentials on every call.
pub(in crate::worker) type Client = WorkerSessionClient<InterceptedService<Channel, Credentials>>;

/// Knows the masters and how to prove who we are.
#[derive(Debug, Clone)]
pub(in crate::worker) struct Dialer {
    masters: Vec<(String, Endpoint)>,
    name: WorkerId,
    token: WorkerToken,
    /// Not known before the very first contact.
    cluster: Option<ClusterId>,
    /// To a master in this process; none: over the network.
    pipe: Option<Pipe>,
}

/// A connection to a master of our cluster.
#[derive(Debug)]
pub(in crate::worker) struct Line {
    pub(super) master: String,
    pub(super) cluster: ClusterId,
    pub(super) control: Client,
    /// A connection of its own, so that bulk data never delays control.
    pub(super) bulk: Client,
}

/// Where bulk data goes during one session.
#[derive(Debug, Clone)]
pub(in crate::worker) struct Uplink {
    pub(in crate::worker) client: Client,
    /// Cancelled at the end of the session.
    pub(in crate::worker) closed: CancellationToken,
}

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
pub(in crate::worker) enum LinkError {
    /// Trying again helps only when a person has changed something.
    #[error(transparent)]
    Refused(WorkerError),
    /// Later it may work.
    #[error("{master}: {reason}")]
    Lost {
        /// Which master.
        master: String,
        /// Why.
        reason: String,
    },
}

impl Dialer {
    /// Checks addresses and token at once: nobody should find a slip of the pen in a log a day later.
    pub(in crate::worker) fn new(config: &WorkerConfig, cluster: Option<ClusterId>) -> Result<Self, WorkerError> {
        let masters: Result<Vec<_>, _> = config.masters.iter().map(|address| endpoint(address)).collect();
        let dialer =
            Self { masters: masters?, name: config.name.clone(), token: config.token.clone(), cluster, pipe: None };
        if dialer.masters.is_empty() {
            return Err(WorkerError::Address { address: String::new(), problem: "none is given".to_owned() });
        }
        dialer.credentials()?;
        Ok(dialer)
    }

    /// One for the master of `cluster` in this process, who needs no proof of who we are.
    pub(in crate::worker) fn in_process(name: WorkerId, cluster: ClusterId, pipe: Pipe) -> Result<Self, WorkerError> {
        let token = WorkerToken::Inline(Secret::new("none"));
        let (_, endpoint) = endpoint("http://gateway")?;
        let masters = vec![("the gateway of this process".to_owned(), endpoint)];
        Ok(Self { masters, name, token, cluster: Some(cluster), pipe: Some(pipe) })
    }

    pub(in crate::worker) fn of(mut self, cluster: ClusterId) -> Self {
        self.cluster = Some(cluster);
        self
    }

    pub(in crate::worker) fn name(&self) -> &WorkerId {
        &self.name
    }

    /// Asks until a master answers; none if `shutdown` comes first.
    pub(in crate::worker) async fn find_cluster(
        &self,
        shutdown: &CancellationToken,
    ) -> Result<Option<ClusterId>, WorkerError> {
        let mut pauses = Pauses::default();
        for turn in 0_usize.. {
            let Some(dialled) = shutdown.run_until_cancelled(self.dial(turn)).await else { break };
            match dialled {
                Ok(line) => return Ok(Some(line.cluster)),
                Err(LinkError::Refused(error)) => return Err(error),
                Err(LinkError::Lost { master, reason }) => {
                    let pause = pauses.next();
                    tracing::warn!(%master, reason, "No master yet; is it running, and is this its gRPC address? Trying again in {pause:.1?}");
                    if shutdown.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                        break;
                    }
                }
            }
        }
        Ok(None)
    }

    /// Tries one master, another one each turn.
    pub(in crate::worker) async fn dial(&self, turn: usize) -> Result<Line, LinkError> {
        let (master, endpoint) = &self.masters[turn % self.masters.len()];
        let lost = |reason: String| LinkError::Lost { master: master.clone(), reason };
        let credentials = self.credentials().map_err(LinkError::Refused)?;
        let connected = match &self.pipe {
            Some(pipe) => endpoint.connect_with_connector(pipe.clone()).await,
            None => endpoint.connect().await,
        };
        let channel = connected.map_err(|error| lost(describe(&error)))?;
        let mut control = client(channel, credentials.clone());
        let reply = match tokio::time::timeout(CALL_LIMIT, control.describe(DescribeRequest {})).await {
            Ok(Ok(reply)) => reply.into_inner(),
            Ok(Err(status)) => return Err(failed(master, &status)),
            Err(_) => return Err(lost("no answer".to_owned())),
        };
        if reply.protocol != PROTOCOL {
            let (version, theirs) = (shown(&reply.version), reply.protocol);
            let error = WorkerError::Protocol { master: master.clone(), version, theirs, ours: PROTOCOL };
            return Err(LinkError::Refused(error));
        }
        let theirs = reply.cluster_id.parse().map_err(|error| lost(format!("it names no cluster: {error}")))?;
        if let Some(ours) = self.cluster
            && ours != theirs
        {
            return Err(LinkError::Refused(WorkerError::OtherCluster { master: master.clone(), ours, theirs }));
        }
        let bulk = match &self.pipe {
            Some(pipe) => endpoint.connect_with_connector_lazy(pipe.clone()),
            None => endpoint.connect_lazy(),
        };
        let bulk = client(bulk, credentials);
        Ok(Line { master: master.clone(), cluster: theirs, control, bulk })
    }

    /// Read anew each time, so that a token can be changed without a restart.
    fn credentials(&self) -> Result<Credentials, WorkerError> {
        let (source_name, token) = match &self.token {
            WorkerToken::Inline(secret) => ("CLOUDAI_WORKER_TOKEN".to_owned(), secret.expose().to_owned()),
            WorkerToken::File(path) => {
                let source_name = path.display().to_string();
                let text = std::fs::read_to_string(path).map_err(|error| WorkerError::Token {
                    source_name: source_name.clone(),
                    problem: error.to_string(),
                })?;
                (source_name, text)
            }
        };
        let invalid = |problem: &str| WorkerError::Token { source_name, problem: problem.to_owned() };
        if token.trim().is_empty() {
            return Err(invalid("is empty"));
        }
        let Ok(mut authorization) = AsciiMetadataValue::try_from(format!("Bearer {}", token.trim())) else {
            return Err(invalid("holds something else than printable characters"));
        };
        authorization.set_sensitive(true);
        let worker = AsciiMetadataValue::try_from(self.name.as_str());
        let worker = worker.map_err(|_| invalid("cannot be sent with this worker's name"))?;
        Ok(Credentials { authorization, worker })
    }
}

impl Line {
    /// What a refused call means.
    pub(super) fn failed(&self, status: &Status) -> LinkError {
        failed(&self.master, status)
    }
}

impl Uplink {
    pub(super) fn new(client: Client) -> Self {
        Self { client, closed: CancellationToken::new() }
    }
}

/// Says on every call who is calling.
#[derive(Debug, Clone)]
pub(in crate::worker) struct Credentials {
    authorization: AsciiMetadataValue,
    worker: AsciiMetadataValue,
}

impl Interceptor for Credentials {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let metadata = request.metadata_mut();
        metadata.insert("authorization", self.authorization.clone());
        metadata.insert("x-cloudai-worker", self.worker.clone());
        Ok(request)
    }
}

fn client(channel: Channel, credentials: Credentials) -> Client {
    WorkerSessionClient::with_interceptor(channel, credentials)
        .max_decoding_message_size(MESSAGE_LIMIT)
        .max_encoding_message_size(MESSAGE_LIMIT)
}

fn endpoint(address: &str) -> Result<(String, Endpoint), WorkerError> {
    let url = if address.contains("://") { address.to_owned() } else { format!("http://{address}") };
    let invalid = |problem: String| WorkerError::Address { address: address.to_owned(), problem };
    if !url.starts_with("http://") {
        return Err(invalid("only plain `http://` is spoken so far".to_owned()));
    }
    let endpoint = Endpoint::from_shared(url).map_err(|error| invalid(describe(&error)))?;
    let endpoint = endpoint
        .connect_timeout(CONNECT_LIMIT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEPALIVE_EVERY)
        .keep_alive_timeout(KEEPALIVE_LIMIT)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW);
    Ok((address.to_owned(), endpoint))
}

fn failed(master: &str, status: &Status) -> LinkError {
    match status.code() {
        Code::Unauthenticated | Code::PermissionDenied => LinkError::Refused(WorkerError::Unauthenticated {
            master: master.to_owned(),
            message: shown(status.message()),
        }),
        _ => LinkError::Lost { master: master.to_owned(), reason: describe_status(status) },
    }
}

/// A status in words, without what it may carry besides.
pub(in crate::worker) fn describe_status(status: &Status) -> String {
    match status.message() {
        "" => status.code().description().to_owned(),
        message => shown(message),
    }
}

/// An error with all its causes: tonic's own says only `transport error`.
fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

/// What a peer says goes to a terminal.
fn shown(text: &str) -> String {
    shared::text::printable(&text.chars().take(500).collect::<String>())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::config::CapacityOverrides;

    fn config(masters: &[&str], token: WorkerToken) -> WorkerConfig {
        WorkerConfig {
            masters: masters.iter().map(|&master| master.to_owned()).collect(),
            name: "w1".parse().expect("a name"),
            data_dir: "/nowhere".into(),
            token,
            docker_host: None,
            overrides: CapacityOverrides::default(),
            labels: BTreeMap::new(),
            advertise: None,
            seed: None,
        }
    }

    fn inline(token: &str) -> WorkerToken {
        WorkerToken::Inline(Secret::new(token))
    }

    #[test]
    fn addresses_may_be_urls_or_host_and_port() {
        for address in ["http://127.0.0.1:9090", "master.example:9090", "[::1]:9090"] {
            assert!(Dialer::new(&config(&[address], inline("t")), None).is_ok(), "{address}");
        }
        for address in ["https://127.0.0.1:9090", "http://a b", ""] {
            let error = Dialer::new(&config(&[address], inline("t")), None).expect_err(address);
            assert!(matches!(error, WorkerError::Address { .. }), "{address}: {error}");
        }
        assert!(Dialer::new(&config(&[], inline("t")), None).is_err());
    }

    #[test]
    fn a_token_that_cannot_be_one_is_found_at_the_start_and_not_shown() {
        for token in ["", " \n", "with\u{1}control"] {
            let error = Dialer::new(&config(&["m:1"], inline(token)), None).expect_err(token);
            assert_eq!(error.exit_code(), 2);
            assert!(!error.to_string().contains("with"), "{error}");
        }
        let error = Dialer::new(&config(&["m:1"], WorkerToken::File("/nowhere/token".into())), None);
        assert!(error.expect_err("no file").to_string().contains("/nowhere/token"));
    }

    #[test]
    fn a_token_file_may_end_with_a_newline() {
        let scratch = tempfile::tempdir().expect("a directory");
        let path = scratch.path().join("worker.token");
        std::fs::write(&path, "abc\n").expect("written");
        let dialer = Dialer::new(&config(&["m:1"], WorkerToken::File(path)), None).expect("a dialer");
        let mut credentials = dialer.credentials().expect("credentials");
        let request = credentials.call(Request::new(())).expect("a request");
        assert_eq!(request.metadata().get("authorization").expect("a token"), "Bearer abc");
        assert_eq!(request.metadata().get("x-cloudai-worker").expect("a name"), "w1");
        assert!(!format!("{credentials:?}").contains("abc"));
    }
}
