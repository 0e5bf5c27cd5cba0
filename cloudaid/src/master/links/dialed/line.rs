//! Calls to one worker of the first generation. Each has a connection of its own, as the worker's calls have: a connection
//! that is kept would only be found to be dead when it is needed.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use shared::proto::seed::master_worker_client::MasterWorkerClient;
use shared::proto::seed::{LogChunk, MasterInfo, Task, TaskId, TaskLogRequest};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status, Streaming};

use super::Inner;

/// How long a worker may take until it is connected, and to answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
/// A stream may be silent for days; that its other end is gone has to be found out all the same.
const TCP_KEEPALIVE: Duration = Duration::from_secs(20);
/// The longest line of a log.
const LINE_LIMIT: usize = 16 << 20;

/// How to reach a worker.
#[derive(Debug, Clone)]
pub(super) struct Line {
    inner: Arc<Inner>,
    address: SocketAddr,
}

/// Why a call has not done what it should.
#[derive(Debug, thiserror::Error)]
pub(super) enum CallError {
    /// It has not arrived.
    #[error("it cannot be reached: {0}")]
    Unreachable(String),
    /// It said no.
    #[error("it refuses: {0}")]
    Refused(String),
    /// It may have arrived.
    #[error("it did not answer: {0}")]
    Unknown(String),
}

impl Line {
    pub(super) fn new(inner: Arc<Inner>, address: SocketAddr) -> Self {
        Self { inner, address }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Tells the worker who its master is; it registers then.
    pub(super) async fn register(&self) -> Result<(), CallError> {
        let _permit = self.inner.calls.acquire().await;
        let master_id = self.inner.own.cluster.to_string();
        let master_address = self.own_address()?.to_string();
        let mut client = self.connect().await?;
        let answer = client.master_register(timed(MasterInfo { master_id, master_address })).await;
        let answer = answer.map_err(failed)?.into_inner();
        accepted(answer.success, &answer.message)
    }

    /// Gives it a run.
    pub(super) async fn assign(&self, task: Task) -> Result<(), CallError> {
        let _permit = self.inner.calls.acquire().await;
        let answer = self.connect().await?.assign_task(timed(task)).await.map_err(failed)?.into_inner();
        accepted(answer.success, &answer.message)
    }

    /// Tells it to stop a run.
    pub(super) async fn cancel(&self, task_id: String) -> Result<(), CallError> {
        let _permit = self.inner.calls.acquire().await;
        let answer = self.connect().await?.cancel_task(timed(TaskId { task_id })).await.map_err(failed)?.into_inner();
        accepted(answer.success, &answer.message)
    }

    /// What a run writes, from its beginning, as long as it writes.
    pub(super) async fn logs(&self, task_id: String) -> Result<Streaming<LogChunk>, CallError> {
        let _permit = self.inner.calls.acquire().await;
        let mut client = self.connect().await?.max_decoding_message_size(LINE_LIMIT);
        // No time limit: that holds for the whole stream.
        let asked = client.stream_task_logs(TaskLogRequest { task_id, user_id: String::new(), follow: true });
        let answer = tokio::time::timeout(ANSWER_TIMEOUT, asked).await;
        let late = || CallError::Unknown("it took too long".to_owned());
        Ok(answer.map_err(|_| late())?.map_err(failed)?.into_inner())
    }

    async fn connect(&self) -> Result<MasterWorkerClient<Channel>, CallError> {
        let unreachable = |error: tonic::transport::Error| CallError::Unreachable(in_words(&error));
        let endpoint = Endpoint::from_shared(format!("http://{}", self.address)).map_err(unreachable)?;
        let endpoint = endpoint.connect_timeout(CONNECT_TIMEOUT).tcp_keepalive(Some(TCP_KEEPALIVE));
        // A port that takes connections and says nothing is not reached either.
        let connected = tokio::time::timeout(CONNECT_TIMEOUT, endpoint.connect()).await;
        let late = || CallError::Unreachable("it took too long".to_owned());
        Ok(MasterWorkerClient::new(connected.map_err(|_| late())?.map_err(unreachable)?))
    }

    /// By which address the worker reaches this master: the one from which it is reached itself.
    fn own_address(&self) -> Result<SocketAddr, CallError> {
        let listens = self.inner.own.listens;
        if !listens.ip().is_unspecified() {
            return Ok(listens);
        }
        let route = own_side(self.address).map_err(|error| CallError::Unreachable(error.to_string()))?;
        Ok(SocketAddr::new(route, listens.port()))
    }
}

/// The local end of the route to an address. Nothing is sent.
fn own_side(address: SocketAddr) -> std::io::Result<IpAddr> {
    let unspecified: SocketAddr = if address.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0u16; 8], 0).into() };
    let socket = UdpSocket::bind(unspecified)?;
    socket.connect(address)?;
    Ok(socket.local_addr()?.ip())
}

fn timed<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(ANSWER_TIMEOUT);
    request
}

fn accepted(success: bool, message: &str) -> Result<(), CallError> {
    let message: String = shared::text::printable(message).chars().take(500).collect();
    if success { Ok(()) } else { Err(CallError::Refused(message)) }
}

/// Some codes are also what a connection is given that breaks off after the call has arrived.
#[expect(clippy::needless_pass_by_value, reason = "errors are handed over by value")]
fn failed(status: Status) -> CallError {
    let message: String = shared::text::printable(status.message()).chars().take(500).collect();
    let said = format!("{:?}: {message}", status.code());
    match status.code() {
        Code::Cancelled | Code::Unknown | Code::DeadlineExceeded | Code::Internal | Code::Unavailable => {
            CallError::Unknown(said)
        }
        _ => CallError::Refused(said),
    }
}

/// With what lies behind it, which says more.
fn in_words(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        words = format!("{words}: {cause}");
        source = cause.source();
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_reaches_the_master_by_the_way_back() {
        let side = own_side("127.0.0.1:50052".parse().expect("an address")).expect("a route");
        assert_eq!(side, IpAddr::from([127, 0, 0, 1]));
    }

    #[test]
    fn only_what_surely_did_not_happen_is_refused() {
        assert!(matches!(failed(Status::unavailable("broken pipe")), CallError::Unknown(_)));
        assert!(matches!(failed(Status::deadline_exceeded("late")), CallError::Unknown(_)));
        assert!(matches!(failed(Status::unimplemented("no")), CallError::Refused(_)));
        assert!(matches!(accepted(false, "not registered\n"), Err(CallError::Refused(why)) if !why.contains('\n')));
    }
}
