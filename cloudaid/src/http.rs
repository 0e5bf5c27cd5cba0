//! The HTTP API: every path in one list, one file per noun behind it.
//!
//! A handler parses, makes one call and converts. Who may call a path stands in the list beside it.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderName, HeaderValue, Method};
use axum::middleware::{from_fn, from_fn_with_state};
use bytes::Bytes;
use tokio_util::sync::CancellationToken;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::cors::{AllowOrigin, CorsLayer};

use crate::master::auth::Auth;
use crate::master::files::FileStore;
use crate::master::handle::ClusterHandle;
use crate::master::inputs::Inputs;
use crate::master::logs::LogStore;
use crate::master::registries::Seal;
use crate::tls::server::ServerTls;

mod admission;
mod archive;
mod audit;
mod auth;
pub(crate) mod authenticate;
mod cluster;
mod counted;
mod describe;
mod docs;
mod error;
mod events;
mod extract;
mod files;
pub(crate) mod follow;
mod headers;
mod health;
mod inputs;
mod json;
mod list;
mod load;
mod log_search;
mod logs;
mod metrics;
mod multipart;
mod ndjson;
mod patient;
mod peer;
mod range;
mod registries;
pub(crate) mod routes;
mod serve;
mod site;
mod socket;
mod steady;
pub(crate) mod submit;
mod tasks;
mod telemetry;
mod tokens;
mod trace;
mod users;
mod version;
pub(crate) mod visible;
mod workers;

pub use load::Load;
pub use serve::serve;
pub use site::Site;
pub use telemetry::Hub;

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
    /// What tasks left in /output, and what they read at /input.
    pub files: FileStore,
    /// Takes what they read.
    pub inputs: Inputs,
    /// Encrypts what workers pull private images with.
    pub seal: Seal,
    /// The authority that workers' certificates are from.
    pub tls: ServerTls,
    /// Where workers connect.
    pub grpc: SocketAddr,
    /// How it is reached.
    pub site: Site,
    /// Whether each request is logged.
    pub access_log: bool,
    /// How much is taken on at a time.
    pub load: Arc<Load>,
    /// Watches the workers.
    pub telemetry: Hub,
    /// The specification of this API, as JSON; there once there is a router.
    pub specification: OnceLock<Bytes>,
    /// Cancelled when the master stops; ends the streams that would go on for ever.
    pub shutdown: CancellationToken,
}

/// As handlers get it.
pub(crate) type Shared = Arc<ApiState>;

/// Everything that can be asked.
pub fn router(state: Arc<ApiState>) -> Router {
    let (router, listed) = list::routes(&state);
    let specification = describe::specification(&listed, state.site.cookie_name());
    // The first of them is as good as the last.
    let _ = state.specification.set(specification.to_pretty_json().unwrap_or_default().into());
    router
        .fallback(error::no_such_path)
        .method_not_allowed_fallback(error::method_not_allowed)
        .layer(from_fn(version::guard))
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
    let headers =
        ["authorization", "content-type", "idempotency-key", "range", "if-none-match", "upload-offset", "x-request-id"];
    let exposed =
        ["content-range", "etag", "retry-after", "upload-offset", "x-request-id"].map(HeaderName::from_static);
    let cors = CorsLayer::new().allow_origin(AllowOrigin::list(origins)).allow_methods(methods);
    let cors = cors.allow_headers(headers.map(HeaderName::from_static)).expose_headers(exposed);
    Some(cors.allow_credentials(true).max_age(CORS_AGE))
}

#[cfg(test)]
mod tests;
