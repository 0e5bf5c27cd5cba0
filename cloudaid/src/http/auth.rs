//! `/api/auth`: the first account, login, and who one is.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use shared::view::{LoginRequest, LoginView, MeView, SetupRequest};

use super::Shared;
use super::error::Failure;
use super::extract::{Caller, JsonBody};

/// `POST /api/auth/setup`
pub(super) async fn setup(
    State(state): State<Shared>,
    JsonBody(request): JsonBody<SetupRequest>,
) -> Result<(StatusCode, Json<LoginView>), Failure> {
    Ok((StatusCode::CREATED, Json(state.auth.setup(request).await?)))
}

/// `POST /api/auth/login`
pub(super) async fn login(
    State(state): State<Shared>,
    JsonBody(request): JsonBody<LoginRequest>,
) -> Result<Json<LoginView>, Failure> {
    Ok(Json(state.auth.login(request).await?))
}

/// `GET /api/auth/me`
pub(super) async fn me(Caller(principal): Caller) -> Json<MeView> {
    Json(MeView { username: principal.user, role: principal.role })
}
