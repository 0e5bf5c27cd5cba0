//! `/api/registries`: what workers pull private images with.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use cloudaid_core::registry::RegistryRecord;
use shared::pull::RegistryLogin;
use shared::view::{RegistryListView, RegistryView, SetRegistryRequest};

use super::Shared;
use super::error::{Failure, invalid};
use super::extract::{Caller, JsonBody, RegistryPath};
use crate::clock;
use crate::master::call::Call;

/// The longest name and the longest password, in bytes. Tokens of cloud providers have some thousands.
const LENGTH_LIMIT: usize = 16 * 1024;

/// `GET /api/registries`
pub(super) async fn list(State(state): State<Shared>) -> Result<Json<RegistryListView>, Failure> {
    Ok(Json(state.cluster.registries().await?))
}

/// `POST /api/registries`
pub(super) async fn set(
    State(state): State<Shared>,
    Caller(principal): Caller,
    JsonBody(request): JsonBody<SetRegistryRequest>,
) -> Result<Json<RegistryView>, Failure> {
    let SetRegistryRequest { registry, username, password } = request;
    Call::about(registry.as_str());
    for (field, text) in [("username", &username), ("password", &password)] {
        if text.is_empty() || text.len() > LENGTH_LIMIT || text.contains(char::is_control) {
            let message = format!("{field}: must be 1 to {LENGTH_LIMIT} bytes, on one line");
            return Err(invalid(message, "give what the registry knows the cluster by").into());
        }
    }
    let login = RegistryLogin { username, password };
    let sealed = state.seal.seal(&registry, &login);
    let record = RegistryRecord {
        registry: registry.clone(),
        username: login.username,
        sealed,
        changed_by: principal.user,
        changed_at: clock::wall(),
    };
    let view = record.view();
    state.cluster.change_registry(registry, Some(record)).await?;
    Ok(Json(view))
}

/// `DELETE /api/registries/{id}`
pub(super) async fn remove(
    State(state): State<Shared>,
    RegistryPath(registry): RegistryPath,
) -> Result<StatusCode, Failure> {
    state.cluster.change_registry(registry, None).await?;
    Ok(StatusCode::NO_CONTENT)
}
