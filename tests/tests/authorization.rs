//! Who may do what with whose things: every cell, and what is refused changes nothing.
#![allow(missing_docs, clippy::panic, clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use cloudai_tests::api::{Api, Failure};
use cloudai_tests::embedded::{AMPLE, Embedded};
use cloudai_tests::wait::{PATIENCE, eventually};
use cloudaid::runtime::fake::{Behaviour, FakeRuntime};
use reqwest::Method;
use serde_json::{Value, json};
use shared::link::LogStream;
use shared::role::Role;
use shared::submit::SubmitRequest;
use shared::view::{CreateUserRequest, LoginRequest, LoginView, UserView};

const PASSWORD: &str = "correct horse battery";

/// Somebody who calls.
struct Caller {
    name: &'static str,
    api: Api,
    /// Whether the things of ann are theirs to look at, and to change.
    sees: bool,
    changes: bool,
}

async fn log_in(admin: &Api, name: &'static str, role: Role) -> Api {
    let (username, password) = (name.to_owned(), PASSWORD.to_owned());
    let request = CreateUserRequest { username: username.clone(), password: password.clone(), role: Some(role) };
    admin.post::<UserView>("/api/users", &request).await.expect("an account");
    let login: LoginView = admin.post("/api/auth/login", &LoginRequest { username, password }).await.expect("a login");
    admin.with_token(&login.token)
}

/// What the cluster knows when nothing runs any more, less what changes by itself.
async fn state(admin: &Api) -> Value {
    eventually(PATIENCE, "nothing runs", || async {
        let tasks = admin.status().await.ok()?.tasks;
        (tasks.running + tasks.pending == 0).then_some(())
    })
    .await;
    let mut state: Value = admin.get("/api/internal-state").await.expect("the internal state");
    let object = state.as_object_mut().expect("an object");
    for moving in ["leases", "links", "ledger"] {
        object.remove(moving);
    }
    state
}

async fn call(api: &Api, method: &Method, path: &str, body: &Value) -> u16 {
    let request = api.request(method.clone(), path);
    let request = if body.is_null() { request } else { request.json(body) };
    match api.send(request).await {
        Ok(_) => 200,
        Err(Failure::Refused { status, .. }) => status,
        Err(other) => panic!("{method} {path}: {other:?}"),
    }
}

#[tokio::test]
async fn everybody_gets_what_is_theirs_and_nothing_else() {
    let behaviour = |_: &_| Behaviour::exit(0).printing(LogStream::Stdout, "x\n").writing("result.txt", "x");
    let cluster = Embedded::start(1, &Arc::new(FakeRuntime::with(behaviour)), AMPLE).await;
    let admin = cluster.api();
    let ann = log_in(&admin, "ann", Role::User).await;
    let bob = log_in(&admin, "bob", Role::User).await;
    let carl = log_in(&admin, "carl", Role::ReadOnly).await;
    let task = SubmitRequest { image: "i".into(), ..SubmitRequest::default() };
    let ended = ann.submit(&task).await.expect("accepted").task_id;
    assert!(ann.ended(PATIENCE, &ended).await.verdict.is_some());
    // What only one worker can run that is not there waits for ever.
    let waits = SubmitRequest { cpu_cores: Some(shared::resources::Quantity::Number(1_024.0)), ..task };
    let waiting = ann.submit(&waits).await.expect("accepted").task_id;

    let nobody = admin.with_token("");
    let callers = [
        Caller { name: "nobody", api: nobody, sees: false, changes: false },
        Caller { name: "bob", api: bob, sees: false, changes: false },
        Caller { name: "carl", api: carl, sees: false, changes: false },
        Caller { name: "ann", api: ann, sees: true, changes: true },
        Caller { name: "admin", api: admin.clone(), sees: true, changes: true },
    ];
    let get = |path: String| (Method::GET, path, Value::Null, false);
    let post = |path: String, body: Value, changes| (Method::POST, path, body, changes);
    let cells = [
        get(format!("/api/tasks/{ended}")),
        get(format!("/api/tasks/{ended}/why")),
        get(format!("/api/tasks/{ended}/logs")),
        get(format!("/api/tasks/{ended}/files")),
        get(format!("/api/files/{ended}")),
        get(format!("/api/files/{ended}/result.txt")),
        get("/api/tasks?user=ann".to_owned()),
        get("/api/files?user=ann".to_owned()),
        get("/api/users/ann".to_owned()),
        post("/api/tasks/wait".to_owned(), json!({"tasks": [ended], "timeout_seconds": 0}), false),
        post(format!("/api/tasks/{ended}/retry"), json!({"all": true}), true),
        post(format!("/api/tasks/{waiting}/cancel"), Value::Null, true),
    ];
    let mut count = 0;
    for (method, path, body, changes) in &cells {
        for Caller { name, api, sees, changes: may_change } in &callers {
            let allowed = if *changes { *may_change } else { *sees };
            let before = state(&admin).await;
            let status = call(api, method, path, body).await;
            let expected: &[u16] = match (*name, allowed) {
                ("nobody", _) => &[401],
                (_, true) => &[200],
                // What is somebody else's does not exist; who may not change anything is told so.
                (_, false) => &[403, 404],
            };
            assert!(expected.contains(&status), "{method} {path} by {name}: {status}");
            if !allowed {
                assert_eq!(state(&admin).await, before, "{method} {path} by {name} was refused and changed something");
            }
            count += 1;
        }
    }
    assert_eq!(count, cells.len() * callers.len());
    // In lists everybody finds their own.
    for (Caller { name, api, .. }, tasks) in callers.iter().zip([None, Some(0), Some(0), Some(4), Some(4)]) {
        let Some(tasks) = tasks else { continue };
        let list: Value = api.get("/api/tasks").await.expect("a list");
        assert_eq!(list["tasks"].as_array().map(Vec::len), Some(tasks), "{name}");
    }
    cluster.stop().await;
}
