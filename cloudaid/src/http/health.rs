//! `/health`: for load balancers and scripts; without a token, and so without facts.

use axum::Json;
use axum::extract::State;
use shared::error::{ApiError, ErrorCode};
use shared::view::HealthView;

use super::Shared;
use super::error::Failure;

/// `GET /health/live`: the process answers.
pub(super) async fn live() -> Json<HealthView> {
    Json(HealthView { status: "live".to_owned() })
}

/// `GET /health/ready`: the cluster answers too.
pub(super) async fn ready(State(state): State<Shared>) -> Result<Json<HealthView>, Failure> {
    match state.cluster.status().await {
        Ok(_) => Ok(Json(HealthView { status: "ready".to_owned() })),
        Err(_) => Err(ApiError::new(ErrorCode::Unavailable, "the master is not ready", "try again in a second").into()),
    }
}
