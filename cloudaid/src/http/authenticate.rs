//! Who sends a request.

use std::time::Duration;

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use shared::error::{ApiError, ErrorCode};
use tokio::time::Instant;

use super::Shared;
use crate::master::auth::{Auth, Principal};

/// How often a conversation that goes on is asked whether it still may.
const CHECKED_EVERY: Duration = Duration::from_secs(30);

/// Somebody who stays.
#[derive(Debug)]
pub(crate) struct Guest {
    principal: Principal,
    checked: Instant,
}

impl Guest {
    /// One who was let in just now.
    pub(crate) fn new(principal: Principal) -> Self {
        Self { principal, checked: Instant::now() }
    }

    /// Looks now and then whether they still may be here: a log may be followed for days, and its reader be shut out
    /// meanwhile.
    pub(crate) fn check(&mut self, auth: &Auth) -> Result<(), ApiError> {
        if self.checked.elapsed() < CHECKED_EVERY {
            return Ok(());
        }
        self.checked = Instant::now();
        auth.recheck(&self.principal)
    }
}

/// Who sends a request: by the token in its header, else by its cookie.
pub(super) fn authenticate(state: &Shared, headers: &HeaderMap) -> Result<Principal, ApiError> {
    match state.site.cookie(headers) {
        Some(secret) if !headers.contains_key(AUTHORIZATION) => state.auth.verify_cookie(secret),
        _ => state.auth.verify(bearer(headers)?),
    }
}

/// The token of `Authorization: Bearer`, which must be there exactly once.
pub(crate) fn bearer(headers: &HeaderMap) -> Result<&str, ApiError> {
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
