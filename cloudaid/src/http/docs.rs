//! `/api/openapi.json` and `/api/docs`: the specification, and a page that shows it without asking anybody else.

use std::sync::{Arc, LazyLock};

use axum::extract::{Path, State};
use axum::http::Uri;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::response::{IntoResponse, Redirect, Response};
use utoipa_swagger_ui::Config;

use super::Shared;
use super::error::{Failure, internal, no_such_path};

/// The page runs scripts of ours and asks us; it loads nothing from elsewhere. Its styles stand in it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
                      connect-src 'self'; font-src 'self'; base-uri 'none'; frame-ancestors 'none'";

static CONFIG: LazyLock<Arc<Config<'static>>> = LazyLock::new(|| Arc::new(Config::from("/api/openapi.json")));

/// `GET /api/openapi.json`
pub(super) async fn specification(State(state): State<Shared>) -> Response {
    let specification = state.specification.get().cloned().unwrap_or_default();
    ([(CONTENT_TYPE, "application/json")], specification).into_response()
}

/// `GET /api/docs`
pub(super) async fn page() -> Redirect {
    Redirect::permanent("/api/docs/index.html")
}

/// `GET /api/docs/{*file}`
pub(super) async fn asset(Path(file): Path<String>, uri: Uri) -> Result<Response, Failure> {
    let found = utoipa_swagger_ui::serve(&file, Arc::clone(&CONFIG));
    let found = found.map_err(|error| internal("the page cannot be made", &error))?;
    let Some(file) = found else { return Err(no_such_path(uri).await) };
    let headers = [
        (CONTENT_TYPE, file.content_type),
        (CONTENT_SECURITY_POLICY, POLICY.to_owned()),
        (CACHE_CONTROL, "no-cache".to_owned()),
    ];
    Ok((headers, file.bytes.into_owned()).into_response())
}
