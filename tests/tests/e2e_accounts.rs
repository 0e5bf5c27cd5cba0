//! Getting in, staying in and getting out, against a real master.
#![allow(missing_docs, clippy::panic, clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

use cloudai_tests::api::{Api, Failure};
use cloudai_tests::cluster::Cluster;
use cloudai_tests::master::{ADMIN, ADMIN_PASSWORD, MasterOptions};
use cloudai_tests::process::{Process, Recipe, program};
use cloudai_tests::wait::{PATIENCE, eventually};
use cloudai_tests::worker::WorkerOptions;
use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};
use shared::error::ErrorCode;
use shared::view::{KeysView, LoginView, MeView, RefreshRequest};

/// Nobody, from an address of their own, so that tests do not count for each other.
struct Stranger {
    http: reqwest::Client,
    url: String,
}

impl Stranger {
    fn new(cluster: &Cluster, last: u8) -> Self {
        let http = reqwest::Client::builder().no_proxy().local_address(Some([127, 0, 7, last].into()));
        Self { http: http.build().expect("a client"), url: cluster.master.url() }
    }

    async fn post(&self, path: &str, body: &Value) -> Response {
        self.http.post(format!("{}{path}", self.url)).json(body).send().await.expect("an answer")
    }

    async fn login(&self, username: &str, password: &str) -> Response {
        self.post("/api/auth/login", &json!({"username": username, "password": password})).await
    }
}

/// What somebody can tell an answer by, without the time.
async fn shape(response: Response) -> (StatusCode, Vec<(String, String)>, String) {
    let headers = response.headers().iter().filter(|(name, _)| *name != "date" && *name != "x-request-id");
    let headers = headers.map(|(name, value)| (name.to_string(), value.to_str().expect("text").to_owned()));
    (response.status(), headers.collect(), response.text().await.expect("a body"))
}

async fn make_user(admin: &Api, name: &str) {
    let request = json!({"username": name, "password": ADMIN_PASSWORD});
    let _made: Value = admin.post("/api/users", &request).await.expect("made");
}

fn is_refused(outcome: &Result<MeView, Failure>) -> bool {
    matches!(outcome, Err(Failure::Refused { status: 401, .. }))
}

#[tokio::test]
async fn a_stolen_token_ends_the_login_for_thief_and_owner() {
    let mut cluster = Cluster::start(0).await;
    let api = cluster.api();
    let first = api.log_in(ADMIN).await;
    let refresh = async |login: &LoginView| -> Result<LoginView, Failure> {
        api.post("/api/auth/refresh", &RefreshRequest { refresh_token: login.refresh_token.clone() }).await
    };
    let second = refresh(&first).await.expect("renewed");
    let again = refresh(&first).await.expect("the answer may have been lost");
    assert_eq!(again.refresh_token, second.refresh_token, "and the successor is the same");
    cluster.master.kill9();
    cluster.master.restart().await;
    let third = refresh(&second).await.expect("it outlives the master");
    let me = async |login: &LoginView| api.with_token(&login.token).get::<MeView>("/api/auth/me").await;
    for login in [&first, &second, &third] {
        me(login).await.expect("all of one login");
    }
    let Err(Failure::Refused { status: 401, error }) = refresh(&first).await else { panic!("a stolen one") };
    assert!(error.message.contains("two may have it"), "{error:?}");
    assert!(refresh(&third).await.is_err());
    for login in [&first, &second, &third] {
        assert!(is_refused(&me(login).await));
    }
    api.get::<MeView>("/api/auth/me").await.expect("another login goes on");
    for bad in ["", "cloudai_refresh_x_0_00", &third.token] {
        let refused: Result<LoginView, _> =
            api.post("/api/auth/refresh", &RefreshRequest { refresh_token: bad.to_owned() }).await;
        assert!(matches!(refused, Err(Failure::Refused { status: 401, .. })), "{bad}");
    }
}

#[tokio::test]
async fn twenty_commands_at_once_share_a_login() {
    let options = MasterOptions { env: vec![("CLOUDAI_AUTH_TOKEN_TTL".into(), "2s".into())], ..Default::default() };
    let cluster = Cluster::start_with(&options, 0, &WorkerOptions::default()).await;
    let ctl = cluster.ctl().with_env("CLOUDCTL_TOKEN", "");
    ctl.shell(&format!("echo '{ADMIN_PASSWORD}' | cloudctl login --username admin --password-stdin -q")).await.ok();
    let ctl = ctl.with_env("CLOUDCTL_SERVER", "");
    let file = ctl.dir().join("config/cloudctl/contexts.toml");
    for _ in 0..3 {
        let before = std::fs::read(&file).expect("the contexts");
        let calls = (0..20).map(|_| ctl.run(&["whoami", "-q"]));
        for output in futures_util::future::join_all(calls).await {
            assert_eq!(output.code, 0, "{output:?}");
        }
        eventually(PATIENCE, "it is time to renew", || async {
            ctl.run(&["whoami", "-q"]).await.ok();
            (std::fs::read(&file).expect("the contexts") != before).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn who_gets_no_password_right_learns_nothing_and_a_restart_forgets_nothing() {
    let mut cluster = Cluster::start(0).await;
    let admin = cluster.api();
    for name in ["ann", "bob", "cas", "dora"] {
        make_user(&admin, name).await;
    }
    let disable = admin.request(Method::PATCH, "/api/users/cas").json(&json!({"disabled": true}));
    admin.send(disable).await.expect("disabled");
    // Six wrong ones each: enough to be blocked for seconds.
    for (last, name) in [(1, "bob"), (2, "nobody")] {
        let stranger = Stranger::new(&cluster, last);
        for _ in 0..6 {
            assert_eq!(stranger.login(name, "wrong horse battery").await.status(), StatusCode::UNAUTHORIZED);
        }
    }
    let stranger = Stranger::new(&cluster, 3);
    let tries = [
        ("ann", "wrong horse battery"),
        ("bob", "wrong horse battery"),
        ("bob", ADMIN_PASSWORD),
        ("cas", ADMIN_PASSWORD),
        ("nobody", ADMIN_PASSWORD),
        ("someone", ADMIN_PASSWORD),
        ("no name at all", ADMIN_PASSWORD),
    ];
    let mut shapes = Vec::new();
    for (name, password) in tries {
        shapes.push(shape(stranger.login(name, password).await).await);
    }
    for (shape, (name, _)) in shapes.iter().zip(tries) {
        assert_eq!(shape, &shapes[0], "{name}");
    }
    assert_eq!(shapes[0].0, StatusCode::UNAUTHORIZED);
    let known = Stranger::new(&cluster, 5);
    assert_eq!(known.login("ann", ADMIN_PASSWORD).await.status(), StatusCode::OK, "others are not held up");
    // One less than what blocks, a restart, and the last one: whoever forgot the four would let the right one in.
    for _ in 0..4 {
        Stranger::new(&cluster, 4).login("dora", "wrong horse battery").await;
    }
    // What is kept is kept in order: when this is there, the counters are.
    make_user(&admin, "dora-2").await;
    make_user(&admin, "dora-3").await;
    cluster.master.kill9();
    cluster.master.restart().await;
    Stranger::new(&cluster, 4).login("dora", "wrong horse battery").await;
    let blocked = Stranger::new(&cluster, 6).login("dora", ADMIN_PASSWORD).await;
    assert_eq!(shape(blocked).await, shapes[0], "still counted");
    let set = admin.request(Method::PATCH, "/api/users/bob").json(&json!({"password": "another horse battery"}));
    admin.send(set).await.expect("set");
    let bob = Stranger::new(&cluster, 6).login("bob", "another horse battery").await;
    assert_eq!(bob.status(), StatusCode::OK, "an admin helps");
    // Strangers block the name, but not the place that its owner comes from.
    for _ in 0..7 {
        Stranger::new(&cluster, 7).login("bob", "wrong horse battery").await;
    }
    let stranger = Stranger::new(&cluster, 8).login("bob", "another horse battery").await;
    assert_eq!(stranger.status(), StatusCode::UNAUTHORIZED);
    let bob = Stranger::new(&cluster, 6).login("bob", "another horse battery").await;
    assert_eq!(bob.status(), StatusCode::OK);
}

#[tokio::test]
async fn one_address_does_not_try_all_names() {
    let cluster = Cluster::start(0).await;
    let stranger = Stranger::new(&cluster, 9);
    for number in 0..30 {
        let answer = stranger.login(&format!("user-{number}"), "wrong horse battery").await;
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "{number}");
    }
    let answer = stranger.login(ADMIN, ADMIN_PASSWORD).await;
    assert_eq!(answer.status(), StatusCode::TOO_MANY_REQUESTS);
    let wait: u64 = answer.headers()["retry-after"].to_str().expect("text").parse().expect("seconds");
    assert!((1..=60).contains(&wait), "{wait}");
    let elsewhere = Stranger::new(&cluster, 10).login(ADMIN, ADMIN_PASSWORD).await;
    assert_eq!(elsewhere.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_browser_has_a_cookie_that_only_our_pages_can_use() {
    let cluster = Cluster::start(0).await;
    let url = cluster.master.url();
    let browser = reqwest::Client::builder().no_proxy().build().expect("a client");
    let login = json!({"username": ADMIN, "password": ADMIN_PASSWORD});
    let from_elsewhere = browser.post(format!("{url}/api/auth/cookie")).header("origin", "https://evil.example");
    assert_eq!(from_elsewhere.json(&login).send().await.expect("sent").status(), StatusCode::FORBIDDEN);
    let answer = browser.post(format!("{url}/api/auth/cookie")).json(&login).send().await.expect("sent");
    assert_eq!(answer.status(), StatusCode::OK);
    let set = answer.headers()["set-cookie"].to_str().expect("text").to_owned();
    assert!(set.starts_with("cloudai=cloudai_cookie_"), "{set}");
    assert!(
        set.ends_with("; Path=/; Max-Age=604800; HttpOnly; SameSite=Strict") || set.contains("Max-Age=60479"),
        "{set}"
    );
    let view: MeView = answer.json().await.expect("who");
    assert_eq!(view.username.as_str(), ADMIN);
    let cookie = set.split(';').next().expect("a pair").to_owned();
    let call = async |method: Method, path: &str, headers: &[(&str, &str)]| {
        let request = browser.request(method, format!("{url}{path}")).header("cookie", &cookie);
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        request.send().await.expect("an answer")
    };
    assert_eq!(call(Method::GET, "/api/auth/me", &[]).await.status(), StatusCode::OK);
    assert_eq!(call(Method::GET, "/api/auth/me", &[("host", "evil.example")]).await.status(), StatusCode::FORBIDDEN);
    for headers in [&[][..], &[("sec-fetch-site", "cross-site")], &[("origin", "https://evil.example")]] {
        let answer = call(Method::POST, "/api/auth/logout", headers).await;
        assert_eq!(answer.status(), StatusCode::FORBIDDEN, "{headers:?}");
    }
    let out = call(Method::POST, "/api/auth/logout", &[("origin", &url)]).await;
    assert_eq!(out.status(), StatusCode::NO_CONTENT);
    assert!(out.headers()["set-cookie"].to_str().expect("text").starts_with("cloudai=; Path=/; Max-Age=0;"));
    assert_eq!(call(Method::GET, "/api/auth/me", &[]).await.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_new_key_signs_and_the_one_before_it_is_good_for_what_it_has_signed() {
    let mut cluster = Cluster::start(0).await;
    let before = cluster.api();
    let rotate = async |api: &Api| api.post::<KeysView>("/api/auth/rotate-keys", &json!({})).await.expect("rotated");
    let first = rotate(&before).await;
    cluster.master.kill9();
    cluster.master.restart().await;
    before.get::<MeView>("/api/auth/me").await.expect("signed with the key before");
    let after = before.with_token(&before.log_in(ADMIN).await.token);
    let second = rotate(&after).await;
    assert_eq!(second.previous_key_id.as_deref(), Some(first.key_id.as_str()));
    after.get::<MeView>("/api/auth/me").await.expect("signed with the key before");
    assert!(is_refused(&before.get::<MeView>("/api/auth/me").await), "two keys ago");
}

#[tokio::test]
async fn keys_of_the_configuration_are_rotated_there() {
    let secret = "JWT_SECRET".to_owned();
    let options =
        MasterOptions { env: vec![(secret, "0f1e2d3c4b5a69788796a5b4c3d2e1f0".into())], ..Default::default() };
    let cluster = Cluster::start_with(&options, 0, &WorkerOptions::default()).await;
    let refused = cluster.api().post::<KeysView>("/api/auth/rotate-keys", &json!({})).await;
    let Err(Failure::Refused { status: 409, error }) = refused else { panic!("{refused:?}") };
    assert!(error.code == ErrorCode::Conflict && error.hint.contains("JWT_SECRET_PREVIOUS"), "{error:?}");
}

#[tokio::test]
async fn the_first_start_prints_what_makes_the_first_account_once() {
    let scratch = tempfile::tempdir().expect("a directory");
    let data_dir = scratch.path().join("data").display().to_string();
    let mut master = Process::start(Recipe {
        name: "first".to_owned(),
        program: program("cloudaid"),
        args: ["master", "--data-dir", &data_dir, "--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0"]
            .map(String::from)
            .into(),
        env: vec![("CLOUDAI_AUTH_MIN_PASSWORD_LENGTH".to_owned(), "16".to_owned())],
        dir: scratch.path().to_owned(),
    });
    let printed = |log: &str, before: &str| {
        let rest = log.split(before).nth(1)?;
        rest.split_whitespace().next().map(str::to_owned)
    };
    let (url, token) = eventually(PATIENCE, "the first start has printed the token", || {
        master.assert_runs();
        let log = master.log();
        let url = printed(&log, "login --server ");
        let found = url.zip(printed(&log, "The setup token, which makes the first one, once: "));
        async move { found }
    })
    .await;
    let setup = async |token: &str, password: &str| -> (StatusCode, String) {
        let body = json!({"setup_token": token, "username": "ann", "password": password});
        let http = reqwest::Client::builder().no_proxy().build().expect("a client");
        let answer = http.post(format!("{url}/api/auth/setup")).json(&body).send().await.expect("an answer");
        (answer.status(), answer.text().await.expect("a body"))
    };
    let (status, text) = setup(&token, "15 chars, + odd").await;
    assert!(status == 400 && text.contains("is shorter than 16 characters"), "{status} {text}");
    let (status, text) = setup(&token, "password12345678").await;
    assert!(status == 400 && text.contains("is among the first that are guessed"), "{status} {text}");
    assert_eq!(setup("another", ADMIN_PASSWORD).await.0, StatusCode::UNAUTHORIZED);
    let (status, text) = setup(&token, ADMIN_PASSWORD).await;
    assert!(status.is_success(), "{status} {text}");
    assert_eq!(setup(&token, ADMIN_PASSWORD).await.0, StatusCode::CONFLICT, "once");
    let before = master.log().len();
    master.term().await;
    master.start_again();
    eventually(PATIENCE, "it runs again", || {
        master.assert_runs();
        let again = master.log().get(before..).is_some_and(|log| log.contains("HTTP API listening"));
        async move { again.then_some(()) }
    })
    .await;
    assert!(!master.log()[before..].contains("setup token"));
}
