//! `/api/auth`: getting in and out, and who one is.

use axum::Json;
use axum::extract::State;
use axum::http::header::SET_COOKIE;
use axum::http::{HeaderName, StatusCode};
use axum::response::AppendHeaders;
use shared::view::{
    KeysView, LoginRequest, LoginView, LogoutRequest, MeView, PasswordRequest, RefreshRequest, RegisterRequest,
    SetupRequest,
};

use super::Shared;
use super::error::Failure;
use super::extract::{Caller, JsonBody, MaybeJson};
use super::peer::Peer;
use crate::clock;
use crate::master::auth::Via;

/// A cookie on its way to a browser.
type SetCookie = AppendHeaders<[(HeaderName, String); 1]>;

/// `POST /api/auth/setup`
pub(super) async fn setup(
    State(state): State<Shared>,
    Peer(from): Peer,
    JsonBody(request): JsonBody<SetupRequest>,
) -> Result<(StatusCode, Json<LoginView>), Failure> {
    Ok((StatusCode::CREATED, Json(state.auth.setup(request, from).await?)))
}

/// `POST /api/auth/register`
pub(super) async fn register(
    State(state): State<Shared>,
    Peer(from): Peer,
    JsonBody(request): JsonBody<RegisterRequest>,
) -> Result<(StatusCode, Json<LoginView>), Failure> {
    Ok((StatusCode::CREATED, Json(state.auth.register(request, from).await?)))
}

/// `POST /api/auth/login`
pub(super) async fn login(
    State(state): State<Shared>,
    Peer(from): Peer,
    JsonBody(request): JsonBody<LoginRequest>,
) -> Result<Json<LoginView>, Failure> {
    Ok(Json(state.auth.login(request, from).await?))
}

/// `POST /api/auth/cookie`: a login for a browser.
pub(super) async fn cookie(
    State(state): State<Shared>,
    Peer(from): Peer,
    JsonBody(request): JsonBody<LoginRequest>,
) -> Result<(SetCookie, Json<MeView>), Failure> {
    let login = state.auth.login_browser(request, from).await?;
    let left = login.expires_at.0.saturating_sub(clock::wall().0) / 1000;
    let cookie = state.site.set_cookie(&login.secret, u64::try_from(left).unwrap_or_default());
    Ok((AppendHeaders([(SET_COOKIE, cookie)]), Json(login.view)))
}

/// `POST /api/auth/refresh`: new tokens for the one that renews a login.
pub(super) async fn refresh(
    State(state): State<Shared>,
    JsonBody(request): JsonBody<RefreshRequest>,
) -> Result<Json<LoginView>, Failure> {
    Ok(Json(state.auth.refresh(&request.refresh_token).await?))
}

/// `POST /api/auth/logout`: ends this login, or all logins of the caller.
pub(super) async fn logout(
    State(state): State<Shared>,
    Caller(principal): Caller,
    MaybeJson(request): MaybeJson<LogoutRequest>,
) -> Result<(StatusCode, AppendHeaders<Option<(HeaderName, String)>>), Failure> {
    state.auth.logout(&principal, request.unwrap_or_default().everywhere).await?;
    let gone = matches!(principal.via, Via::Browser(_)).then(|| (SET_COOKIE, state.site.set_cookie("", 0)));
    Ok((StatusCode::NO_CONTENT, AppendHeaders(gone)))
}

/// `POST /api/auth/password`: another password for the caller. Their other logins end.
pub(super) async fn password(
    State(state): State<Shared>,
    Caller(principal): Caller,
    Peer(from): Peer,
    JsonBody(request): JsonBody<PasswordRequest>,
) -> Result<StatusCode, Failure> {
    state.auth.change_password(&principal, request, from).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /api/auth/rotate-keys`: tokens are signed with a new key.
pub(super) async fn rotate_keys(State(state): State<Shared>) -> Result<Json<KeysView>, Failure> {
    Ok(Json(state.auth.rotate_keys()?))
}

/// `GET /api/auth/me`
pub(super) async fn me(Caller(principal): Caller) -> Json<MeView> {
    Json(MeView { username: principal.user, role: principal.role })
}
