//! `/api/queue`, `/api/status`, `/api/internal-state`, `/api/fix-resources`, `/api/shutdown`: the cluster as a whole.

use axum::Json;
use axum::extract::State;
use shared::view::{InternalStateView, QueueView, RepairView, ShutdownRequest, ShutdownView, StatusView};

use super::Shared;
use super::error::Failure;
use super::extract::{Caller, MaybeJson, Params};
use crate::master::auth::may_see;

/// The most rows of the queue in one answer.
const QUEUE_LIMIT: usize = 1000;
/// Rows if the client does not say.
const QUEUE_DEFAULT: usize = 100;

/// `GET /api/queue`: users see their own rows, with their places among all.
pub(super) async fn queue(
    State(state): State<Shared>,
    Caller(principal): Caller,
    mut params: Params,
) -> Result<Json<QueueView>, Failure> {
    let limit = params.number("limit", 1, QUEUE_LIMIT)?.unwrap_or(QUEUE_DEFAULT);
    params.finish()?;
    let looked_at = if principal.is_admin() { limit } else { QUEUE_LIMIT };
    let mut view = state.cluster.queue(looked_at).await?;
    view.tasks.retain(|row| may_see(&principal, &row.user));
    view.tasks.truncate(limit);
    Ok(Json(view))
}

/// `GET /api/status`
pub(super) async fn status(State(state): State<Shared>) -> Result<Json<StatusView>, Failure> {
    Ok(Json(state.cluster.status().await?))
}

/// `GET /api/internal-state`
pub(super) async fn internal_state(State(state): State<Shared>) -> Result<Json<InternalStateView>, Failure> {
    Ok(Json(state.cluster.internal_state().await?))
}

/// `POST /api/fix-resources`
pub(super) async fn fix_resources(
    State(state): State<Shared>,
    Caller(principal): Caller,
) -> Result<Json<RepairView>, Failure> {
    tracing::info!(user = %principal.user, "a comparison with what workers hold was asked for");
    Ok(Json(state.cluster.fix_resources().await?))
}

/// `POST /api/shutdown`: the body may be left out.
pub(super) async fn shutdown(
    State(state): State<Shared>,
    Caller(principal): Caller,
    MaybeJson(request): MaybeJson<ShutdownRequest>,
) -> Result<Json<ShutdownView>, Failure> {
    let request = request.unwrap_or_default();
    tracing::info!(user = %principal.user, drain = request.drain, "shutdown was asked for");
    Ok(Json(state.cluster.shutdown(request.drain).await?))
}
