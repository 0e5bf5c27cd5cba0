//! The router as a client sees it, without a cluster behind it.

use axum::body::{Body, to_bytes};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::http::{Method, Request, StatusCode};
use cloudaid_core::account::UserRecord;
use cloudaid_core::guesses::Guesses;
use cloudaid_core::login::{LoginKind, LoginRecord};
use serde_json::Value;
use shared::error::ErrorBody;
use shared::id::LoginId;
use shared::role::Role;
use shared::time::WallTime;
use shared::version::{AGENT, Version};
use shared::view::MeView;
use tower::ServiceExt;

use super::list::routes;
use super::routes::Listed;
use super::*;
use crate::master::auth::AuthConfig;

const TASK: &str = "task-01arz3ndektsv4rrffq69g5fav";

struct Bench {
    router: Router,
    state: Shared,
    _directory: tempfile::TempDir,
}

struct Answer {
    status: StatusCode,
    headers: axum::http::HeaderMap,
    body: Vec<u8>,
}

impl Answer {
    /// The code of an error, which must have our shape and say what to do.
    fn code(&self) -> &'static str {
        let body: ErrorBody = serde_json::from_slice(&self.body).expect("the error shape");
        assert_eq!(self.status.as_u16(), body.error.code.http());
        body.error.code.as_str()
    }
}

fn tls(data_dir: &std::path::Path) -> ServerTls {
    let day = std::time::Duration::from_secs(24 * 3600);
    let cluster = "01arz3ndektsv4rrffq69g5fav".parse().expect("an id");
    let authority = crate::tls::authority::Authority::open(data_dir, cluster, &[], day).expect("an authority");
    ServerTls::new(authority, None).expect("TLS")
}

impl Bench {
    fn new() -> Self {
        Self::with(Site::default())
    }

    fn with(site: Site) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let logs = LogStore::open(&directory.path().join("logs")).expect("logs");
        let cluster = ClusterHandle::detached(logs.clone());
        let config = AuthConfig::in_directory(directory.path());
        let auth = Auth::new(&config, cluster.clone(), Guesses::default()).expect("auth");
        for role in Role::ALL {
            cluster.accounts().insert(UserRecord {
                name: role.as_str().parse().expect("a name"),
                password_hash: String::new(),
                role,
                created_at: WallTime(0),
                disabled: false,
            });
        }
        let files = FileStore::open(&directory.path().join("files")).expect("files");
        let state = ApiState {
            cluster: cluster.clone(),
            auth,
            logs,
            inputs: Inputs::new(cluster.clone(), files.clone()),
            files,
            seal: Seal::open(&directory.path().join("registries.secret")).expect("a key"),
            tls: tls(directory.path()),
            grpc: "127.0.0.1:50051".parse().expect("an address"),
            site,
            access_log: false,
            load: Default::default(),
            telemetry: Hub::start(cluster, CancellationToken::new()),
            specification: Default::default(),
            shutdown: CancellationToken::new(),
        };
        let state = Arc::new(state);
        Self { router: router(Arc::clone(&state)), state, _directory: directory }
    }

    fn token(&self, role: Role) -> String {
        let view = self.state.auth.tokens_of(&self.log_in(role, LoginKind::Tool), 0);
        format!("Bearer {}", view.expect("a token").token)
    }

    /// A login of the account that has the name of its role.
    fn log_in(&self, role: Role, kind: LoginKind) -> LoginRecord {
        let (user, now) = (role.as_str().parse().expect("a name"), crate::clock::wall());
        let id = LoginId(ulid::Ulid::generate());
        let login = LoginRecord { id, user, kind, address: None, serial: 0, created_at: now, renewed_at: now };
        self.state.cluster.accounts().set_login(id, Some(login.clone()));
        login
    }

    async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.expect("an answer");
        let (status, headers) = (response.status(), response.headers().clone());
        let body = to_bytes(response.into_body(), usize::MAX).await.expect("a body").to_vec();
        Answer { status, headers, body }
    }

    /// As an admin.
    async fn call(&self, method: Method, path: &str, kind: &str, body: impl Into<Body>) -> Answer {
        let request = Request::builder().method(method).uri(path).header(AUTHORIZATION, self.token(Role::Admin));
        let request = if kind.is_empty() { request } else { request.header(CONTENT_TYPE, kind) };
        self.send(request.body(body.into()).expect("a request")).await
    }
}

/// A path of the list with something in its places.
fn filled_in(path: &str) -> String {
    let id = if path.starts_with("/api/workers") { "worker-1" } else { TASK };
    path.replace("{id}", id).replace("{name}", "somebody").replace("{*path}", "a/b")
}

#[tokio::test]
async fn each_path_lets_in_whom_the_list_says() {
    let bench = Bench::new();
    let (_, listed) = routes(&bench.state);
    assert!(listed.len() > 30);
    for Listed { method, path, right, .. } in listed {
        let call = async |token: Option<String>| {
            let request = Request::builder().method(&method).uri(filled_in(path));
            let request = token.into_iter().fold(request, |request, token| request.header(AUTHORIZATION, token));
            bench.send(request.body(Body::empty()).expect("a request")).await
        };
        let least = right.least_role();
        for token in [None, Some("Bearer forged".to_owned()), Some("Basic YTpi".to_owned())] {
            let answer = call(token.clone()).await;
            let refused = answer.status == StatusCode::UNAUTHORIZED;
            assert_eq!(refused, least.is_some(), "{method} {path} {token:?}");
            assert_eq!(refused, answer.headers.contains_key("www-authenticate"), "{method} {path} {token:?}");
        }
        for role in Role::ALL {
            let answer = call(Some(bench.token(role))).await;
            assert_ne!(answer.status, StatusCode::UNAUTHORIZED, "{method} {path} {role}");
            let refused = answer.status == StatusCode::FORBIDDEN;
            assert_eq!(refused, least.is_some_and(|least| role < least), "{method} {path} {role}");
        }
    }
    let live = bench.send(Request::get("/health/live").body(Body::empty()).expect("a request")).await;
    assert_eq!(live.status, StatusCode::OK);
    let ready = bench.send(Request::get("/health/ready").body(Body::empty()).expect("a request")).await;
    assert_eq!(ready.code(), "unavailable");
    assert_eq!(ready.headers["retry-after"], "1");
}

#[tokio::test]
async fn a_token_counts_only_while_its_account_is_as_it_was() {
    let bench = Bench::new();
    let token = bench.token(Role::User);
    let me = async || {
        let request = Request::get("/api/auth/me").header(AUTHORIZATION, &token);
        bench.send(request.body(Body::empty()).expect("a request")).await
    };
    let accounts = bench.state.cluster.accounts();
    let user = accounts.find(&"user".parse().expect("a name")).expect("the account");
    assert_eq!(me().await.status, StatusCode::OK);
    // What they may do is what the account says now, whatever it said when the token was made.
    accounts.insert(UserRecord { role: Role::ReadOnly, ..user.clone() });
    let view: MeView = serde_json::from_slice(&me().await.body).expect("a view");
    assert_eq!(view.role, Role::ReadOnly);
    let over = async || {
        let answer = me().await;
        assert_eq!(answer.code(), "unauthenticated");
        assert!(String::from_utf8_lossy(&answer.body).contains("the login has ended"));
    };
    accounts.insert(UserRecord { disabled: true, ..user.clone() });
    over().await;
    accounts.insert(user);
    assert_eq!(me().await.status, StatusCode::OK);
    let login = accounts.logins().pop().expect("a login");
    accounts.set_login(login.id, Some(LoginRecord { renewed_at: WallTime(0), ..login.clone() }));
    over().await;
    accounts.set_login(login.id, Some(LoginRecord { user: "admin".parse().expect("a name"), ..login.clone() }));
    over().await;
    accounts.set_login(login.id, None);
    over().await;
}

#[tokio::test]
async fn a_cookie_lets_in_a_page_of_ours_and_no_other() {
    let bench = Bench::new();
    let login = bench.log_in(Role::User, LoginKind::Browser);
    let cookie = format!("cloudai={}", bench.state.auth.cookie_of(&login));
    let call = async |method: &Method, path: &str, site: &str| {
        let request = Request::builder().method(method).uri(path).header("host", "localhost:8080");
        let request = request.header("cookie", &cookie).header("sec-fetch-site", site);
        bench.send(request.body(Body::empty()).expect("a request")).await.status
    };
    let cancel = format!("/api/tasks/{TASK}/cancel");
    assert_eq!(call(&Method::GET, "/api/auth/me", "cross-site").await, StatusCode::OK);
    for (_, listed) in [routes(&bench.state)] {
        for Listed { method, path, .. } in listed.iter().filter(|listed| listed.method != Method::GET) {
            assert_eq!(call(method, &filled_in(path), "cross-site").await, StatusCode::FORBIDDEN, "{method} {path}");
        }
    }
    assert_eq!(call(&Method::POST, &cancel, "same-origin").await, StatusCode::NOT_FOUND, "no task here");
    let as_bearer = format!("Bearer {}", bench.state.auth.cookie_of(&login));
    let request = Request::get("/api/auth/me").header(AUTHORIZATION, as_bearer);
    assert_eq!(bench.send(request.body(Body::empty()).expect("a request")).await.status, StatusCode::UNAUTHORIZED);
    bench.state.cluster.accounts().set_login(login.id, None);
    assert_eq!(call(&Method::GET, "/api/auth/me", "same-origin").await, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_token_tells_who_one_is() {
    let bench = Bench::new();
    let answer = bench.call(Method::GET, "/api/auth/me", "", "").await;
    let me: MeView = serde_json::from_slice(&answer.body).expect("a view");
    assert_eq!((me.username.as_str(), me.role), ("admin", Role::Admin));
    assert_eq!(answer.headers["x-content-type-options"], "nosniff");
}

#[tokio::test]
async fn unknown_paths_and_methods_have_our_shape() {
    let bench = Bench::new();
    for path in ["/", "/api", "/api/nope", "/api/tasks/", "/favicon.ico"] {
        assert_eq!(bench.call(Method::GET, path, "", "").await.code(), "not_found", "{path}");
    }
    let answer = bench.call(Method::DELETE, "/api/tasks", "", "").await;
    assert_eq!(answer.code(), "method_not_allowed");
    assert!(answer.headers["allow"].to_str().expect("text").contains("POST"));
    assert_eq!(bench.call(Method::GET, "/api/shutdown", "", "").await.code(), "method_not_allowed");
}

#[tokio::test]
async fn bad_ids_and_parameters_are_refused() {
    let bench = Bench::new();
    for path in [
        "/api/tasks/task-1".to_owned(),
        "/api/tasks/%ff".to_owned(),
        "/api/tasks?limit=0".to_owned(),
        "/api/queue?limit=x".to_owned(),
        format!("/api/tasks/{TASK}/logs?stream=stdin"),
        format!("/api/tasks/{TASK}/files?x=1"),
        format!("/api/files/{TASK}?path_hex=zz"),
        format!("/api/files/{TASK}?path_blake3=zz"),
        format!("/api/files/{TASK}?path_hex=61&path_blake3={}", "ab".repeat(32)),
        format!("/api/files/{TASK}.0/a?index=1"),
        "/api/workers/a%20b".to_owned(),
    ] {
        assert_eq!(bench.call(Method::GET, &path, "", "").await.code(), "invalid_argument", "{path}");
    }
}

#[tokio::test]
async fn bodies_are_limited_and_typed() {
    let bench = Bench::new();
    let post = |kind: &'static str, body: Vec<u8>| bench.call(Method::POST, "/api/tasks", kind, body);
    assert_eq!(post("text/plain", b"{}".to_vec()).await.code(), "invalid_argument");
    assert_eq!(post("", b"{}".to_vec()).await.code(), "invalid_argument");
    assert_eq!(post("application/json", b"{".to_vec()).await.code(), "invalid_argument");
    let padded = |size: usize| {
        let mut body = br#"{"image":"A"}"#.to_vec();
        body.resize(size, b' ');
        body
    };
    let limit = extract::BODY_LIMIT;
    assert_eq!(post("application/json", padded(limit)).await.code(), "invalid_argument");
    assert_eq!(post("application/json", padded(limit + 1)).await.code(), "too_large");
    let login = bench.call(Method::POST, "/api/auth/login", "application/json", r#"{"username":"ann"}"#).await;
    assert!(String::from_utf8_lossy(&login.body).contains("password"));
    let form = bench.call(Method::POST, "/api/auth/login", "application/x-www-form-urlencoded", "username=ann").await;
    assert_eq!(form.code(), "invalid_argument");
}

#[tokio::test]
async fn ndjson_gets_one_answer_per_line_in_order() {
    let bench = Bench::new();
    let mut body = String::new();
    for number in 1..=3000 {
        body.push_str(match number % 3 {
            0 => "{\"image\":\"A B\"}\n",
            1 => "{\"image\":\"a\"}\n",
            _ => "not json\n",
        });
    }
    let answer = bench.call(Method::POST, "/api/tasks", "application/x-ndjson; charset=utf-8", body).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.headers[CONTENT_TYPE], "application/x-ndjson");
    let lines: Vec<Value> = serde_json::Deserializer::from_slice(&answer.body)
        .into_iter()
        .collect::<Result<_, _>>()
        .expect("one value per line");
    assert_eq!(lines.len(), 3000);
    for (number, line) in (1..).zip(&lines) {
        assert_eq!(line["line"], number);
        // What is good reaches the cluster, which is not there.
        let is_refused_here = line["error"]["code"] == "invalid_argument";
        assert_eq!(is_refused_here, number % 3 != 1, "{line}");
    }
}

#[tokio::test]
async fn a_log_is_followed_by_websocket_only() {
    let bench = Bench::new();
    let answer = bench.call(Method::GET, &format!("/ws/tasks/{TASK}/logs?stdout_offset=1"), "", "").await;
    assert_eq!(answer.code(), "invalid_argument");
}

#[test]
fn a_panic_is_an_answer() {
    let response = error::panicked(Box::new("boom"));
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
}

#[tokio::test]
async fn every_answer_is_safe_in_a_browser_and_has_an_id() {
    let bench = Bench::new();
    for path in ["/health/live", "/api/auth/me", "/nothing"] {
        let request = Request::get(path).header("x-request-id", "build-7");
        let answer = bench.send(request.body(Body::empty()).expect("a request")).await;
        let header = |name: &str| answer.headers.get(name).map(|value| value.to_str().expect("text").to_owned());
        assert_eq!(header("x-content-type-options").as_deref(), Some("nosniff"), "{path}");
        assert_eq!(header("x-frame-options").as_deref(), Some("DENY"), "{path}");
        assert_eq!(header("referrer-policy").as_deref(), Some("no-referrer"), "{path}");
        assert_eq!(header("cache-control").as_deref(), Some("no-store"), "{path}");
        assert!(
            header("content-security-policy").is_some_and(|policy| policy.contains("default-src 'none'")),
            "{path}"
        );
        assert_eq!(header("x-request-id").as_deref(), Some("build-7"), "{path}");
        assert_eq!(header("cloudai-version").as_deref(), Some(env!("CARGO_PKG_VERSION")), "{path}");
        assert_eq!(header("strict-transport-security"), None, "nothing is encrypted here");
        assert_eq!(header("access-control-allow-origin"), None, "no page of others may look");
    }
    let answer = bench.send(Request::get("/").body(Body::empty()).expect("a request")).await;
    assert_eq!(answer.headers["x-request-id"].len(), 26, "an id of our own where none was given");
}

#[tokio::test]
async fn cloudctl_of_another_version_is_refused_before_anything_is_done() {
    let bench = Bench::new();
    let Version { major, minor } = Version::OWN;
    let login = async |minor: u32| {
        let request = Request::post("/api/auth/login").header("user-agent", format!("{AGENT}{major}.{minor}.0"));
        let request = request.header(CONTENT_TYPE, "application/json");
        bench.send(request.body(r#"{"username":"admin"}"#.into()).expect("a request")).await
    };
    // Whoever is served is told what is wrong with it.
    for served in [minor, minor + 1] {
        assert_eq!(login(served).await.code(), "invalid_argument", "{served}");
    }
    let refused = login(minor + 2).await;
    assert_eq!(refused.code(), "version_skew");
    assert_eq!(refused.headers["cloudai-version"], env!("CARGO_PKG_VERSION"), "it can tell from any answer");
}

#[tokio::test]
async fn pages_of_named_sites_may_call_and_no_others() {
    let site = Site { origins: vec!["https://portal.example".into()], encrypted: true, ..Site::default() };
    let bench = Bench::with(site);
    let ask = async |method: Method, origin: &str| {
        let request = Request::builder().method(method).uri("/api/tasks").header("host", "localhost");
        let request = request.header("origin", origin).header("access-control-request-method", "POST");
        bench.send(request.body(Body::empty()).expect("a request")).await
    };
    let preflight = ask(Method::OPTIONS, "https://portal.example").await;
    assert_eq!(preflight.status, StatusCode::OK);
    assert_eq!(preflight.headers["access-control-allow-origin"], "https://portal.example");
    assert_eq!(preflight.headers["access-control-allow-credentials"], "true");
    assert_eq!(preflight.headers["strict-transport-security"], "max-age=31536000");
    let foreign = ask(Method::OPTIONS, "https://evil.example").await;
    assert!(!foreign.headers.contains_key("access-control-allow-origin"));
    assert_eq!(ask(Method::POST, "https://portal.example").await.status, StatusCode::UNAUTHORIZED, "it may ask");
    assert_eq!(ask(Method::POST, "https://evil.example").await.status, StatusCode::FORBIDDEN);
}

/// `UPDATE_GOLDEN=1` writes it anew.
#[tokio::test]
async fn the_specification_is_the_one_that_is_checked_in() {
    let bench = Bench::new();
    let answer = bench.send(Request::get("/api/openapi.json").body(Body::empty()).expect("a request")).await;
    assert_eq!(answer.headers["content-type"], "application/json");
    let now = String::from_utf8(answer.body).expect("text") + "\n";
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi.json");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &now).expect("written");
    }
    let kept = std::fs::read_to_string(&path).expect("the copy");
    let differs = now.lines().zip(kept.lines()).position(|(now, kept)| now != kept);
    assert!(now == kept, "differs at line {differs:?}: run the tests with UPDATE_GOLDEN=1 and read what has changed");
}

#[tokio::test]
async fn every_path_and_every_error_is_in_the_specification() {
    let bench = Bench::new();
    let answer = bench.send(Request::get("/api/openapi.json").body(Body::empty()).expect("a request")).await;
    let specification: Value = serde_json::from_slice(&answer.body).expect("json");
    let (_, listed) = routes(&bench.state);
    let described = listed.iter().filter(|listed| listed.doc.is_some());
    let mut count = 0;
    for Listed { method, path, .. } in described {
        let (path, method) = (path.replace("{*", "{"), method.as_str().to_ascii_lowercase());
        assert!(specification["paths"][&path][&method].is_object(), "{method} {path}");
        count += 1;
    }
    assert!(count >= 45, "{count}");
    let text = specification["info"]["description"].as_str().expect("text");
    for code in shared::error::ErrorCode::ALL {
        assert!(text.contains(&format!("| `{}` | {} |", code.as_str(), code.http())), "{code:?}");
    }
    // What something refers to is there.
    let all = serde_json::to_string(&specification).expect("json");
    for name in all.split("\"#/components/schemas/").skip(1).map(|rest| rest.split('"').next().expect("a name")) {
        assert!(specification["components"]["schemas"][name].is_object(), "{name}");
    }
}

#[tokio::test]
async fn the_page_that_shows_it_loads_nothing_from_elsewhere() {
    let bench = Bench::new();
    let get = async |path: &str| bench.send(Request::get(path).body(Body::empty()).expect("a request")).await;
    let moved = get("/api/docs").await;
    assert_eq!(
        (moved.status, &moved.headers["location"]),
        (StatusCode::PERMANENT_REDIRECT, &HeaderValue::from_static("/api/docs/index.html"))
    );
    for file in ["index.html", "swagger-ui.css", "swagger-ui-bundle.js", "swagger-initializer.js"] {
        let answer = get(&format!("/api/docs/{file}")).await;
        assert_eq!(answer.status, StatusCode::OK, "{file}");
        let policy = answer.headers["content-security-policy"].to_str().expect("text");
        assert!(policy.starts_with("default-src 'none'; script-src 'self';"), "{policy}");
    }
    let started = String::from_utf8(get("/api/docs/swagger-initializer.js").await.body).expect("text");
    assert!(started.contains("/api/openapi.json"), "{started}");
    assert_eq!(get("/api/docs/../secret").await.status, StatusCode::NOT_FOUND);
}
