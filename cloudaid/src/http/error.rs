//! Turns refusals into answers: `{"error":{"code","message","hint"}}`, always, here and nowhere else.

use std::any::Any;
use std::time::Duration;

use axum::Json;
use axum::http::header::{CONNECTION, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use shared::error::{ApiError, ErrorBody, ErrorCode};

use crate::master::auth::LoginError;

/// When to come again if nobody knows better.
const RETRY: Duration = Duration::from_secs(1);

/// A refusal on its way to the client.
#[derive(Debug)]
pub(super) struct Failure {
    error: ApiError,
    retry_after: Duration,
}

impl Failure {
    /// One that may go away by then.
    pub(super) fn later(error: ApiError, retry_after: Duration) -> Self {
        Self { error, retry_after }
    }

    /// What was refused, for who is told in another way.
    pub(super) fn into_error(self) -> ApiError {
        self.error
    }
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        Self { error, retry_after: RETRY }
    }
}

impl From<LoginError> for Failure {
    fn from(error: LoginError) -> Self {
        let message = error.to_string();
        match error {
            LoginError::Refused(error) => error.into(),
            LoginError::Throttled(wait) => {
                let hint = format!("try again in {} s", whole_seconds(wait));
                Self { error: ApiError::new(ErrorCode::ResourceExhausted, message, hint), retry_after: wait }
            }
            LoginError::Busy => ApiError::new(ErrorCode::ResourceExhausted, message, "try again in a second").into(),
        }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.error.code.http()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        // What is left of the body is not read, so nothing can come after it.
        let breaks_off = matches!(self.error.code, ErrorCode::TooLarge | ErrorCode::Timeout);
        let code = self.error.code;
        let mut response = (status, Json(ErrorBody { error: self.error })).into_response();
        if matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            response.headers_mut().insert(RETRY_AFTER, whole_seconds(self.retry_after).into());
        }
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        // For whoever notes what became of the call.
        response.extensions_mut().insert(code);
        if breaks_off {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

/// Rounded up, so that nobody comes too early.
fn whole_seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

/// A wrong request.
pub(super) fn invalid(message: impl Into<String>, hint: impl Into<String>) -> ApiError {
    ApiError::new(ErrorCode::InvalidArgument, message, hint)
}

/// A fault of ours: the log gets the cause, the client what to do.
pub(super) fn internal(what: &str, cause: &dyn std::fmt::Display) -> ApiError {
    tracing::error!(%cause, "{what}");
    ApiError::new(ErrorCode::Internal, what, "the master's log says more")
}

/// Answers for what is not in the list of paths.
pub(super) async fn no_such_path(uri: Uri) -> Failure {
    let path: String = uri.path().chars().take(200).collect();
    let message = format!("there is no path `{}`", path.escape_debug());
    ApiError::new(ErrorCode::NotFound, message, "paths begin with /api, /ws or /health").into()
}

/// Answers for a path that is in the list with another method.
pub(super) async fn method_not_allowed(method: Method, uri: Uri) -> Failure {
    let message = format!("{} does not take {method}", uri.path());
    ApiError::new(ErrorCode::MethodNotAllowed, message, "the header `Allow` says what it takes").into()
}

/// Answers for a handler that panicked.
#[expect(clippy::needless_pass_by_value, reason = "the layer hands the panic over by value")]
pub(super) fn panicked(panic: Box<dyn Any + Send + 'static>) -> Response {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    let error = internal("the master failed to handle the request", &text.unwrap_or("panic"));
    Failure::from(error).into_response()
}
