//! `/api/tokens`: personal tokens.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use shared::view::{CreateTokenRequest, NewTokenView, TokenListView};

use super::Shared;
use super::error::Failure;
use super::extract::{Caller, JsonBody, TokenPath};

/// `GET /api/tokens`: users see their own, admins all.
pub(super) async fn list(State(state): State<Shared>, Caller(principal): Caller) -> Json<TokenListView> {
    Json(TokenListView { tokens: state.auth.tokens(&principal) })
}

/// `POST /api/tokens`
pub(super) async fn create(
    State(state): State<Shared>,
    Caller(principal): Caller,
    JsonBody(request): JsonBody<CreateTokenRequest>,
) -> Result<(StatusCode, Json<NewTokenView>), Failure> {
    Ok((StatusCode::CREATED, Json(state.auth.create_token(&principal, request).await?)))
}

/// `DELETE /api/tokens/{id}`
pub(super) async fn revoke(
    State(state): State<Shared>,
    Caller(principal): Caller,
    TokenPath(id): TokenPath,
) -> Result<StatusCode, Failure> {
    state.auth.revoke_token(&principal, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
