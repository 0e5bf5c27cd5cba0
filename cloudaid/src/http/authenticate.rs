//! The token of a request.

use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use shared::error::{ApiError, ErrorCode};
use tokio::time::Instant;

use crate::master::auth::Auth;

/// How often a conversation that goes on is asked whether it still may.
const CHECKED_EVERY: Duration = Duration::from_secs(30);

/// What somebody came with who stays.
pub(super) struct Credential {
    bearer: Arc<str>,
    checked: Instant,
}

impl Credential {
    /// One that was good just now.
    pub(super) fn new(bearer: &str) -> Self {
        Self { bearer: bearer.into(), checked: Instant::now() }
    }

    /// Looks now and then whether it is still good: a log may be followed for days, and its reader be shut out meanwhile.
    pub(super) fn check(&mut self, auth: &Auth) -> Result<(), ApiError> {
        if self.checked.elapsed() < CHECKED_EVERY {
            return Ok(());
        }
        self.checked = Instant::now();
        auth.verify(&self.bearer).map(drop)
    }
}

/// The token of `Authorization: Bearer`, which must be there exactly once.
pub(super) fn bearer(headers: &HeaderMap) -> Result<&str, ApiError> {
    let missing = |message: &str| {
        let hint = "log in with `cloudctl login`, or send the header `Authorization: Bearer TOKEN`";
        ApiError::new(ErrorCode::Unauthenticated, message, hint)
    };
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = match (values.next(), values.next()) {
        (None, _) => return Err(missing("this needs a token")),
        (Some(_), Some(_)) => return Err(missing("there is more than one `Authorization` header")),
        (Some(value), None) => value.to_str().unwrap_or_default(),
    };
    match value.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Ok(token.trim()),
        _ => Err(missing("the `Authorization` header is not of the kind Bearer")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(values: &[&str]) -> HeaderMap {
        values.iter().map(|value| (AUTHORIZATION, value.parse().expect("a header"))).collect()
    }

    #[test]
    fn one_bearer_token_and_nothing_else() {
        assert_eq!(bearer(&headers(&["Bearer abc"])).expect("a token"), "abc");
        assert_eq!(bearer(&headers(&["bearer abc"])).expect("a token"), "abc");
        for bad in [&[][..], &["abc"], &["Basic abc"], &["Bearer"], &["Bearer a", "Bearer b"], &[""]] {
            assert!(bearer(&headers(bad)).is_err(), "{bad:?}");
        }
    }
}
