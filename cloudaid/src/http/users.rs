//! `/api/users`: accounts, for those who administer them.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use shared::view::{CreateUserRequest, InviteRequest, InviteView, UpdateUserRequest, UserListView, UserView};

use super::Shared;
use super::error::Failure;
use super::extract::{Caller, JsonBody, UserPath};
use crate::master::auth::{may_see, user_not_found};

/// `GET /api/users`: admins see all, others themselves.
pub(super) async fn list(State(state): State<Shared>, Caller(principal): Caller) -> Json<UserListView> {
    let mut users = state.auth.users();
    users.retain(|user| may_see(&principal, &user.username));
    Json(UserListView { users })
}

/// `GET /api/users/{name}`: others than oneself do not exist for those who are no admins.
pub(super) async fn show(
    State(state): State<Shared>,
    Caller(principal): Caller,
    UserPath(name): UserPath,
) -> Result<Json<UserView>, Failure> {
    if !may_see(&principal, &name) {
        return Err(user_not_found(name).into());
    }
    Ok(Json(state.auth.user(&name)?))
}

/// `POST /api/users`
pub(super) async fn create(
    State(state): State<Shared>,
    JsonBody(request): JsonBody<CreateUserRequest>,
) -> Result<(StatusCode, Json<UserView>), Failure> {
    Ok((StatusCode::CREATED, Json(state.auth.create_user(request).await?)))
}

/// `PATCH /api/users/{name}`
pub(super) async fn update(
    State(state): State<Shared>,
    UserPath(name): UserPath,
    JsonBody(request): JsonBody<UpdateUserRequest>,
) -> Result<Json<UserView>, Failure> {
    Ok(Json(state.auth.update_user(&name, request).await?))
}

/// `POST /api/users/{name}/logout`: ends all logins of an account.
pub(super) async fn logout(State(state): State<Shared>, UserPath(name): UserPath) -> Result<StatusCode, Failure> {
    state.auth.end_logins(&name).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /api/invites`
pub(super) async fn invite(
    State(state): State<Shared>,
    JsonBody(request): JsonBody<InviteRequest>,
) -> Result<(StatusCode, Json<InviteView>), Failure> {
    Ok((StatusCode::CREATED, Json(state.auth.invite(&request)?)))
}
