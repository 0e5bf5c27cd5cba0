//! The HTTP side: sending a request and understanding the answer. What can be asked stands in [`api`], following a log
//! in [`follow`].

mod api;
mod credentials;
mod follow;
mod frame;
mod retry;
mod tls;

use std::borrow::Cow;
use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use shared::error::{ApiError, ErrorBody, ErrorCode, exit};
use shared::version::{self, Version, check_client};
use shared::view::RefreshRequest;
use url::Url;

pub(crate) use api::{LogSearch, TaskFilter};
pub(crate) use follow::{Begin, Followed, Follower, LogQuery, Outcome, PATIENCE};
pub(crate) use retry::with_retries;
pub(crate) use tls::fingerprint_of;

use self::credentials::Credentials;
use self::tls::Guard;
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
    guard: Guard,
    credentials: Arc<Credentials>,
}

impl Client {
    /// A client for `target`; nothing is sent yet.
    pub(crate) fn new(target: &Target) -> Result<Self, CtlError> {
        let credentials = Arc::new(Credentials::new(target)?);
        let guard = Guard::new(&target.trust);
        let http = build(guard.apply(transport(&target.server).read_timeout(READ_TIMEOUT), tls::HTTP)?)?;
        Ok(Self { http, server: target.server.clone(), guard, credentials })
    }

    /// Connects, so that it is known whether the server is the one, before it is told anything.
    pub(crate) async fn greet(&self) -> Result<(), CtlError> {
        self.knock().await.and_then(|answer| check_version(&answer))
    }

    /// The version of the master, which it says in any answer: of another version it may say other things in them.
    pub(crate) async fn server_version(&self) -> Result<String, CtlError> {
        let answer = self.knock().await?;
        let version = version_of(&answer).map(|(_, said)| said.into_owned());
        version.ok_or_else(|| self.not_understood(&"it does not say its version"))
    }

    async fn knock(&self) -> Result<reqwest::Response, CtlError> {
        let answer = self.http.get(self.url("health/live")?).send().await;
        answer.map_err(|error| self.broken(&error))
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

    async fn patch<T: DeserializeOwned>(&self, path: &str, body: &(impl Serialize + Sync)) -> Result<T, CtlError> {
        let response = self.send(self.http.patch(self.url(path)?).json(body)).await?;
        self.read(response).await
    }

    async fn remove(&self, path: &str) -> Result<(), CtlError> {
        self.send(self.http.delete(self.url(path)?)).await.map(drop)
    }

    /// Sends it with the token, if there is one. An answer that is not a success is an error.
    async fn send(&self, request: reqwest::RequestBuilder) -> Result<reqwest::Response, CtlError> {
        self.renew().await;
        self.send_with(self.credentials.header(), request).await
    }

    /// Gets a fresh token if it is time for one.
    async fn renew(&self) {
        let ask = |refresh_token| async move {
            let request = self.http.post(self.url("api/auth/refresh")?).json(&RefreshRequest { refresh_token });
            self.read(self.send_with(None, request).await?).await
        };
        self.credentials.renew(ask).await;
    }

    /// Keeps the token fresh while nothing is asked for. Never ends.
    async fn stay_fresh(&self) {
        while let Some(left) = self.credentials.due_in() {
            tokio::time::sleep(left).await;
            self.renew().await;
        }
        std::future::pending::<()>().await;
    }

    async fn send_with(
        &self,
        token: Option<HeaderValue>,
        request: reqwest::RequestBuilder,
    ) -> Result<reqwest::Response, CtlError> {
        let request = match token {
            Some(token) => request.header(http::header::AUTHORIZATION, token),
            None => request,
        };
        let response = request.send().await.map_err(|error| self.broken(&error))?;
        check_version(&response)?;
        if response.status().is_success() || response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return Ok(response);
        }
        let status = response.status();
        let elsewhere = response.headers().get(http::header::LOCATION);
        let to_tls = elsewhere.is_some_and(|location| location.as_bytes().starts_with(b"https://"));
        if status.is_redirection() && to_tls && self.server.scheme() == "http" {
            return Err(tls::wants_tls(&self.server));
        }
        let body = response.bytes().await.unwrap_or_default();
        Err(self.refusal(status, &body))
    }

    async fn read<T: DeserializeOwned>(&self, response: reqwest::Response) -> Result<T, CtlError> {
        let body: Bytes = response.bytes().await.map_err(|error| self.broken(&error))?;
        serde_json::from_slice(&body).map_err(|error| self.not_understood(&error))
    }

    /// The refusal in an answer. What is not ours (a proxy's page, another server's) is told by its status.
    fn refusal(&self, status: StatusCode, body: &[u8]) -> CtlError {
        if let Ok(ErrorBody { error }) = serde_json::from_slice(body) {
            return error.into();
        }
        let message = format!("the server answers {status}");
        let hint = "something stands before the master: try again, or ask who runs it";
        match status.as_u16() {
            429 => ApiError::new(ErrorCode::ResourceExhausted, message, hint).into(),
            502 => ApiError::new(ErrorCode::Unavailable, message, hint).into(),
            // It is not known that nothing happened.
            503 | 504 => ApiError::new(ErrorCode::OutcomeUnknown, message, hint).into(),
            _ => self.not_understood(&status),
        }
    }

    /// No whole answer came.
    pub(crate) fn broken(&self, error: &reqwest::Error) -> CtlError {
        if let Some(explained) = self.guard.explain(&self.server, error) {
            return explained;
        }
        let cause = if error.is_timeout() { "no answer in time".to_owned() } else { last_source(error) };
        CtlError::Unreachable { server: self.server().to_owned(), cause }
    }

    pub(crate) fn not_understood(&self, cause: &dyn std::fmt::Display) -> CtlError {
        CtlError::Protocol { server: self.server().to_owned(), cause: cause.to_string() }
    }
}

/// Of what version the master is that answers, and how it says it itself. One that does not say it is of the first, of which
/// none did; what else answers and does not say it, a proxy that refuses, is none.
fn version_of(answer: &reqwest::Response) -> Option<(Version, Cow<'_, str>)> {
    let said = answer.headers().get(version::HEADER).and_then(|said| said.to_str().ok());
    let said = said.and_then(|said| Some((said.parse::<Version>().ok()?, Cow::Borrowed(said))));
    let is_done = answer.status().is_success() || answer.status() == StatusCode::SWITCHING_PROTOCOLS;
    said.or_else(|| is_done.then(|| (Version::FIRST, Cow::Owned(Version::FIRST.to_string()))))
}

/// Whether the master that answers goes together with this program.
fn check_version(answer: &reqwest::Response) -> Result<(), CtlError> {
    version_of(answer).map_or(Ok(()), |(master, _)| check_client(Version::OWN, master).map_err(CtlError::Api))
}

/// What ordinary requests and log followers have in common.
fn transport(server: &Url) -> reqwest::ClientBuilder {
    let builder = reqwest::Client::builder()
        .user_agent(format!("{}{}", version::AGENT, version::PRODUCT))
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
    use crate::trust::Trust;

    fn refusal(status: StatusCode, body: &[u8]) -> CtlError {
        let server = crate::context::parse_server("http://h").expect("a server");
        Client::new(&Target::new(server, Trust::System, None)).expect("a client").refusal(status, body)
    }

    #[test]
    fn refusals_are_taken_from_the_body() {
        let body = br#"{"error":{"code":"task_not_found","message":"no such task","hint":"list them"}}"#;
        let error = refusal(StatusCode::NOT_FOUND, body);
        assert_eq!((error.exit(), error.hint().as_str()), (exit::NOT_FOUND, "list them"));
    }

    #[test]
    fn another_server_is_not_taken_for_a_master_that_refuses() {
        for (status, exit) in [
            (StatusCode::NOT_FOUND, exit::PROTOCOL),
            (StatusCode::UNAUTHORIZED, exit::PROTOCOL),
            (StatusCode::NOT_IMPLEMENTED, exit::PROTOCOL),
            (StatusCode::FOUND, exit::PROTOCOL),
            (StatusCode::BAD_GATEWAY, exit::UNAVAILABLE),
            (StatusCode::TOO_MANY_REQUESTS, exit::TEMPORARY),
        ] {
            assert_eq!(refusal(status, b"<html>").exit(), exit, "{status}");
        }
        let unknown = refusal(StatusCode::SERVICE_UNAVAILABLE, b"");
        assert!(unknown.is_transient(), "it is not known that nothing happened");
    }
}
