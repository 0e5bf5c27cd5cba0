//! The HTTP API: every path in one list, one file per noun behind it.
//!
//! A handler parses, makes one call and converts. Who may call a path stands in the list beside it.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderName, HeaderValue, Method};
use axum::middleware::from_fn_with_state;
use tokio_util::sync::CancellationToken;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::cors::{AllowOrigin, CorsLayer};

use crate::master::auth::Auth;
use crate::master::files::FileStore;
use crate::master::handle::ClusterHandle;
use crate::master::logs::LogStore;

mod audit;
mod auth;
mod authenticate;
mod cluster;
mod connections;
mod error;
mod extract;
mod files;
mod follow;
mod headers;
mod health;
mod json;
mod load;
mod log_search;
mod logs;
mod ndjson;
mod peer;
mod range;
mod routes;
mod serve;
mod site;
mod submit;
mod tasks;
mod tokens;
mod trace;
mod users;
mod visible;
mod workers;

pub use load::Load;
pub use serve::serve;
pub use site::Site;

use routes::{Listed, Right, Routes};

/// How long a browser remembers what pages of others may do.
const CORS_AGE: Duration = Duration::from_secs(600);

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
    /// How it is reached.
    pub site: Site,
    /// Whether each request is logged.
    pub access_log: bool,
    /// How much is taken on at a time.
    pub load: Arc<Load>,
    /// Cancelled when the master stops; ends the streams that would go on for ever.
    pub shutdown: CancellationToken,
}

/// As handlers get it.
type Shared = Arc<ApiState>;

/// Everything that can be asked.
pub fn router(state: ApiState) -> Router {
    let state: Shared = Arc::new(state);
    let (router, _) = routes(&state);
    router
        .fallback(error::no_such_path)
        .method_not_allowed_fallback(error::method_not_allowed)
        .layer(from_fn_with_state(state.clone(), site::guard))
        .layer(from_fn_with_state(state.clone(), trace::log))
        .layer(tower::util::option_layer(cors(&state.site)))
        .layer(from_fn_with_state(state.clone(), headers::add))
        .layer(CatchPanicLayer::custom(error::panicked))
        .with_state(state)
}

/// Which pages of others may call us, and what they may do.
fn cors(site: &Site) -> Option<CorsLayer> {
    if site.origins.is_empty() {
        return None;
    }
    let origins = site.origins.iter().filter_map(|origin| HeaderValue::try_from(origin).ok());
    let methods = [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];
    let headers = ["authorization", "content-type", "idempotency-key", "range", "if-none-match", "x-request-id"];
    let exposed = ["content-range", "etag", "retry-after", "x-request-id"].map(HeaderName::from_static);
    let cors = CorsLayer::new().allow_origin(AllowOrigin::list(origins)).allow_methods(methods);
    let cors = cors.allow_headers(headers.map(HeaderName::from_static)).expose_headers(exposed);
    Some(cors.allow_credentials(true).max_age(CORS_AGE))
}

/// All paths, and who may call each.
fn routes(state: &Shared) -> (Router<Shared>, Vec<Listed>) {
    use Right::{Administer, Change, Look, Public};
    Routes::new(state.clone())
        .get("/health/live", Public, health::live)
        .get("/health/ready", Public, health::ready)
        .post("/api/auth/setup", Public, auth::setup)
        .post("/api/auth/register", Public, auth::register)
        .post("/api/auth/login", Public, auth::login)
        .post("/api/auth/cookie", Public, auth::cookie)
        .post("/api/auth/refresh", Public, auth::refresh)
        .post("/api/auth/logout", Look, auth::logout)
        .post("/api/auth/password", Look, auth::password)
        .get("/api/auth/me", Look, auth::me)
        .post("/api/auth/rotate-keys", Administer, auth::rotate_keys)
        .get("/api/users", Look, users::list)
        .post("/api/users", Administer, users::create)
        .get("/api/users/{name}", Look, users::show)
        .patch("/api/users/{name}", Administer, users::update)
        .post("/api/users/{name}/logout", Administer, users::logout)
        .post("/api/invites", Administer, users::invite)
        .get("/api/tokens", Look, tokens::list)
        .post("/api/tokens", Look, tokens::create)
        .delete("/api/tokens/{id}", Look, tokens::revoke)
        .get("/api/tasks", Look, tasks::list)
        .post("/api/tasks", Change, submit::submit)
        .get("/api/tasks/counts", Look, tasks::counts)
        .wait("/api/tasks/wait", Look, tasks::wait)
        .get("/api/tasks/{id}", Look, tasks::show)
        .patch("/api/tasks/{id}", Change, tasks::edit)
        .delete("/api/tasks/{id}", Change, tasks::delete)
        .post("/api/tasks/{id}/cancel", Change, tasks::cancel)
        .post("/api/tasks/{id}/retry", Change, tasks::retry)
        .get("/api/tasks/{id}/why", Look, tasks::why)
        .get("/api/tasks/{id}/logs", Look, logs::read)
        .get("/api/tasks/{id}/logs/search", Look, log_search::search)
        .get("/api/tasks/{id}/files", Look, files::list)
        .get("/api/files", Look, files::of_user)
        .get("/api/files/{id}", Look, files::list_or_download)
        .get("/api/files/{id}/{*path}", Look, files::download)
        .get("/api/workers", Look, workers::list)
        .get("/api/workers/{id}", Look, workers::show)
        .get("/api/queue", Look, cluster::queue)
        .get("/api/status", Look, cluster::status)
        .get("/api/internal-state", Administer, cluster::internal_state)
        .get("/api/audit", Administer, audit::list)
        .post("/api/fix-resources", Administer, cluster::fix_resources)
        .post("/api/shutdown", Administer, cluster::shutdown)
        .socket("/ws/tasks/{id}/logs", Look, follow::follow)
        .finish()
}

#[cfg(test)]
mod tests;
