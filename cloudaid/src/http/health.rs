//! `/health`: for load balancers and scripts; without a token, and so without facts.

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};
use shared::error::{ApiError, ErrorCode};

use super::Shared;
use super::error::Failure;

/// `GET /health/live`: the process answers.
pub(super) async fn live() -> Json<Value> {
    Json(json!({"status": "live"}))
}

/// `GET /health/ready`: the cluster answers too.
pub(super) async fn ready(State(state): State<Shared>) -> Result<Json<Value>, Failure> {
    match state.cluster.status().await {
        Ok(_) => Ok(Json(json!({"status": "ready"}))),
        Err(_) => Err(ApiError::new(ErrorCode::Unavailable, "the master is not ready", "try again in a second").into()),
    }
}
