//! The HTTP API: every path in one list, one file per noun behind it.
//!
//! A handler parses, makes one call and converts. Whoever adds a path here needs no thought about tokens: all paths
//! need one but those that `authenticate.rs` names.

use std::sync::Arc;

use axum::Router;
use axum::http::HeaderValue;
use axum::http::header::X_CONTENT_TYPE_OPTIONS;
use axum::middleware::from_fn_with_state;
use axum::routing::{any, get, post};
use tokio_util::sync::CancellationToken;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::set_header::SetResponseHeaderLayer;

use crate::master::auth::Auth;
use crate::master::files::FileStore;
use crate::master::handle::ClusterHandle;
use crate::master::logs::LogStore;

mod auth;
mod authenticate;
mod cluster;
mod error;
mod extract;
mod files;
mod follow;
mod health;
mod json;
mod logs;
mod ndjson;
mod range;
mod serve;
mod submit;
mod tasks;
mod visible;
mod workers;

pub use serve::serve;

/// What the handlers work with.
#[derive(Debug, Clone)]
pub struct ApiState {
    /// Decides and knows.
    pub cluster: ClusterHandle,
    /// Passwords and tokens.
    pub auth: Auth,
    /// What tasks wrote.
    pub logs: LogStore,
    /// What tasks left in /output.
    pub files: FileStore,
    /// Cancelled when the master stops; ends the streams that would go on for ever.
    pub shutdown: CancellationToken,
}

/// As handlers get it.
type Shared = Arc<ApiState>;

/// All paths.
pub fn router(state: ApiState) -> Router {
    let state: Shared = Arc::new(state);
    Router::new()
        .route("/health/live", get(health::live))
        .route("/health/ready", get(health::ready))
        .route("/api/auth/setup", post(auth::setup))
        .route("/api/auth/login", post(auth::login))
        .route("/api/auth/refresh", post(auth::refresh))
        .route("/api/auth/me", get(auth::me))
        .route("/api/tasks", post(submit::submit).get(tasks::list))
        .route("/api/tasks/wait", post(tasks::wait))
        .route("/api/tasks/{id}", get(tasks::show))
        .route("/api/tasks/{id}/cancel", post(tasks::cancel))
        .route("/api/tasks/{id}/retry", post(tasks::retry))
        .route("/api/tasks/{id}/why", get(tasks::why))
        .route("/api/tasks/{id}/logs", get(logs::read))
        .route("/api/tasks/{id}/files", get(files::list))
        .route("/api/files", get(files::of_user))
        .route("/api/files/{id}", get(files::list_or_download))
        .route("/api/files/{id}/{*path}", get(files::download))
        .route("/api/workers", get(workers::list))
        .route("/api/workers/{id}", get(workers::show))
        .route("/api/queue", get(cluster::queue))
        .route("/api/status", get(cluster::status))
        .route("/api/internal-state", get(cluster::internal_state))
        .route("/api/fix-resources", post(cluster::fix_resources))
        .route("/api/shutdown", post(cluster::shutdown))
        .route("/ws/tasks/{id}/logs", any(follow::follow))
        .fallback(error::no_such_path)
        .method_not_allowed_fallback(error::method_not_allowed)
        .layer(from_fn_with_state(state.clone(), authenticate::authenticate))
        .layer(SetResponseHeaderLayer::if_not_present(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")))
        .layer(CatchPanicLayer::custom(error::panicked))
        .with_state(state)
}

#[cfg(test)]
mod tests;
