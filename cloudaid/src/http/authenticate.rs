//! Lets nobody in without a token, but for a few paths that are named here.

use axum::extract::{MatchedPath, Request, State};
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use axum::middleware::Next;
use axum::response::Response;
use shared::error::{ApiError, ErrorCode};

use super::Shared;
use super::error::Failure;

/// The paths that need no token.
pub(super) const PUBLIC: [&str; 4] = ["/health/live", "/health/ready", "/api/auth/setup", "/api/auth/login"];

/// Puts the [`Principal`](crate::master::auth::Principal) into the request, or refuses it.
pub(super) async fn authenticate(
    State(state): State<Shared>,
    mut request: Request,
    next: Next,
) -> Result<Response, Failure> {
    // What is not in the list of paths reaches nothing but the answer that it does not exist.
    let path = request.extensions().get::<MatchedPath>();
    let is_public = path.is_none_or(|path| PUBLIC.contains(&path.as_str()));
    if !is_public {
        let principal = state.auth.verify(bearer(request.headers())?)?;
        request.extensions_mut().insert(principal);
    }
    Ok(next.run(request).await)
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
