//! `/api/workers`: what the cluster consists of.

use axum::Json;
use axum::extract::State;
use shared::view::{WorkerListView, WorkerView};

use super::Shared;
use super::error::Failure;
use super::extract::{Params, WorkerPath};

/// `GET /api/workers`
pub(super) async fn list(State(state): State<Shared>, params: Params) -> Result<Json<WorkerListView>, Failure> {
    params.finish()?;
    Ok(Json(state.cluster.workers().await?))
}

/// `GET /api/workers/{id}`
pub(super) async fn show(
    State(state): State<Shared>,
    WorkerPath(worker): WorkerPath,
) -> Result<Json<WorkerView>, Failure> {
    Ok(Json(state.cluster.worker(worker).await?))
}
