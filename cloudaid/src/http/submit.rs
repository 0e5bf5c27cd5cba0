//! `POST /api/tasks`: one task as JSON, or any number as NDJSON; with `dry_run=true` only what would become of it.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use cloudaid_core::input::Submission;
use cloudaid_core::record::IdempotencyKey;
use shared::error::{ApiError, ErrorCode};
use shared::id::TaskId;
use shared::submit::SubmitRequest;
use shared::view::SubmitView;
use ulid::Ulid;

use super::error::{Failure, internal, invalid};
use super::extract::{BODY_LIMIT, Caller, Params, media_type, read_body};
use super::ndjson::Keys;
use super::visible::require_admin;
use super::{Shared, json, ndjson};
use crate::master::auth::Principal;

/// The header by which a client says that two requests are one.
const KEY_HEADER: &str = "idempotency-key";
/// The longest such key.
const KEY_LIMIT: usize = 255;

/// `POST /api/tasks`
pub(super) async fn submit(
    State(state): State<Shared>,
    Caller(principal): Caller,
    headers: HeaderMap,
    mut params: Params,
    body: Body,
) -> Result<Response, Failure> {
    let dry_run = params.one("dry_run")?.unwrap_or(false);
    let first: Option<u64> = params.one("first")?;
    params.finish()?;
    let key = idempotency_key(&headers)?;
    match media_type(&headers).as_deref() {
        Some("application/json") if dry_run => try_out(&state, &principal, key, body).await,
        Some(_) if dry_run => {
            Err(invalid("a dry run is for one task", "send it as `Content-Type: application/json`").into())
        }
        Some("application/json") if first.is_some() => {
            Err(invalid("first: numbers the lines of NDJSON", "leave it out for one task").into())
        }
        Some("application/json") => submit_one(&state, &principal, key, body).await,
        Some("application/x-ndjson") => {
            let first = first.unwrap_or(1);
            if first == 0 {
                return Err(invalid("first: 0 is out of range", "the first task has the number 1").into());
            }
            let seat = state.load.admit_stream(&principal)?;
            let answers = ndjson::answers(state, principal, key.map(|key| Keys { key, first }), body, seat);
            Ok(([(CONTENT_TYPE, "application/x-ndjson")], answers).into_response())
        }
        _ => {
            let hint = "send `Content-Type: application/json` for one task, `application/x-ndjson` for one per line";
            Err(invalid("the body is of an unknown type", hint).into())
        }
    }
}

async fn try_out(
    state: &Shared,
    principal: &Principal,
    key: Option<Arc<str>>,
    body: Body,
) -> Result<Response, Failure> {
    let request = json::parse(&read_body(body, BODY_LIMIT).await?)?;
    let submission = prepare(request, principal, key)?;
    Ok(Json(state.cluster.try_out(submission).await?).into_response())
}

async fn submit_one(
    state: &Shared,
    principal: &Principal,
    key: Option<Arc<str>>,
    body: Body,
) -> Result<Response, Failure> {
    let request = json::parse(&read_body(body, BODY_LIMIT).await?)?;
    let submission = prepare(request, principal, key)?;
    let view = state.cluster.submit(vec![submission]).await.pop().unwrap_or_else(|| Err(no_answer()))?;
    Ok(created(view))
}

/// A replayed request makes nothing, and says so.
pub(super) fn created(view: SubmitView) -> Response {
    let status = if view.replayed { StatusCode::OK } else { StatusCode::CREATED };
    (status, Json(view)).into_response()
}

/// A submission that is valid, for someone who may make it.
pub(crate) fn prepare(
    request: SubmitRequest,
    principal: &Principal,
    key: Option<Arc<str>>,
) -> Result<Submission, ApiError> {
    let key = match key {
        None => None,
        Some(key) => Some(IdempotencyKey { key, digest: digest(&request)? }),
    };
    let (spec, array) = request.validate()?;
    if spec.worker.is_some() {
        require_admin(principal, "dispatch to a named worker")?;
    }
    let id = TaskId(Ulid::generate());
    Ok(Submission {
        id,
        user: principal.user.clone(),
        spec: Arc::new(spec),
        array: array.map(Arc::new),
        retry_of: None,
        key,
    })
}

/// What to say if a submission got no answer, which cannot happen.
pub(crate) fn no_answer() -> ApiError {
    internal("the submission got no answer", &"fewer answers than submissions")
}

/// Two requests with the same fields have the same digest, however they were written.
fn digest(request: &SubmitRequest) -> Result<[u8; 16], ApiError> {
    let canonical = serde_json::to_vec(request).map_err(|error| internal("the request cannot be digested", &error))?;
    Ok(digest_of(&canonical))
}

/// What tells a repeated request from another one with the same key.
pub(super) fn digest_of(request: &[u8]) -> [u8; 16] {
    let mut digest = [0; 16];
    digest.copy_from_slice(&blake3::hash(request).as_bytes()[..16]);
    digest
}

/// The key by which a client says that two requests are one, if it gave one.
pub(super) fn idempotency_key(headers: &HeaderMap) -> Result<Option<Arc<str>>, ApiError> {
    let mut values = headers.get_all(KEY_HEADER).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let is_printable = value.as_bytes().iter().all(|byte| (b' '..=b'~').contains(byte));
    if !is_printable || !(1..=KEY_LIMIT).contains(&value.len()) || values.next().is_some() {
        let hint = format!("give one key of 1 to {KEY_LIMIT} printable ASCII characters");
        return Err(ApiError::new(ErrorCode::InvalidArgument, "Idempotency-Key: cannot be taken", hint));
    }
    Ok(value.to_str().ok().map(Arc::from))
}

#[cfg(test)]
mod tests {
    use shared::role::Role;

    use super::*;
    use crate::master::auth::Via;

    fn principal(role: Role) -> Principal {
        Principal { user: "ann".parse().expect("a name"), role, via: Via::Login(shared::id::LoginId(7u128.into())) }
    }

    fn prepared(text: &str, role: Role) -> Result<Submission, ApiError> {
        prepare(json::parse(text.as_bytes())?, &principal(role), Some("k".into()))
    }

    #[test]
    fn the_digest_depends_on_the_fields_and_not_on_the_text() {
        let digest = |text: &str| prepared(text, Role::User).expect("valid").key.expect("a key").digest;
        let one = digest(r#"{"image":"a","env":{"A":"1","B":"2"}}"#);
        assert_eq!(one, digest(r#"{ "env": {"B":"2", "A":"1"}, "image": "a" }"#));
        assert_ne!(one, digest(r#"{"image":"a","env":{"A":"1","B":"3"}}"#));
    }

    #[test]
    fn the_submission_is_the_callers_and_dispatch_is_for_admins() {
        assert_eq!(prepared(r#"{"image":"a"}"#, Role::User).expect("valid").user.as_str(), "ann");
        let dispatched = r#"{"image":"a","worker_id":"w1"}"#;
        assert_eq!(prepared(dispatched, Role::User).expect_err("a user").code, ErrorCode::PermissionDenied);
        assert!(prepared(dispatched, Role::Admin).is_ok());
    }

    #[test]
    fn keys_one_below_at_and_above_the_limit() {
        let key = |text: &str| {
            let headers = HeaderMap::from_iter([(KEY_HEADER.parse().expect("a name"), text.parse().expect("a value"))]);
            idempotency_key(&headers)
        };
        assert_eq!(key("a b~").expect("printable").as_deref(), Some("a b~"));
        assert!(key(&"x".repeat(KEY_LIMIT)).is_ok());
        for bad in ["", "a\tb", "\u{e4}", &"x".repeat(KEY_LIMIT + 1)] {
            assert!(key(bad).is_err(), "{bad:?}");
        }
        assert_eq!(idempotency_key(&HeaderMap::new()).expect("absent"), None);
    }
}
