//! The HTTP side: sending a request and understanding the answer. What can be asked stands in [`api`], following a log
//! in [`follow`].

mod api;
mod follow;
mod frame;
mod retry;

use std::error::Error as _;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use shared::error::{ApiError, ErrorBody, ErrorCode, exit};
use url::Url;

pub(crate) use api::TaskFilter;
pub(crate) use follow::{Begin, Followed, Follower, LogQuery, Outcome, PATIENCE};
pub(crate) use retry::with_retries;

use crate::context::{Target, is_local};
use crate::exit::CtlError;

/// Long enough for a far server, short enough for a person who mistyped its address.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Silence after which a request is given up. The server's own deadlines are shorter.
const READ_TIMEOUT: Duration = Duration::from_secs(60);
/// How soon a connection that says nothing is probed, and how often. A master whose machine is gone is noticed after
/// four times this.
const KEEPALIVE: Duration = Duration::from_secs(10);

/// Talks to one master as one user. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Client {
    http: reqwest::Client,
    server: Url,
    token: Option<HeaderValue>,
}

impl Client {
    /// A client for `target`; nothing is sent yet.
    pub(crate) fn new(target: &Target) -> Result<Self, CtlError> {
        let token = target.token.as_deref().map(bearer).transpose()?;
        let http = build(transport(&target.server).read_timeout(READ_TIMEOUT))?;
        Ok(Self { http, server: target.server.clone(), token })
    }

    /// The server as a person writes it.
    pub(crate) fn server(&self) -> &str {
        self.server.as_str().trim_end_matches('/')
    }

    /// `path` is relative, and percent-encoded already.
    fn url(&self, path: &str) -> Result<Url, CtlError> {
        self.server.join(path).map_err(|error| self.not_understood(&error))
    }

    async fn get<T: DeserializeOwned>(&self, path: &str, query: &[(&str, String)]) -> Result<T, CtlError> {
        let response = self.send(self.http.get(self.url(path)?).query(query)).await?;
        self.read(response).await
    }

    async fn post<T: DeserializeOwned>(&self, path: &str, body: &(impl Serialize + Sync)) -> Result<T, CtlError> {
        let response = self.send(self.http.post(self.url(path)?).json(body)).await?;
        self.read(response).await
    }

    /// Sends it with the token, if there is one. An answer that is not a success is an error.
    async fn send(&self, request: reqwest::RequestBuilder) -> Result<reqwest::Response, CtlError> {
        let request = match &self.token {
            Some(token) => request.header(http::header::AUTHORIZATION, token.clone()),
            None => request,
        };
        let response = request.send().await.map_err(|error| self.broken(&error))?;
        if response.status().is_success() || response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return Ok(response);
        }
        let status = response.status();
        let body = response.bytes().await.unwrap_or_default();
        Err(CtlError::Api(refusal(status, &body)))
    }

    async fn read<T: DeserializeOwned>(&self, response: reqwest::Response) -> Result<T, CtlError> {
        let body: Bytes = response.bytes().await.map_err(|error| self.broken(&error))?;
        serde_json::from_slice(&body).map_err(|error| self.not_understood(&error))
    }

    /// No whole answer came.
    pub(crate) fn broken(&self, error: &reqwest::Error) -> CtlError {
        let cause = if error.is_timeout() { "no answer in time".to_owned() } else { last_source(error) };
        CtlError::Unreachable { server: self.server().to_owned(), cause }
    }

    pub(crate) fn not_understood(&self, cause: &dyn std::fmt::Display) -> CtlError {
        CtlError::Protocol { server: self.server().to_owned(), cause: cause.to_string() }
    }
}

/// What ordinary requests and log followers have in common.
fn transport(server: &Url) -> reqwest::ClientBuilder {
    let builder = reqwest::Client::builder()
        .user_agent(concat!("cloudctl/", env!("CARGO_PKG_VERSION")))
        // The token must not follow a redirect to somebody else.
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_keepalive(KEEPALIVE)
        .tcp_keepalive_interval(KEEPALIVE)
        .tcp_keepalive_retries(3);
    // A proxy's localhost is not ours.
    if is_local(server) { builder.no_proxy() } else { builder }
}

fn build(builder: reqwest::ClientBuilder) -> Result<reqwest::Client, CtlError> {
    builder.build().map_err(|error| {
        let message = format!("cannot set up TLS: {}", last_source(&error));
        CtlError::refused(exit::CONFIG, message, "check the certificates of this machine (package ca-certificates)")
    })
}

fn bearer(token: &str) -> Result<HeaderValue, CtlError> {
    let mut value = HeaderValue::try_from(format!("Bearer {}", token.trim())).map_err(|_| {
        CtlError::usage("the token contains characters that no token has", "copy it again, or run `cloudctl login`")
    })?;
    value.set_sensitive(true);
    Ok(value)
}

/// The refusal in an answer. What is not ours (a proxy's page, say) is told by its status.
fn refusal(status: StatusCode, body: &[u8]) -> ApiError {
    if let Ok(body) = serde_json::from_slice::<ErrorBody>(body) {
        return body.error;
    }
    let code = match status.as_u16() {
        502 => ErrorCode::Unavailable,
        status => {
            let known = ErrorCode::ALL.into_iter().rev().find(|code| code.http() == status);
            known.unwrap_or(ErrorCode::Internal)
        }
    };
    ApiError::new(code, format!("the server answers {status}"), "check that --server is a CloudAI master")
}

/// The innermost cause: "Connection refused" says more than "error sending request".
fn last_source(error: &reqwest::Error) -> String {
    let mut last: &dyn std::error::Error = error;
    let mut next = error.source();
    while let Some(source) = next {
        last = source;
        next = source.source();
    }
    last.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_taken_from_the_body() {
        let body = br#"{"error":{"code":"task_not_found","message":"no such task","hint":"list them"}}"#;
        let error = refusal(StatusCode::NOT_FOUND, body);
        assert_eq!((error.code, error.hint.as_str()), (ErrorCode::TaskNotFound, "list them"));
    }

    #[test]
    fn a_page_of_a_proxy_is_told_by_its_status() {
        for (status, code) in [
            (StatusCode::NOT_FOUND, ErrorCode::NotFound),
            (StatusCode::UNAUTHORIZED, ErrorCode::Unauthenticated),
            (StatusCode::BAD_GATEWAY, ErrorCode::Unavailable),
            (StatusCode::FOUND, ErrorCode::Internal),
        ] {
            assert_eq!(refusal(status, b"<html>").code, code, "{status}");
        }
        // It is not known that nothing happened.
        assert_eq!(refusal(StatusCode::SERVICE_UNAVAILABLE, b"").code, ErrorCode::OutcomeUnknown);
    }

    #[test]
    fn a_token_cannot_smuggle_a_header() {
        assert!(bearer("a\r\nX: y").is_err());
        assert!(bearer(" abc\n").is_ok_and(|value| value.is_sensitive()));
    }
}
