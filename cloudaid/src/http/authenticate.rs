//! The token of a request.

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use shared::error::{ApiError, ErrorCode};

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
