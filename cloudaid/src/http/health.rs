//! `/health`: for load balancers and scripts; without a token, and so without facts.

use axum::Json;
use axum::extract::State;
use shared::error::{ApiError, ErrorCode};
use shared::view::{HealthView, ReadyView, StoreState};

use super::Shared;
use super::error::Failure;

/// With less free space than this the master does not call itself ready: what comes in has to be written.
const LEAST_FREE: u64 = 64 * 1024 * 1024;

/// `GET /health/live`: the process answers.
pub(super) async fn live() -> Json<HealthView> {
    Json(HealthView { status: "live".to_owned() })
}

/// `GET /health/ready`: it is the one master, its store can be read and takes commits, and there is room on its disk.
pub(super) async fn ready(State(state): State<Shared>) -> Result<Json<ReadyView>, Failure> {
    let refuse = |what: &str| -> Failure {
        ApiError::new(ErrorCode::Unavailable, format!("the master is not ready: {what}"), "try again in a second")
            .into()
    };
    // One that another master has replaced ends at its next commit; until then its store says so.
    let Ok(status) = state.cluster.status().await else { return Err(refuse("its store cannot be read")) };
    if status.store_state == StoreState::Unavailable {
        return Err(refuse("its store does not answer or takes no commits"));
    }
    if state.files.free_bytes().await.is_some_and(|free| free < LEAST_FREE) {
        return Err(refuse("its disk is full"));
    }
    if !state.files.is_reachable().await {
        return Err(refuse("its bucket for files cannot be reached"));
    }
    let ok = || "ok".to_owned();
    Ok(Json(ReadyView { status: "ready".to_owned(), store: ok(), disk: ok(), leadership: ok() }))
}
