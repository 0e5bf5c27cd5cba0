//! Reaching a master: its address, the worker's credentials, and whether it is the right one.

use std::time::Duration;

use shared::error::ErrorCode;
use shared::id::{ClusterId, WorkerId};
use shared::link::{ERROR_CODE, PROTOCOL};
use shared::proto::worker_session_client::WorkerSessionClient;
use shared::proto::{DescribeReply, DescribeRequest};
use shared::version::{PRODUCT, Skew, Version};
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

use super::connector::{Connector, Trust};
use crate::keepalive;
use crate::worker::credentials::Keyring;
use crate::worker::error::WorkerError;
use crate::worker::seed::pipe::Pipe;

const CALL_LIMIT: Duration = Duration::from_secs(10);
/// The largest message taken or sent; a welcome names every run of a worker.
pub(in crate::worker) const MESSAGE_LIMIT: usize = 16 << 20;
/// Bytes on their way, per stream and per connection.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 8 << 20;

/// The master's service. Who calls is known by the connection's certificate.
pub(in crate::worker) type Client = WorkerSessionClient<Channel>;

/// A master and how to reach it.
#[derive(Debug, Clone)]
pub(in crate::worker) struct Master {
    /// As given.
    pub(in crate::worker) address: String,
    pub(in crate::worker) endpoint: Endpoint,
}

impl Master {
    /// Checks all addresses at once: nobody should find a slip of the pen in a log a day later.
    pub(in crate::worker) fn all(addresses: &[String]) -> Result<Vec<Self>, WorkerError> {
        let masters: Vec<_> = addresses.iter().map(|address| endpoint(address)).collect::<Result<_, _>>()?;
        if masters.is_empty() {
            return Err(WorkerError::Address { address: String::new(), problem: "none is given".to_owned() });
        }
        Ok(masters)
    }
}

/// Knows the masters and how to prove who we are.
#[derive(Debug, Clone)]
pub(in crate::worker) struct Dialer {
    masters: Vec<Master>,
    name: WorkerId,
    road: Road,
    cluster: ClusterId,
}

/// How connections are made.
#[derive(Debug, Clone)]
enum Road {
    /// Over the network.
    Network(Keyring),
    /// To a master in this process.
    Process(Pipe),
}

impl Road {
    async fn connect(&self, endpoint: &Endpoint) -> Result<Channel, tonic::transport::Error> {
        match self {
            Self::Network(keyring) => endpoint.connect_with_connector(Connector(Trust::Joined(keyring.clone()))).await,
            Self::Process(pipe) => endpoint.connect_with_connector(pipe.clone()).await,
        }
    }

    fn connect_lazy(&self, endpoint: &Endpoint) -> Channel {
        match self {
            Self::Network(keyring) => endpoint.connect_with_connector_lazy(Connector(Trust::Joined(keyring.clone()))),
            Self::Process(pipe) => endpoint.connect_with_connector_lazy(pipe.clone()),
        }
    }
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
    /// Over the network, with what proves who we are.
    pub(in crate::worker) fn new(masters: Vec<Master>, name: WorkerId, keyring: Keyring, cluster: ClusterId) -> Self {
        Self { masters, name, road: Road::Network(keyring), cluster }
    }

    /// To the master of `cluster` in this process, who needs no proof of who we are.
    pub(in crate::worker) fn in_process(name: WorkerId, cluster: ClusterId, pipe: Pipe) -> Result<Self, WorkerError> {
        let master = Master { address: "the gateway of this process".to_owned(), ..endpoint("gateway")? };
        Ok(Self { masters: vec![master], name, road: Road::Process(pipe), cluster })
    }

    pub(in crate::worker) fn name(&self) -> &WorkerId {
        &self.name
    }

    /// Tries one master, another one each turn.
    pub(in crate::worker) async fn dial(&self, turn: usize) -> Result<Line, LinkError> {
        let Master { address: master, endpoint } = &self.masters[turn % self.masters.len()];
        let lost = |reason: String| LinkError::Lost { master: master.clone(), reason };
        let channel = self.road.connect(endpoint).await;
        let mut control = client(channel.map_err(|error| lost(describe(&error)))?);
        let reply = match tokio::time::timeout(CALL_LIMIT, control.describe(DescribeRequest {})).await {
            Ok(Ok(reply)) => reply.into_inner(),
            Ok(Err(status)) => return Err(failed(master, &status)),
            Err(_) => return Err(lost("no answer".to_owned())),
        };
        check_age(master, &reply)?;
        let theirs = reply.cluster_id.parse().map_err(|error| lost(format!("it names no cluster: {error}")))?;
        if self.cluster != theirs {
            let ours = self.cluster;
            return Err(LinkError::Refused(WorkerError::OtherCluster { master: master.clone(), ours, theirs }));
        }
        let bulk = client(self.road.connect_lazy(endpoint));
        Ok(Line { master: master.clone(), cluster: theirs, control, bulk })
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

fn client(channel: Channel) -> Client {
    WorkerSessionClient::new(channel).max_decoding_message_size(MESSAGE_LIMIT).max_encoding_message_size(MESSAGE_LIMIT)
}

fn endpoint(address: &str) -> Result<Master, WorkerError> {
    let url = if address.contains("://") { address.to_owned() } else { format!("http://{address}") };
    let invalid = |problem: String| WorkerError::Address { address: address.to_owned(), problem };
    // TLS is not the URL's business here: there is no other way to a master.
    let url = url.replacen("https://", "http://", 1);
    let endpoint = Endpoint::from_shared(url).map_err(|error| invalid(describe(&error)))?;
    let endpoint = endpoint
        .http2_keep_alive_interval(keepalive::EVERY)
        .keep_alive_timeout(keepalive::LIMIT)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW);
    Ok(Master { address: address.to_owned(), endpoint })
}

/// Refuses a master that is older than this worker. Whether a newer one still serves it is for that to say.
fn check_age(master: &str, reply: &DescribeReply) -> Result<(), LinkError> {
    let version = reply.version.parse::<Version>();
    let is_older = version.is_ok_and(|theirs| Version::OWN.worker_skew(theirs) == Some(Skew::Newer));
    if !is_older && reply.protocol >= PROTOCOL {
        return Ok(());
    }
    let in_words = |version: &str, protocol| format!("version {version}, protocol {protocol}");
    Err(LinkError::Refused(WorkerError::OlderMaster {
        master: master.to_owned(),
        theirs: in_words(&shown(&reply.version), reply.protocol),
        ours: in_words(PRODUCT, PROTOCOL),
    }))
}

fn failed(master: &str, status: &Status) -> LinkError {
    let code = status.metadata().get(ERROR_CODE).and_then(|code| code.to_str().ok());
    if code == Some(ErrorCode::VersionSkew.as_str()) {
        let (master, message) = (master.to_owned(), shown(status.message()));
        return LinkError::Refused(WorkerError::NotServed { master, message });
    }
    match status.code() {
        Code::Unauthenticated | Code::PermissionDenied => {
            LinkError::Refused(WorkerError::Refused { master: master.to_owned(), message: shown(status.message()) })
        }
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
pub(in crate::worker) fn describe(error: &dyn std::error::Error) -> String {
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
pub(in crate::worker) fn shown(text: &str) -> String {
    shared::text::printable(&text.chars().take(500).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(addresses: &[&str]) -> Result<Vec<Master>, WorkerError> {
        Master::all(&addresses.iter().map(|&address| address.to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn addresses_may_be_urls_or_host_and_port() {
        for address in ["http://127.0.0.1:9090", "https://master:9090", "master.example:9090", "[::1]:9090"] {
            assert!(all(&[address]).is_ok(), "{address}");
        }
        for address in ["http://a b", ""] {
            let error = all(&[address]).expect_err(address);
            assert!(matches!(error, WorkerError::Address { .. }), "{address}: {error}");
        }
        assert!(all(&[]).is_err());
    }

    fn passes(refused: &LinkError) -> bool {
        matches!(refused, LinkError::Refused(error) if error.may_pass() && error.hint().contains("containers go on"))
    }

    #[test]
    fn an_older_master_is_waited_for_and_a_newer_one_asked() {
        let check = |version: String, protocol| {
            check_age("m:1", &DescribeReply { cluster_id: String::new(), protocol, version })
        };
        let Version { major, minor } = Version::OWN;
        let newer = [format!("{major}.{}.0", minor + 1), format!("{}.0.0", major + 1)];
        for version in newer.into_iter().chain([PRODUCT.to_owned(), "test".to_owned()]) {
            assert!(check(version.clone(), PROTOCOL).is_ok(), "{version}");
            assert!(check(version.clone(), PROTOCOL + 1).is_ok(), "{version}");
            assert!(check(version.clone(), PROTOCOL - 1).is_err_and(|error| passes(&error)), "{version}");
        }
        let refused = check("0.0.7".to_owned(), PROTOCOL).expect_err("it is older");
        assert!(passes(&refused), "{refused}");
        let said = refused.to_string();
        assert!(said.contains("0.0.7") && said.contains(PRODUCT), "{said}");
    }

    #[test]
    fn a_refusal_for_the_version_is_no_end_and_no_lost_connection() {
        let mut status = Status::failed_precondition("too old (update cloudaid on the worker)");
        assert!(matches!(failed("m:1", &status), LinkError::Lost { .. }));
        status.metadata_mut().insert(ERROR_CODE, ErrorCode::Conflict.as_str().parse().expect("a value"));
        assert!(matches!(failed("m:1", &status), LinkError::Lost { .. }));
        status.metadata_mut().insert(ERROR_CODE, ErrorCode::VersionSkew.as_str().parse().expect("a value"));
        let refused = failed("m:1", &status);
        assert!(passes(&refused) && refused.to_string().contains("update cloudaid"), "{refused}");
    }
}
