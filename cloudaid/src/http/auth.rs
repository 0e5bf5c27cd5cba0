//! `/api/auth`: getting in and out, and who one is.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use shared::view::{LoginRequest, LoginView, MeView, PasswordRequest, RegisterRequest, SetupRequest};

use super::Shared;
use super::authenticate::bearer;
use super::error::Failure;
use super::extract::{Caller, JsonBody};

/// `POST /api/auth/setup`
pub(super) async fn setup(
    State(state): State<Shared>,
    JsonBody(request): JsonBody<SetupRequest>,
) -> Result<(StatusCode, Json<LoginView>), Failure> {
    Ok((StatusCode::CREATED, Json(state.auth.setup(request).await?)))
}

/// `POST /api/auth/register`
pub(super) async fn register(
    State(state): State<Shared>,
    JsonBody(request): JsonBody<RegisterRequest>,
) -> Result<(StatusCode, Json<LoginView>), Failure> {
    Ok((StatusCode::CREATED, Json(state.auth.register(request).await?)))
}

/// `POST /api/auth/login`
pub(super) async fn login(
    State(state): State<Shared>,
    JsonBody(request): JsonBody<LoginRequest>,
) -> Result<Json<LoginView>, Failure> {
    Ok(Json(state.auth.login(request).await?))
}

/// `POST /api/auth/refresh`: a fresh token for one that is still good.
pub(super) async fn refresh(State(state): State<Shared>, headers: HeaderMap) -> Result<Json<LoginView>, Failure> {
    Ok(Json(state.auth.refresh(bearer(&headers)?)?))
}

/// `POST /api/auth/logout`: ends all logins of the caller.
pub(super) async fn logout(State(state): State<Shared>, Caller(principal): Caller) -> Result<StatusCode, Failure> {
    state.auth.end_logins(&principal.user).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /api/auth/password`: another password for the caller. Other logins end, and a new one begins.
pub(super) async fn password(
    State(state): State<Shared>,
    Caller(principal): Caller,
    JsonBody(request): JsonBody<PasswordRequest>,
) -> Result<Json<LoginView>, Failure> {
    Ok(Json(state.auth.change_password(&principal, request).await?))
}

/// `GET /api/auth/me`
pub(super) async fn me(Caller(principal): Caller) -> Json<MeView> {
    Json(MeView { username: principal.user, role: principal.role })
}
