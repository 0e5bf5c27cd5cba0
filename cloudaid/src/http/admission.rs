//! `/api/worker-tokens`, `/api/pending-workers` and what admins do to `/api/workers`: which workers belong to the cluster.

use std::net::SocketAddr;

use axum::Json;
use axum::extract::State;
use axum::http::header::HOST;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, StatusCode, Uri};
use shared::error::{ApiError, ErrorCode};
use shared::id::WorkerId;
use shared::policy::LIMIT_RANGE;
use shared::view::{
    ApproveWorkerRequest, AuthorityView, CordonRequest, CreateWorkerTokenRequest, DrainRequest, NewWorkerTokenView,
    PendingWorkerListView, RegisterWorkerRequest, WorkerTokenListView, WorkerView,
};
use shared::worker::Cordon;

use super::Shared;
use super::error::{Failure, invalid};
use super::extract::{Caller, JsonBody, MaybeJson, TokenPath, WorkerPath};
use crate::clock;
use crate::master::call::Call;
use crate::master::join_token;

/// `GET /api/worker-tokens`
pub(super) async fn list_tokens(State(state): State<Shared>) -> Result<Json<WorkerTokenListView>, Failure> {
    Ok(Json(state.cluster.join_tokens().await?))
}

/// `POST /api/worker-tokens`
pub(super) async fn create_token(
    State(state): State<Shared>,
    Caller(principal): Caller,
    uri: Uri,
    headers: HeaderMap,
    JsonBody(request): JsonBody<CreateWorkerTokenRequest>,
) -> Result<(StatusCode, Json<NewWorkerTokenView>), Failure> {
    let made = join_token::requested(state.tls.authority().fingerprint(), principal.user, request)?;
    Call::about(&made.record.id.to_string());
    let (token, view) = (made.token.expose(), made.record.view());
    state.cluster.create_join_token(made.record).await?;
    let master = workers_address(state.grpc, &uri, &headers);
    Ok((StatusCode::CREATED, Json(NewWorkerTokenView { token, master, view })))
}

/// `DELETE /api/worker-tokens/{id}`
pub(super) async fn revoke_token(State(state): State<Shared>, TokenPath(id): TokenPath) -> Result<StatusCode, Failure> {
    state.cluster.revoke_join_token(id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `GET /api/pending-workers`
pub(super) async fn list_pending(State(state): State<Shared>) -> Result<Json<PendingWorkerListView>, Failure> {
    Ok(Json(state.cluster.pending_workers().await?))
}

/// `POST /api/workers`
pub(super) async fn register(
    State(state): State<Shared>,
    JsonBody(request): JsonBody<RegisterWorkerRequest>,
) -> Result<(StatusCode, Json<WorkerView>), Failure> {
    let RegisterWorkerRequest { worker_id, address } = request;
    Call::about(worker_id.as_str());
    let address = parse(&address)?;
    if is_this_master(state.grpc, address) {
        let message = format!("address: {address} is where this master listens");
        return Err(invalid(message, "give the address of the worker").into());
    }
    state.cluster.register_worker(worker_id.clone(), address).await?;
    Ok((StatusCode::CREATED, Json(shown(&state, worker_id).await?)))
}

/// `POST /api/workers/{id}/approve`
pub(super) async fn approve(
    State(state): State<Shared>,
    WorkerPath(worker): WorkerPath,
    MaybeJson(request): MaybeJson<ApproveWorkerRequest>,
) -> Result<Json<WorkerView>, Failure> {
    let address = request.and_then(|request| request.address).as_deref().map(parse).transpose()?;
    state.cluster.approve_worker(worker.clone(), address).await?;
    Ok(Json(shown(&state, worker).await?))
}

/// `DELETE /api/workers/{id}`
pub(super) async fn unregister(
    State(state): State<Shared>,
    WorkerPath(worker): WorkerPath,
) -> Result<StatusCode, Failure> {
    state.cluster.unregister_worker(worker).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /api/workers/{id}/cordon`
pub(super) async fn cordon(
    State(state): State<Shared>,
    Caller(principal): Caller,
    WorkerPath(worker): WorkerPath,
    MaybeJson(request): MaybeJson<CordonRequest>,
) -> Result<Json<WorkerView>, Failure> {
    let reason = request.unwrap_or_default().reason;
    Cordon::check_reason(reason.as_deref())?;
    let cordon = Cordon { since: clock::wall(), by: principal.user, reason, draining: false, deadline: None };
    state.cluster.cordon_worker(worker.clone(), Some(cordon)).await?;
    Ok(Json(shown(&state, worker).await?))
}

/// `POST /api/workers/{id}/drain`
pub(super) async fn drain(
    State(state): State<Shared>,
    Caller(principal): Caller,
    WorkerPath(worker): WorkerPath,
    MaybeJson(request): MaybeJson<DrainRequest>,
) -> Result<Json<WorkerView>, Failure> {
    let DrainRequest { reason, deadline } = request.unwrap_or_default();
    Cordon::check_reason(reason.as_deref())?;
    let most = LIMIT_RANGE.1;
    if let Some(deadline) = deadline.filter(|deadline| *deadline > most) {
        return Err(invalid(format!("deadline: {deadline} is out of range"), format!("give 0s to {most}")).into());
    }
    let since = clock::wall();
    let deadline = deadline.map(|deadline| since + deadline.0);
    let cordon = Cordon { since, by: principal.user, reason, draining: true, deadline };
    state.cluster.cordon_worker(worker.clone(), Some(cordon)).await?;
    Ok(Json(shown(&state, worker).await?))
}

/// `POST /api/workers/{id}/undrain`: the end of both.
pub(super) async fn undrain(
    State(state): State<Shared>,
    WorkerPath(worker): WorkerPath,
) -> Result<Json<WorkerView>, Failure> {
    state.cluster.cordon_worker(worker.clone(), None).await?;
    Ok(Json(shown(&state, worker).await?))
}

/// `POST /api/auth/authority/rotate`: another authority signs from now on.
pub(super) async fn rotate_authority(State(state): State<Shared>) -> Result<Json<AuthorityView>, Failure> {
    let tls = state.tls.clone();
    let rotated = tokio::task::spawn_blocking(move || tls.rotate()).await;
    let rotated = rotated.map_err(|error| error.to_string()).and_then(|rotated| rotated.map_err(|e| e.to_string()));
    if let Err(error) = rotated {
        tracing::error!("The authority of before stays: {error}");
        let message = "no other authority could be made, the present one stays";
        return Err(ApiError::new(ErrorCode::Unavailable, message, "the log of the master says why").into());
    }
    let authority = state.tls.authority();
    Ok(Json(AuthorityView {
        fingerprint: authority.fingerprint().to_string(),
        expires_at: authority.expires_at(),
        retired: authority.retired().map(|fingerprint| fingerprint.to_string()),
    }))
}

async fn shown(state: &Shared, worker: WorkerId) -> Result<WorkerView, ApiError> {
    state.cluster.worker(worker).await
}

/// Where a worker listens. The master dials it, so it has to be an address, and one that a worker can have.
fn parse(text: &str) -> Result<SocketAddr, ApiError> {
    let hint = "give IP:PORT, such as 192.168.1.10:50052";
    let address: SocketAddr = text.trim().parse().map_err(|_| {
        let text: String = text.chars().take(80).collect();
        invalid(format!("address: `{}` is not an address with a port", text.escape_debug()), hint)
    })?;
    let ip = address.ip();
    if address.port() == 0 || ip.is_unspecified() || ip.is_multicast() {
        return Err(invalid(format!("address: nothing can be dialled at {address}"), hint));
    }
    Ok(address)
}

/// Whether a worker would be this master itself.
fn is_this_master(grpc: SocketAddr, address: SocketAddr) -> bool {
    let is_here = address.ip() == grpc.ip() || grpc.ip().is_unspecified() && address.ip().is_loopback();
    address.port() == grpc.port() && is_here
}

/// Where workers connect: the address that is listened on, or the host by which the caller has reached this API.
fn workers_address(grpc: SocketAddr, uri: &Uri, headers: &HeaderMap) -> String {
    // Over HTTP/2 it stands in the URI.
    let named = || headers.get(HOST).and_then(|host| Authority::try_from(host.as_bytes()).ok());
    let host = uri.authority().cloned().or_else(named);
    match host {
        Some(host) if grpc.ip().is_unspecified() => format!("{}:{}", host.host(), grpc.port()),
        Some(_) | None => grpc.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_is_where_something_can_be_dialled() {
        assert_eq!(parse(" 192.168.1.10:50052").expect("an address").port(), 50052);
        assert!(parse("[fe80::1]:50052").is_ok());
        for bad in ["", "worker:50052", "10.0.0.1", "10.0.0.1:0", "0.0.0.0:50052", "224.0.0.1:1", "\u{1b}[2J"] {
            let error = parse(bad).expect_err(bad);
            assert!(error.message.starts_with("address: ") && !error.message.contains('\u{1b}'), "{error:?}");
        }
    }

    #[test]
    fn workers_are_told_what_others_have_reached() {
        let headers = |host: &str| HeaderMap::from_iter([(HOST, host.parse().expect("a host"))]);
        let all = "0.0.0.0:50051".parse().expect("an address");
        let path = Uri::from_static("/api/worker-tokens");
        assert_eq!(workers_address(all, &path, &headers("master.example:8080")), "master.example:50051");
        assert_eq!(workers_address(all, &path, &headers("[::1]:8080")), "[::1]:50051");
        let whole = Uri::from_static("https://192.0.2.2:8443/api/worker-tokens");
        assert_eq!(workers_address(all, &whole, &HeaderMap::new()), "192.0.2.2:50051");
        let one = "10.0.0.1:50051".parse().expect("an address");
        assert_eq!(workers_address(one, &path, &headers("master.example:8080")), "10.0.0.1:50051");
    }
}
