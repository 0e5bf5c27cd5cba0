//! Which versions of `cloudctl` are served: it is refused before anything is done for it that it may not understand. It says its
//! version in the header `User-Agent`; others are not asked for theirs.

use axum::extract::Request;
use axum::http::HeaderMap;
use axum::http::header::USER_AGENT;
use axum::middleware::Next;
use axum::response::Response;
use shared::error::ApiError;
use shared::version::{AGENT, Version, check_client};

use super::error::Failure;

/// Lets the request through, or refuses it.
pub(super) async fn guard(request: Request, next: Next) -> Result<Response, Failure> {
    check(request.headers(), Version::OWN)?;
    Ok(next.run(request).await)
}

fn check(headers: &HeaderMap, own: Version) -> Result<(), ApiError> {
    let agent = headers.get(USER_AGENT).and_then(|agent| agent.to_str().ok());
    let client = agent.and_then(|agent| agent.strip_prefix(AGENT)?.parse::<Version>().ok());
    client.map_or(Ok(()), |client| check_client(client, own))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_cloudctl_is_asked() {
        let own = Version { major: 0, minor: 5 };
        let is_served = |agent: Option<&str>| {
            let headers = agent.map(|agent| (USER_AGENT, agent.parse().expect("a value")));
            check(&headers.into_iter().collect(), own).is_ok()
        };
        for served in ["cloudctl/0.5.0", "cloudctl/0.4.9", "cloudctl/0.6.1", "cloudctl/x", "curl/8.5.0", ""] {
            assert!(is_served(Some(served)), "{served}");
        }
        assert!(is_served(None));
        for refused in ["cloudctl/0.3.9", "cloudctl/0.7.0", "cloudctl/1.5.0", "cloudctl/0.7.0 (of somebody)"] {
            assert!(!is_served(Some(refused)), "{refused}");
        }
    }
}
