//! What handlers take out of a request. Every refusal has our shape and names what is wrong.

use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Uri};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use serde::de::DeserializeOwned;
use shared::error::{ApiError, ErrorCode};
use shared::files_of::{FilesOf, UnknownFiles};
use shared::id::{TaskRef, TokenId, UserName, WorkerId};
use shared::registry::RegistryName;

use super::error::{Failure, invalid};
use super::json;
use crate::master::auth::Principal;

/// The largest JSON body, in bytes.
pub(super) const BODY_LIMIT: usize = 1024 * 1024;
/// Of whoever asks here, a body is read so far. Otherwise [`BODY_LIMIT`] counts.
#[derive(Debug, Clone, Copy)]
pub(super) struct BodyLimit(pub(super) usize);

/// How long a JSON body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// Who asks, as the token proved it.
pub(super) struct Caller(pub(super) Principal);

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Failure;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        let unknown =
            || ApiError::new(ErrorCode::Unauthenticated, "this needs a token", "log in with `cloudctl login`");
        Ok(Self(parts.extensions.get::<Principal>().cloned().ok_or_else(unknown)?))
    }
}

/// The `{id}` of a task or element.
pub(super) struct TaskPath(pub(super) TaskRef);

impl<S: Send + Sync> FromRequestParts<S> for TaskPath {
    type Rejection = Failure;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        Ok(Self(path_parameter(parts, state, "`cloudctl list-tasks` shows the ids").await?))
    }
}

/// The `{id}` of a worker.
pub(super) struct WorkerPath(pub(super) WorkerId);

impl<S: Send + Sync> FromRequestParts<S> for WorkerPath {
    type Rejection = Failure;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        Ok(Self(path_parameter(parts, state, "`cloudctl workers` lists the workers").await?))
    }
}

/// The `{name}` of a user.
pub(super) struct UserPath(pub(super) UserName);

impl<S: Send + Sync> FromRequestParts<S> for UserPath {
    type Rejection = Failure;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        Ok(Self(path_parameter(parts, state, "`cloudctl users list` lists the users").await?))
    }
}

/// The `{id}` of a personal token.
pub(super) struct TokenPath(pub(super) TokenId);

impl<S: Send + Sync> FromRequestParts<S> for TokenPath {
    type Rejection = Failure;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        Ok(Self(path_parameter(parts, state, "`cloudctl tokens list` lists the tokens").await?))
    }
}

/// The `{id}` of an image registry: its name.
pub(super) struct RegistryPath(pub(super) RegistryName);

impl<S: Send + Sync> FromRequestParts<S> for RegistryPath {
    type Rejection = Failure;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        Ok(Self(path_parameter(parts, state, "`cloudctl registry list` lists them").await?))
    }
}

async fn path_parameter<T: FromStr<Err: Display>, S: Send + Sync>(
    parts: &mut Parts,
    state: &S,
    hint: &str,
) -> Result<T, ApiError> {
    let text = Path::<String>::from_request_parts(parts, state).await;
    let Path(text) = text.map_err(|_| invalid("the path is not valid UTF-8", hint))?;
    text.parse().map_err(|error: T::Err| invalid(error.to_string(), hint))
}

/// The `{id}` of a task, element or input.
pub(super) struct FilesPath(pub(super) FilesOf);

impl<S: Send + Sync> FromRequestParts<S> for FilesPath {
    type Rejection = Failure;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        Ok(Self(path_parameter(parts, state, "`cloudctl files list` shows the ids").await?))
    }
}

/// The id and the exact bytes of the path in `/api/files/{id}/{*path}`.
pub(super) struct FilePath {
    pub(super) of: FilesOf,
    pub(super) path: Vec<u8>,
}

impl<S: Send + Sync> FromRequestParts<S> for FilePath {
    type Rejection = Failure;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        Ok(file_path(&parts.uri)?)
    }
}

/// Decoded here and not by the router, which takes valid UTF-8 only; names of files are any bytes.
fn file_path(uri: &Uri) -> Result<FilePath, ApiError> {
    const HINT: &str = "`cloudctl task-files` lists the files of a task";
    let rest = uri.path().strip_prefix("/api/files/").unwrap_or_default();
    let (id, path) = rest.split_once('/').unwrap_or((rest, ""));
    let bad = || invalid("the path has a bad percent sign", "write % as %25");
    let id = percent_decode(id).ok_or_else(bad)?;
    let of = String::from_utf8_lossy(&id).parse();
    let of = of.map_err(|error: UnknownFiles| invalid(error.to_string(), HINT))?;
    Ok(FilePath { of, path: percent_decode(path).ok_or_else(bad)? })
}

/// Each `%XX` as its byte; none: there is a bad one.
pub(super) fn percent_decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        if *byte == b'%' {
            let (digits, after) = rest.split_at_checked(2)?;
            bytes.extend(hex::decode(digits).ok()?);
            rest = after;
        } else {
            bytes.push(*byte);
        }
    }
    Some(bytes)
}

/// The query. A handler takes what it knows; what is left over is refused by name.
#[derive(Debug)]
pub(super) struct Params(Vec<(String, String)>);

impl<S: Send + Sync> FromRequestParts<S> for Params {
    type Rejection = Failure;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let pairs = Query::<Vec<(String, String)>>::from_request_parts(parts, state).await;
        let Query(pairs) =
            pairs.map_err(|_| invalid("the query cannot be read", "write it as ?name=value&name=value"))?;
        Ok(Self(pairs))
    }
}

impl Params {
    /// All values of a parameter.
    pub(super) fn all(&mut self, name: &str) -> Vec<String> {
        let (taken, left) = std::mem::take(&mut self.0).into_iter().partition(|(key, _)| key == name);
        self.0 = left;
        let taken: Vec<(String, String)> = taken;
        taken.into_iter().map(|(_, value)| value).collect()
    }

    /// The value of a parameter that may be there once.
    pub(super) fn one<T: FromStr<Err: Display>>(&mut self, name: &str) -> Result<Option<T>, ApiError> {
        let mut values = self.all(name).into_iter();
        let Some(value) = values.next() else { return Ok(None) };
        if values.next().is_some() {
            return Err(invalid(format!("{name}: is there more than once"), "give it once"));
        }
        let parsed = value.parse::<T>();
        parsed.map(Some).map_err(|error| invalid(format!("{name}: {error}"), "correct this parameter of the query"))
    }

    /// A number that must be in a range.
    pub(super) fn number(&mut self, name: &str, least: usize, most: usize) -> Result<Option<usize>, ApiError> {
        match self.one::<usize>(name)? {
            Some(number) if !(least..=most).contains(&number) => {
                Err(invalid(format!("{name}: {number} is out of range"), format!("give {least} to {most}")))
            }
            number => Ok(number),
        }
    }

    /// Refuses what nobody took.
    pub(super) fn finish(self) -> Result<(), ApiError> {
        match self.0.first() {
            None => Ok(()),
            Some((name, _)) => {
                let name: String = name.chars().take(80).collect();
                Err(invalid(format!("unknown parameter `{}`", name.escape_debug()), "leave it out"))
            }
        }
    }
}

/// A JSON body.
#[derive(Debug)]
pub(super) struct JsonBody<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for JsonBody<T> {
    type Rejection = Failure;
    async fn from_request(request: Request, _: &S) -> Result<Self, Failure> {
        let (parts, body) = request.into_parts();
        is_json(&parts.headers)?;
        Ok(Self(json::parse(&read_body(body, limit(&parts)).await?)?))
    }
}

/// A JSON body that may be left out.
#[derive(Debug)]
pub(super) struct MaybeJson<T>(pub(super) Option<T>);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for MaybeJson<T> {
    type Rejection = Failure;
    async fn from_request(request: Request, _: &S) -> Result<Self, Failure> {
        let (parts, body) = request.into_parts();
        let body = read_body(body, limit(&parts)).await?;
        if body.is_empty() {
            return Ok(Self(None));
        }
        is_json(&parts.headers)?;
        Ok(Self(Some(json::parse(&body)?)))
    }
}

fn limit(parts: &Parts) -> usize {
    parts.extensions.get::<BodyLimit>().map_or(BODY_LIMIT, |limit| limit.0)
}

fn is_json(headers: &HeaderMap) -> Result<(), ApiError> {
    match media_type(headers).as_deref() {
        Some("application/json") => Ok(()),
        _ => Err(invalid("the body is not JSON", "send it with `Content-Type: application/json`")),
    }
}

/// The media type without its parameters, in lower case.
pub(super) fn media_type(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    value.split(';').next().map(|kind| kind.trim().to_ascii_lowercase())
}

/// The whole body, if it is not too large and comes in time.
pub(super) async fn read_body(body: Body, limit: usize) -> Result<Bytes, ApiError> {
    let read = tokio::time::timeout(BODY_TIMEOUT, collect(body, limit)).await;
    read.unwrap_or_else(|_| {
        let message = format!("the body did not arrive within {} s", BODY_TIMEOUT.as_secs());
        Err(ApiError::new(ErrorCode::Timeout, message, "send it in one go"))
    })
}

async fn collect(body: Body, limit: usize) -> Result<Bytes, ApiError> {
    let mut stream = body.into_data_stream();
    let mut bytes = BytesMut::new();
    while let Some(data) = stream.next().await {
        let data = data.map_err(|_| invalid("the body ended early", "send it again"))?;
        if bytes.len() + data.len() > limit {
            let message = format!("the body is larger than {limit} bytes");
            return Err(ApiError::new(
                ErrorCode::TooLarge,
                message,
                "send less, or many tasks as application/x-ndjson",
            ));
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes.freeze())
}

#[cfg(test)]
mod tests {
    use shared::id::Elements;

    use super::*;

    fn params(pairs: &[(&str, &str)]) -> Params {
        Params(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn parameters_are_taken_once_and_leftovers_named() {
        let mut query = params(&[("limit", "5"), ("label", "a=1"), ("label", "b=2"), ("colour", "red")]);
        assert_eq!(query.number("limit", 1, 1000).expect("in range"), Some(5));
        assert_eq!(query.one::<u32>("attempt").expect("absent"), None);
        assert_eq!(query.all("label"), ["a=1", "b=2"]);
        assert!(query.finish().expect_err("left over").message.contains("`colour`"));
        assert!(params(&[("attempt", "1"), ("attempt", "2")]).one::<u32>("attempt").is_err());
        assert!(params(&[("attempt", "x")]).one::<u32>("attempt").expect_err("no number").message.contains("attempt"));
        for (value, good) in [("0", false), ("1", true), ("1000", true), ("1001", false), ("-1", false)] {
            assert_eq!(params(&[("limit", value)]).number("limit", 1, 1000).is_ok(), good, "{value}");
        }
    }

    #[test]
    fn file_paths_are_any_bytes() {
        let task = "task-01arz3ndektsv4rrffq69g5fav.2";
        let parse = |path: &str| file_path(&format!("/api/files/{task}/{path}").parse().expect("a uri"));
        assert_eq!(parse("dir/a%20b%FF%2F..").expect("a path").path, b"dir/a b\xff/..");
        let of = parse("a").expect("a path").of;
        assert!(matches!(of, FilesOf::Task(TaskRef { elements: Elements::One(2), .. })), "{of:?}");
        let input = "/api/files/input-01arz3ndektsv4rrffq69g5fav/a".parse().expect("a uri");
        assert!(matches!(file_path(&input).expect("a path").of, FilesOf::Input(_)));
        for bad in ["%", "a%4", "a%zz"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        assert!(file_path(&"/api/files/../x".parse().expect("a uri")).is_err());
    }
}
