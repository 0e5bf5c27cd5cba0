//! What keeps the pages of others from acting through somebody's browser.
//!
//! A program that sends a token in a header means what it asks. A browser may be led: by a page of another origin, which it
//! lets send requests with our cookie (CSRF), or by a name that points at this machine (DNS rebinding). So whoever comes
//! without a token in a header has to name us by a name of ours, and whatever changes something has to come from a page of
//! ours. Methods that are safe are listed, and not those that are not. (OWASP, Cross-Site Request Forgery Prevention.)

use std::net::IpAddr;

use axum::extract::{Request, State};
use axum::http::header::{COOKIE, HOST, ORIGIN, UPGRADE};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, Method, Uri};
use axum::middleware::Next;
use axum::response::Response;
use shared::error::{ApiError, ErrorCode};

use super::Shared;
use super::authenticate::bearer;
use super::error::{Failure, invalid};

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// How this master is reached.
#[derive(Debug, Clone, Default)]
pub struct Site {
    /// Names of ours, besides addresses and `localhost`; in lower case.
    pub hosts: Vec<String>,
    /// Origins of others whose pages may call us, as `https://host:port`.
    pub origins: Vec<String>,
    /// Whether browsers reach us over TLS only.
    pub encrypted: bool,
}

impl Site {
    /// The name of the cookie. Browsers take the prefix only from us and only over TLS.
    pub(super) fn cookie_name(&self) -> &'static str {
        if self.encrypted { "__Host-cloudai" } else { "cloudai" }
    }

    /// The secret in our cookie.
    pub(super) fn cookie<'a>(&self, headers: &'a HeaderMap) -> Option<&'a str> {
        let pairs =
            headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok()).flat_map(|all| all.split(';'));
        let mut named =
            pairs.filter_map(|pair| pair.trim().split_once('=')).filter(|(name, _)| *name == self.cookie_name());
        named.next().map(|(_, value)| value)
    }

    /// For `Set-Cookie`: no page can read it, and no other site sends it.
    pub(super) fn set_cookie(&self, secret: &str, seconds: u64) -> String {
        let secure = if self.encrypted { "; Secure" } else { "" };
        format!("{}={secret}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}", self.cookie_name())
    }

    /// Whether a request may have been meant by whoever sent it.
    fn admit(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<(), ApiError> {
        // Whether it is a good one is seen to by whoever needs it.
        if bearer(headers).is_ok() { Ok(()) } else { self.admit_stranger(method, uri, headers) }
    }

    /// The same, whatever is in the header for a token.
    pub(super) fn admit_stranger(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<(), ApiError> {
        let host = host(uri, headers)?;
        if let Some(host) = &host
            && !self.is_ours(host.host())
        {
            let message = format!("this master does not go by the name `{}`", host.host().escape_debug());
            let hint = "use its address, or add the name to `master.hosts` in its configuration";
            return Err(ApiError::new(ErrorCode::PermissionDenied, message, hint));
        }
        let is_safe = matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS) && !headers.contains_key(UPGRADE);
        if is_safe || self.is_from_our_page(headers, host.as_ref()) {
            return Ok(());
        }
        let hint = "send the header `Authorization: Bearer TOKEN`, or add the page's origin to `master.origins`";
        Err(ApiError::new(ErrorCode::PermissionDenied, "this came from a page of another site", hint))
    }

    fn is_ours(&self, host: &str) -> bool {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        let address = host.trim_start_matches('[').trim_end_matches(']');
        // Nobody can make an address point elsewhere.
        address.parse::<IpAddr>().is_ok()
            || host == "localhost"
            || host.ends_with(".localhost")
            || self.hosts.contains(&host)
    }

    fn is_from_our_page(&self, headers: &HeaderMap, host: Option<&Authority>) -> bool {
        let text = |name: &HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or_default());
        let origin = text(&ORIGIN);
        if origin.is_some_and(|origin| self.origins.iter().any(|known| known == origin)) {
            return true;
        }
        match (text(&SEC_FETCH_SITE), origin) {
            (Some(site), _) => matches!(site, "same-origin" | "none"),
            (None, Some(origin)) => {
                let of = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
                host.is_some_and(|host| of == Some(host.as_str()))
            }
            // No browser of these days; but what has our cookie has to say where it comes from.
            (None, None) => self.cookie(headers).is_none(),
        }
    }
}

/// Whom the request names: HTTP/2 has it in the URI.
fn host(uri: &Uri, headers: &HeaderMap) -> Result<Option<Authority>, ApiError> {
    if let Some(authority) = uri.authority() {
        return Ok(Some(authority.clone()));
    }
    let wrong = || invalid("there is no single good `Host` header", "send it once, as `host` or `host:port`");
    let mut values = headers.get_all(HOST).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => Authority::try_from(value.as_bytes()).map(Some).map_err(|_| wrong()),
        (Some(_), Some(_)) => Err(wrong()),
    }
}

/// Lets the request through, or refuses it.
pub(super) async fn guard(State(state): State<Shared>, request: Request, next: Next) -> Result<Response, Failure> {
    state.site.admit(request.method(), request.uri(), request.headers())?;
    Ok(next.run(request).await)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site() -> Site {
        let (hosts, origins) = (vec!["cloud.example".to_owned()], vec!["https://portal.example".to_owned()]);
        Site { hosts, origins, encrypted: true }
    }

    fn admitted(method: &Method, headers: &[(&str, &str)]) -> bool {
        let headers = headers.iter().map(|(name, value)| {
            let name: HeaderName = name.parse().expect("a name");
            (name, value.parse().expect("a value"))
        });
        site().admit(method, &Uri::from_static("/api/tasks"), &headers.collect()).is_ok()
    }

    const COOKIE: (&str, &str) = ("cookie", "__Host-cloudai=x");

    #[test]
    fn a_token_in_a_header_is_meant() {
        let evil = [("authorization", "Bearer x"), ("host", "evil.example"), ("origin", "https://evil.example")];
        assert!(admitted(&Method::DELETE, &evil));
        for none in ["", "x", "Basic x", "Bearer"] {
            assert!(!admitted(&Method::DELETE, &[&[("authorization", none)], &evil[1..]].concat()), "{none}");
        }
    }

    #[test]
    fn without_one_only_names_of_ours_are_answered() {
        for good in ["127.0.0.1:8080", "[::1]:8080", "10.0.0.7", "localhost:8080", "Cloud.Example", "a.localhost."] {
            assert!(admitted(&Method::GET, &[("host", good)]), "{good}");
        }
        for bad in ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "", "a b", "cloud.example.evil"]
        {
            assert!(!admitted(&Method::GET, &[("host", bad)]), "{bad}");
        }
        assert!(!admitted(&Method::GET, &[("host", "localhost"), ("host", "evil.example")]));
    }

    #[test]
    fn what_changes_something_comes_from_a_page_of_ours() {
        let host = ("host", "cloud.example");
        for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::CONNECT] {
            for (name, good) in [
                ("sec-fetch-site", "same-origin"),
                ("sec-fetch-site", "none"),
                ("origin", "https://cloud.example"),
                ("origin", "https://portal.example"),
            ] {
                assert!(admitted(&method, &[host, COOKIE, (name, good)]), "{method} {name}: {good}");
            }
            for (name, bad) in [
                ("sec-fetch-site", "same-site"),
                ("sec-fetch-site", "cross-site"),
                ("sec-fetch-site", ""),
                ("origin", "https://evil.example"),
                ("origin", "https://cloud.example.evil"),
                ("origin", "null"),
                ("x-nothing", "x"),
            ] {
                assert!(!admitted(&method, &[host, COOKIE, (name, bad)]), "{method} {name}: {bad}");
            }
        }
        let both = [host, COOKIE, ("sec-fetch-site", "cross-site"), ("origin", "https://cloud.example")];
        assert!(!admitted(&Method::POST, &both));
    }

    #[test]
    fn a_tool_without_a_cookie_need_not_say_where_it_comes_from_and_a_page_of_others_does_not_log_in() {
        let host = ("host", "localhost");
        assert!(admitted(&Method::POST, &[host]));
        assert!(!admitted(&Method::POST, &[host, ("sec-fetch-site", "cross-site")]));
        assert!(!admitted(&Method::POST, &[host, ("origin", "https://evil.example")]));
    }

    #[test]
    fn a_socket_of_a_foreign_page_is_no_safe_request() {
        let upgrade = [("host", "localhost"), COOKIE, ("upgrade", "websocket")];
        assert!(!admitted(&Method::GET, &upgrade));
        assert!(!admitted(&Method::GET, &[upgrade.as_slice(), &[("origin", "https://evil.example")]].concat()));
        assert!(admitted(&Method::GET, &[upgrade.as_slice(), &[("origin", "http://localhost")]].concat()));
    }

    #[test]
    fn the_cookie_is_found_among_others_and_set_for_nobody_else() {
        let mut headers = HeaderMap::new();
        headers.append("cookie", "a=b; cloudai=no".parse().expect("a value"));
        headers.append("cookie", "c=d;__Host-cloudai=yes; e=f".parse().expect("a value"));
        assert_eq!(site().cookie(&headers), Some("yes"));
        assert_eq!(Site::default().cookie(&headers), Some("no"));
        let set = "__Host-cloudai=x; Path=/; Max-Age=9; HttpOnly; SameSite=Strict; Secure";
        assert_eq!(site().set_cookie("x", 9), set);
        assert!(!Site::default().set_cookie("x", 9).contains("Secure"));
    }
}
