//! Each request has an id, and a line in the access log. Neither queries nor headers are logged: there may be secrets in
//! them.

use std::time::Instant;

use axum::body::HttpBody;
use axum::extract::{Request, State};
use axum::http::header::USER_AGENT;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use shared::text::printable;
use ulid::Ulid;

use super::Shared;
use super::peer::Peer;
use crate::master::auth::Principal;

/// The header that names a request, in both directions.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The longest id that is taken over from a client.
const ID_LIMIT: usize = 64;
/// Of what a client says, this much is logged.
const TEXT_LIMIT: usize = 200;

/// Names a request.
#[derive(Debug, Clone)]
pub(super) struct RequestId(pub(super) String);

/// Names the request, and logs it when its answer begins.
pub(super) async fn log(State(state): State<Shared>, mut request: Request, next: Next) -> Response {
    let began = Instant::now();
    let id = given(request.headers()).unwrap_or_else(|| Ulid::generate().to_string().to_ascii_lowercase());
    request.extensions_mut().insert(RequestId(id.clone()));
    let line = state.access_log.then(|| Line::new(&request));
    let mut response = next.run(request).await;
    if let Some(line) = line {
        line.write(&id, &response, began);
    }
    if let Ok(value) = HeaderValue::try_from(id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    response
}

/// The id that the client gave, if it is one.
fn given(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(REQUEST_ID)?.to_str().ok()?;
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    ((1..=ID_LIMIT).contains(&text.len()) && text.bytes().all(good)).then(|| text.to_owned())
}

/// What the log says of a request.
struct Line {
    method: String,
    path: String,
    address: String,
    agent: String,
}

impl Line {
    fn new(request: &Request) -> Self {
        let short = |text: &str| printable(&text.chars().take(TEXT_LIMIT).collect::<String>());
        let agent = request.headers().get(USER_AGENT).map(HeaderValue::as_bytes).unwrap_or_default();
        Self {
            method: short(request.method().as_str()),
            path: short(request.uri().path()),
            address: request.extensions().get::<Peer>().map(|peer| peer.0.to_string()).unwrap_or_default(),
            agent: short(&String::from_utf8_lossy(agent)),
        }
    }

    fn write(self, id: &str, response: &Response, began: Instant) {
        let Self { method, path, address, agent } = self;
        let user = response.extensions().get::<Principal>().map_or("-", |principal| principal.user.as_str());
        // A stream has no length yet.
        let bytes = response.body().size_hint().exact().map_or_else(|| "-".to_owned(), |bytes| bytes.to_string());
        let ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let status = response.status().as_u16();
        tracing::info!(target: "cloudaid::access", %method, %path, status, ms, bytes, %user, %address, %agent, id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_taken_over_if_it_can_stand_in_a_log() {
        let given = |text: &str| {
            let value = HeaderValue::from_bytes(text.as_bytes()).expect("a header");
            given(&HeaderMap::from_iter([(REQUEST_ID, value)]))
        };
        assert_eq!(given("build-7.1_x").as_deref(), Some("build-7.1_x"));
        for bad in ["", "a b", "a\"b", "ä", &"x".repeat(ID_LIMIT + 1)] {
            assert_eq!(given(bad), None, "{bad}");
        }
    }
}
