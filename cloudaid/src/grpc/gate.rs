//! Who may call what on the gRPC port, before anything that they have sent is read.
//!
//! Workers of the first generation prove nothing but their address, so their calls are served only where an admin has said
//! so. Users prove themselves with a token, which nobody shall be able to read on its way. Our own workers' services look
//! at certificates themselves.

use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use shared::error::{ApiError, ErrorCode};
use tonic::Status;

use super::parting::Parting;
use super::peer::Peer;
use super::steady::Steady;
use super::{GrpcState, SMALL_MESSAGE, audit, parting, status, stopping};
use crate::http::authenticate::bearer;
use crate::http::routes::{Right, authorize};
use crate::master::auth::Principal;

/// The path of the service of the first generation, up to its method.
const SEED: &str = "/cluster.MasterWorker/";
/// Services that tell nothing of anybody.
const PUBLIC: [&str; 2] = ["/grpc.health.v1.Health/", "/grpc.reflection."];
/// The largest message of a call that is read as a whole: commands have up to 64 KiB, heartbeats a line per task.
const WHOLE_MESSAGE: usize = 16 * SMALL_MESSAGE;
/// The largest one of whom nothing is known.
const STRANGERS_MESSAGE: usize = 4 << 10;
/// How long such a message may take.
const WHOLE_TIMEOUT: Duration = Duration::from_secs(10);

/// What a path is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A worker of the first generation registers or reports.
    Worker,
    /// The same with what a task wrote, all at once: only for those who are registered.
    Report,
    /// The same with what it made.
    Upload,
    /// A user submits or cancels, or follows a log.
    User(Right),
    /// Nobody's secrets.
    Public,
    /// Sees to itself.
    Other,
}

impl Kind {
    fn of(path: &str) -> Self {
        match path.strip_prefix(SEED) {
            Some("RegisterWorker" | "SendHeartbeat") => Self::Worker,
            Some("ReportTaskCompletion") => Self::Report,
            Some("UploadTaskFiles") => Self::Upload,
            Some("AssignTask" | "CancelTask") => Self::User(Right::Change),
            Some("StreamTaskLogs") => Self::User(Right::Look),
            // Only workers are told of masters.
            Some(_) => Self::Other,
            None if PUBLIC.iter().any(|service| path.starts_with(service)) => Self::Public,
            None => Self::Other,
        }
    }
}

/// Lets a call through or answers it with a refusal, which is noted. No call outlives a stop by more than a moment.
pub(super) async fn pass(State(state): State<GrpcState>, request: Request, next: Next) -> Response {
    let shutdown = state.api.shutdown.clone();
    tokio::select! {
        response = answer(&state, request, next) => response.map(|body| Body::new(Parting::new(body, shutdown))),
        () = parting::over(shutdown.clone()) => status(&stopping()).into_http(),
    }
}

async fn answer(state: &GrpcState, mut request: Request, next: Next) -> Response {
    let Some(peer) = request.extensions().get::<Peer>().cloned() else {
        return Status::internal("a request without a connection").into_http();
    };
    let kind = Kind::of(request.uri().path());
    if let Err(error) = admit(state, &peer, kind, &mut request) {
        let method = request.uri().path().rsplit('/').next().unwrap_or_default();
        let action = format!("gRPC {}", shared::text::printable(method).chars().take(64).collect::<String>());
        // Who it was may be known all the same.
        match request.extensions().get::<Principal>() {
            Some(principal) => {
                let call = audit::user_call(&peer, principal, &action, "", true);
                audit::refused_call(state, &call, error.code);
            }
            None => audit::refused(state, &peer, &action, "", error.code),
        }
        tracing::warn!("{action} from {} is refused: {}", peer.address, error.message);
        return status(&error).into_http();
    }
    let address = peer.address.ip().to_canonical();
    match kind {
        Kind::Worker | Kind::User(_) => {
            let is_known = matches!(kind, Kind::User(_)) || state.cluster.admissions().is_known(address);
            match read_whole(request, if is_known { WHOLE_MESSAGE } else { STRANGERS_MESSAGE }).await {
                Ok(request) => next.run(request).await,
                Err(refused) => refused.into_http(),
            }
        }
        Kind::Report | Kind::Upload => {
            let room = if kind == Kind::Report { &state.bulk.reports } else { &state.bulk.uploads };
            let _room = room.enter(address).await;
            next.run(request.map(|body| Body::new(Steady::new(body)))).await
        }
        Kind::Public | Kind::Other => next.run(request).await,
    }
}

fn admit(state: &GrpcState, peer: &Peer, kind: Kind, request: &mut Request) -> Result<(), ApiError> {
    match kind {
        Kind::Worker => allowed(state),
        Kind::Report | Kind::Upload => allowed(state).and_then(|()| registered(state, peer)),
        Kind::User(right) => {
            private(peer, "a token is taken over TLS only, or from this machine")?;
            let principal = state.api.auth.verify(bearer(request.headers())?)?;
            if let Some(stranger) = &peer.stranger {
                stranger.is_known();
            }
            request.extensions_mut().insert(principal.clone());
            authorize(&principal, right)
        }
        Kind::Public => private(peer, "this is served over TLS only, or to this machine"),
        Kind::Other => Ok(()),
    }
}

fn allowed(state: &GrpcState) -> Result<(), ApiError> {
    if state.dialed.is_some() {
        return Ok(());
    }
    let hint =
        "start the master with --allow-plaintext-workers, or let the machine join: `cloudctl worker-token create`";
    Err(ApiError::new(ErrorCode::PermissionDenied, "workers of the first generation are not served here", hint))
}

fn registered(state: &GrpcState, peer: &Peer) -> Result<(), ApiError> {
    let address = peer.address.ip().to_canonical();
    if state.cluster.admissions().is_known(address) {
        return Ok(());
    }
    let message = format!("no worker is registered at {address}");
    Err(ApiError::new(ErrorCode::PermissionDenied, message, "register it: `cloudctl register NAME IP:PORT`"))
}

fn private(peer: &Peer, message: &str) -> Result<(), ApiError> {
    if peer.is_private() {
        return Ok(());
    }
    let hint = "connect with TLS; `cloudaid master` tells the fingerprint of its certificate when it starts";
    Err(ApiError::new(ErrorCode::PermissionDenied, message, hint))
}

/// The limit of a service is that of its largest message; whoever sends others needs less.
async fn read_whole(request: Request, limit: usize) -> Result<Request, Status> {
    let (head, body) = request.into_parts();
    let late = |_| Status::deadline_exceeded("the message did not arrive in time; send it in one go");
    let body = tokio::time::timeout(WHOLE_TIMEOUT, to_bytes(body, limit)).await.map_err(late)?;
    let too_large = || Status::out_of_range(format!("the message is larger than {limit} bytes, or broke off"));
    body.map(|bytes| Request::from_parts(head, Body::from(bytes))).map_err(|_| too_large())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_path_has_its_rule() {
        for (path, kind) in [
            ("/cluster.MasterWorker/RegisterWorker", Kind::Worker),
            ("/cluster.MasterWorker/SendHeartbeat", Kind::Worker),
            ("/cluster.MasterWorker/ReportTaskCompletion", Kind::Report),
            ("/cluster.MasterWorker/UploadTaskFiles", Kind::Upload),
            ("/cluster.MasterWorker/AssignTask", Kind::User(Right::Change)),
            ("/cluster.MasterWorker/CancelTask", Kind::User(Right::Change)),
            ("/cluster.MasterWorker/StreamTaskLogs", Kind::User(Right::Look)),
            ("/cluster.MasterWorker/MasterRegister", Kind::Other),
            ("/grpc.health.v1.Health/Check", Kind::Public),
            ("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", Kind::Public),
            ("/cloudai.v1.WorkerSession/Open", Kind::Other),
            ("/", Kind::Other),
        ] {
            assert_eq!(Kind::of(path), kind, "{path}");
        }
    }
}
