//! The gRPC side of the master: thin. Parse, one call, convert.

use std::sync::Arc;

use axum::middleware::from_fn_with_state;
use shared::error::{ApiError, ErrorCode, GrpcCode};
use shared::proto::DESCRIPTORS;
use shared::proto::seed::master_worker_server::MasterWorkerServer;
use shared::proto::worker_identity_server::WorkerIdentityServer;
use shared::proto::worker_session_server::WorkerSessionServer;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::{Code, Status};

use crate::http;
use crate::keepalive;
use crate::master::files::FileStore;
use crate::master::handle::ClusterHandle;
use crate::master::links::dialed::Dialed;
use crate::master::logs::LogStore;
use crate::tls::server::{ServerTls, TlsError};

pub(crate) mod audit;
pub(crate) mod peer;

mod gate;
mod health;
mod listen;
mod master_worker;
mod parting;
mod room;
mod steady;
mod worker_identity;
mod worker_session;

use room::Room;

/// The largest message taken; a frame of reports or a chunk of a log stays far below.
const MESSAGE_LIMIT: usize = 4 << 20;
/// The largest message of a call that has no bulk in it.
const SMALL_MESSAGE: usize = 64 << 10;
/// The largest report of a worker of the first generation: all that a task wrote is in it.
const RESULT_MESSAGE: usize = 65 << 20;
/// Such reports at a time, each of which is held in memory.
const REPORTS_AT_ONCE: usize = 8;
/// Uploads of theirs at a time.
const UPLOADS_AT_ONCE: usize = 32;
/// A worker has three long streams and at most four uploads; the rest is room to reconnect.
const STREAMS_PER_CONNECTION: u32 = 128;
/// Calls of one connection that are not answered yet.
const CALLS_PER_CONNECTION: usize = 64;

/// What the services work with.
#[derive(Debug, Clone)]
pub(crate) struct GrpcState {
    pub(crate) cluster: ClusterHandle,
    pub(crate) logs: LogStore,
    pub(crate) files: FileStore,
    /// Who is believed, and what is shown.
    pub(crate) tls: ServerTls,
    /// Who users are, and how much is taken on for each.
    pub(crate) api: http::Shared,
    /// The workers of the first generation; none: they are not served.
    pub(crate) dialed: Option<Dialed>,
    /// Whether those of them that nobody has registered are let in at once.
    pub(crate) open_admission: bool,
    /// Room for their large calls.
    pub(crate) bulk: Arc<Bulk>,
    /// Uploads of output files that go on.
    pub(crate) uploads: Arc<worker_session::UploadTurns>,
    /// How many refused calls are noted.
    pub(crate) refusals: audit::Refusals,
    /// How many workers may ask to be let in: each of them may cost a commit.
    pub(crate) announcements: audit::Refusals,
}

/// Room for large calls of workers of the first generation.
#[derive(Debug)]
pub(crate) struct Bulk {
    reports: Room,
    uploads: Room,
}

impl Default for Bulk {
    fn default() -> Self {
        Self {
            reports: Room::new(REPORTS_AT_ONCE, REPORTS_AT_ONCE / 2),
            uploads: Room::new(UPLOADS_AT_ONCE, UPLOADS_AT_ONCE / 2),
        }
    }
}

/// Why the port is not served any more.
#[derive(Debug, thiserror::Error)]
pub enum GrpcError {
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// What the services look like cannot be told.
    #[error("the descriptors of the services cannot be read")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// The server failed.
    #[error("the gRPC server failed")]
    Server(#[from] tonic::transport::Error),
}

/// Serves until told to stop. Calls have a moment to end then, and every connection is closed; workers reconnect when there is a master again.
pub(crate) async fn serve(
    listener: TcpListener,
    state: GrpcState,
    shutdown: CancellationToken,
) -> Result<(), GrpcError> {
    let tls = state.tls.for_workers()?;
    let session = WorkerSessionServer::new(worker_session::Service::new(state.clone()))
        .max_decoding_message_size(MESSAGE_LIMIT)
        .max_encoding_message_size(MESSAGE_LIMIT);
    let identity = WorkerIdentityServer::new(worker_identity::Service::new(state.clone()))
        .max_decoding_message_size(SMALL_MESSAGE)
        .max_encoding_message_size(SMALL_MESSAGE);
    let seed = MasterWorkerServer::new(master_worker::Service::new(state.clone()))
        .max_decoding_message_size(RESULT_MESSAGE)
        .max_encoding_message_size(MESSAGE_LIMIT);
    let (reporter, health) = tonic_health::server::health_reporter();
    tokio::spawn(health::report(reporter, state.cluster.clone(), shutdown.clone()));
    let described = || tonic_reflection::server::Builder::configure().register_encoded_file_descriptor_set(DESCRIPTORS);
    let routes = Routes::new(session)
        .add_service(identity)
        .add_service(seed)
        .add_service(health)
        .add_service(described().build_v1()?)
        .add_service(described().build_v1alpha()?);
    let gate = from_fn_with_state(state.clone(), gate::pass);
    let routes = Routes::from(routes.into_axum_router().layer(gate));
    let incoming = listen::incoming(listener, tls, state, shutdown.clone());
    Server::builder()
        .http2_keepalive_interval(Some(keepalive::EVERY))
        .http2_keepalive_timeout(Some(keepalive::LIMIT))
        .max_concurrent_streams(STREAMS_PER_CONNECTION)
        .concurrency_limit_per_connection(CALLS_PER_CONNECTION)
        .load_shed(true)
        .add_routes(routes)
        .serve_with_incoming_shutdown(incoming, shutdown.cancelled_owned())
        .await?;
    Ok(())
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
    Status::new(code, in_words(error))
}

/// Why calls end when the master stops.
fn stopping() -> ApiError {
    ApiError::new(ErrorCode::Unavailable, "the master is about to stop", "call again when it has started")
}

/// With its hint, where a text is all that can be said.
fn in_words(error: &ApiError) -> String {
    format!("{} ({})", error.message, error.hint)
}
