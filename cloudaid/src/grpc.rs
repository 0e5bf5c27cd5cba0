//! The gRPC side of the master: thin. Parse, one call, convert.

use std::time::Duration;

use shared::error::{ApiError, GrpcCode};
use shared::proto::worker_session_server::WorkerSessionServer;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tonic::{Code, Status};

use crate::master::files::FileStore;
use crate::master::handle::ClusterHandle;
use crate::master::logs::LogStore;

mod worker_session;

/// The largest message taken; a frame of reports or a chunk of a log stays far below.
const MESSAGE_LIMIT: usize = 4 << 20;
const KEEPALIVE_EVERY: Duration = Duration::from_secs(20);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// A worker has three long streams and at most four uploads; the rest is room to reconnect.
const STREAMS_PER_CONNECTION: u32 = 128;

/// What the services work with.
#[derive(Debug, Clone)]
pub(crate) struct GrpcState {
    pub(crate) cluster: ClusterHandle,
    pub(crate) logs: LogStore,
    pub(crate) files: FileStore,
    /// The secret that a worker has to know.
    pub(crate) worker_token: std::sync::Arc<str>,
}

/// Serves until told to stop. Every connection is closed then; workers reconnect when there is a master again.
pub(crate) async fn serve(
    listener: TcpListener,
    state: GrpcState,
    shutdown: CancellationToken,
) -> Result<(), tonic::transport::Error> {
    let service = WorkerSessionServer::new(worker_session::Service::new(state))
        .max_decoding_message_size(MESSAGE_LIMIT)
        .max_encoding_message_size(MESSAGE_LIMIT);
    Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE_EVERY))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .max_concurrent_streams(STREAMS_PER_CONNECTION)
        .tcp_nodelay(true)
        .add_service(service)
        .serve_with_incoming_shutdown(TcpListenerStream::new(listener), shutdown.cancelled_owned())
        .await
}

/// A refusal as a status: the message and the hint, nothing that is secret.
pub(crate) fn status(error: &ApiError) -> Status {
    let code = match error.code.grpc() {
        GrpcCode::InvalidArgument => Code::InvalidArgument,
        GrpcCode::DeadlineExceeded => Code::DeadlineExceeded,
        GrpcCode::NotFound => Code::NotFound,
        GrpcCode::AlreadyExists => Code::AlreadyExists,
        GrpcCode::PermissionDenied => Code::PermissionDenied,
        GrpcCode::ResourceExhausted => Code::ResourceExhausted,
        GrpcCode::FailedPrecondition => Code::FailedPrecondition,
        GrpcCode::OutOfRange => Code::OutOfRange,
        GrpcCode::Unimplemented => Code::Unimplemented,
        GrpcCode::Internal => Code::Internal,
        GrpcCode::Unavailable => Code::Unavailable,
        GrpcCode::Unauthenticated => Code::Unauthenticated,
    };
    Status::new(code, format!("{} ({})", error.message, error.hint))
}
