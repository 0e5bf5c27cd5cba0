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
use shared::view::{InputView, NewTokenView};

/// Somebody who calls.
struct Caller {
    name: &'static str,
    api: Api,
    /// None: nobody knows who they are.
    role: Option<Role>,
    /// Whether the things of ann are theirs to see.
    sees: bool,
}

/// A line of the specification.
struct Operation {
    method: Method,
    path: String,
    /// None: anybody may call it.
    least: Option<Role>,
    by_login: bool,
    /// With what has to be there.
    query: String,
}

impl Operation {
    /// Whether its path names something that belongs to somebody.
    fn is_about_somebody(&self) -> bool {
        ["/api/tasks/{id}", "/api/files/{id}", "/api/tokens/{id}", "/api/users/{name}"]
            .iter()
            .any(|owned| self.path.starts_with(owned))
    }

    /// What is asked: never what could not be undone, but for what is made for the purpose.
    fn body(&self) -> Value {
        match (self.method.as_str(), self.path.as_str()) {
            ("POST", "/api/tasks") => json!({"image": "i", "cpu_cores": 1024}),
            ("POST", "/api/tasks/wait") => json!({"tasks": ["task-01arz3ndektsv4rrffq69g5fav"]}),
            ("PATCH", "/api/tasks/{id}") => json!({"name": "another"}),
            ("POST", "/api/tasks/{id}/retry") => json!({"all": true}),
            // Whoever gets this far is told that there is no such field.
            ("POST" | "PATCH", path) if !path.contains("{id}") => json!({"nothing": 1}),
            _ => Value::Null,
        }
    }
}

/// Every operation that there is, from the master itself.
async fn operations(api: &Api) -> Vec<Operation> {
    let specification: Value = api.get("/api/openapi.json").await.expect("the specification");
    let mut found = Vec::new();
    for (path, item) in specification["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("operations") {
            let by_login = operation.get("x-least-role-by-login");
            let least = operation
                .get("x-least-role")
                .or(by_login)
                .and_then(Value::as_str)
                .map(|role| role.parse().expect("a role"));
            let method = method.to_ascii_uppercase().parse().expect("a method");
            let parameters = operation["parameters"].as_array().into_iter().flatten();
            let needed = parameters.filter(|one| one["in"] == "query" && one["required"] == true);
            let query: Vec<_> = needed.map(|one| format!("{}=x", one["name"].as_str().expect("a name"))).collect();
            found.push(Operation {
                method,
                path: path.clone(),
                least,
                by_login: by_login.is_some(),
                query: query.join("&"),
            });
        }
    }
    found
}

async fn token(api: &Api, role: Role) -> NewTokenView {
    api.post("/api/tokens", &json!({"name": "script", "role": role})).await.expect("a token")
}

/// An input of somebody, of which one file has arrived and one has not.
async fn input(api: &Api) -> String {
    let files = json!({"files": [{"path": "result.txt", "size": 0}, {"path": "missing", "size": 1}]});
    let view: InputView = api.post("/api/files", &files).await.expect("announced");
    view.input.input_id.to_string()
}

/// All that the cluster knows when nothing runs, less what changes by itself.
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
    for path in [
        "/api/tasks?limit=1000",
        "/api/inputs?user=ann&limit=1000",
        "/api/users",
        "/api/workers",
        "/api/worker-tokens",
        "/api/registries",
    ] {
        let mut list: Value = admin.get(path).await.expect("a list");
        for worker in list["workers"].as_array_mut().into_iter().flatten() {
            worker.as_object_mut().expect("a worker").retain(|field, _| field == "worker_id" || field == "labels");
        }
        state[path] = list;
    }
    let mut tokens: Value = admin.get("/api/tokens").await.expect("a list");
    for token in tokens["tokens"].as_array_mut().into_iter().flatten() {
        token["used_at"] = Value::Null;
    }
    state["tokens"] = tokens;
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

/// What an operation is about: something of ann's, fresh, so that whoever may change it can.
async fn something_of(admin: &Api, ann: &Api, Operation { method, path, .. }: &Operation, of_input: bool) -> String {
    match path.as_str() {
        "/api/workers/{id}" if method == "DELETE" => {
            let number = rand::random::<u32>();
            let address =
                format!("10.{}:50052", std::net::Ipv4Addr::from(number).to_string().split_once('.').expect("dots").1);
            let worker = json!({"worker_id": format!("w{number}"), "address": address});
            let registered: Value = admin.post("/api/workers", &worker).await.expect("registered");
            registered["worker_id"].as_str().expect("a name").to_owned()
        }
        "/api/worker-tokens/{id}" => {
            let made: Value = admin.post("/api/worker-tokens", &json!({})).await.expect("a token");
            made["token_id"].as_str().expect("an id").to_owned()
        }
        "/api/registries/{id}" => {
            let name = format!("r{}.example", rand::random::<u32>());
            let login = json!({"registry": name, "username": "u", "password": "p"});
            let _: Value = admin.post("/api/registries", &login).await.expect("set");
            name
        }
        path if path.starts_with("/api/files/{id}") && of_input => input(ann).await,
        "/api/tokens/{id}" => token(ann, Role::ReadOnly).await.view.token_id.to_string(),
        // Without the one that there is nothing would end any more.
        "/api/workers/{id}/cordon" | "/api/workers/{id}/drain" | "/api/workers/{id}/undrain" => "worker-2".to_owned(),
        "/api/workers/{id}" | "/api/workers/{id}/approve" | "/telemetry/{id}" => "worker-1".to_owned(),
        path if path.contains("{id}") => {
            let waiting =
                matches!((method.as_str(), path), ("PATCH", "/api/tasks/{id}") | (_, "/api/tasks/{id}/cancel"));
            let mut task = SubmitRequest { image: "i".into(), ..SubmitRequest::default() };
            if waiting {
                // What only a worker can run that is not there waits for ever.
                task.cpu_cores = Some(shared::resources::Quantity::Number(1_024.0));
            }
            let id = ann.submit(&task).await.expect("accepted").task_id;
            if !waiting {
                ann.ended(PATIENCE, &id).await;
            }
            id
        }
        _ => String::new(),
    }
}

#[tokio::test]
async fn everybody_gets_what_is_theirs_and_nothing_else() {
    let behaviour = |_: &_| Behaviour::exit(0).printing(LogStream::Stdout, "x\n").writing("result.txt", "x");
    let cluster = Embedded::start(1, &Arc::new(FakeRuntime::with(behaviour)), AMPLE).await;
    let admin = cluster.api();
    let ann = admin.somebody("ann", Role::User).await;
    let script = ann.with_token(&token(&ann, Role::ReadOnly).await.token);
    let bob = admin.somebody("bob", Role::User).await;
    let carl = admin.somebody("carl", Role::ReadOnly).await;
    let callers = [
        Caller { name: "nobody", api: admin.with_token(""), role: None, sees: false },
        Caller { name: "carl", api: carl, role: Some(Role::ReadOnly), sees: false },
        Caller { name: "bob", api: bob, role: Some(Role::User), sees: false },
        Caller { name: "a script of ann", api: script, role: Some(Role::ReadOnly), sees: true },
        Caller { name: "ann", api: ann.clone(), role: Some(Role::User), sees: true },
        Caller { name: "admin", api: admin.clone(), role: Some(Role::Admin), sees: true },
    ];
    let mut operations = operations(&admin).await;
    // Ends all logins of ann.
    operations.sort_by_key(|operation| operation.path == "/api/users/{name}/logout");
    let (mut cells, mut refused) = (0, 0);
    for operation in &operations {
        let Operation { method, path, least, by_login, query } = operation;
        // Of files the one or the other can be meant.
        let is_upload = matches!(method.as_str(), "POST" | "PATCH");
        let kinds: &[bool] = match path.starts_with("/api/files/{id}") {
            false => &[false],
            true if is_upload => &[true],
            true => &[false, true],
        };
        for (of_input, Caller { name, api, role, sees }) in
            kinds.iter().flat_map(|of_input| callers.iter().map(move |caller| (*of_input, caller)))
        {
            let id = something_of(&admin, &ann, operation, of_input).await;
            let url = path.replace("{id}", &id).replace("{name}", "ann").replace("{path}", "result.txt");
            let before = state(&admin).await;
            let status = call(api, method, &format!("{url}?{query}"), &operation.body()).await;
            let may_come = !by_login || *name != "a script of ann";
            let may_call = may_come && least.is_none_or(|least| role.is_some_and(|role| role >= least));
            let expected: &[u16] = match (may_call, operation.is_about_somebody() && !sees) {
                (false, _) if role.is_none() => &[401],
                (false, _) => &[403],
                // What is somebody else's does not exist.
                (true, true) => &[404],
                (true, false) => &[],
            };
            if expected.is_empty() {
                // Wrong passwords and unknown fields come after that.
                let is_refused = matches!(status, 403 | 404) || status == 401 && least.is_some();
                // Nobody waits to be let in, and there is one worker only.
                let about_nothing = path == "/api/tasks/wait"
                    || ["approve", "cordon", "drain", "undrain"]
                        .iter()
                        .any(|end| path.ends_with(&format!("{{id}}/{end}")));
                assert!(!is_refused || about_nothing, "{method} {path} by {name}: {status}");
            } else {
                assert!(expected.contains(&status), "{method} {path} by {name}: {status} instead of {expected:?}");
                assert_eq!(state(&admin).await, before, "{method} {path} by {name} was refused and changed something");
                refused += 1;
            }
            cells += 1;
        }
    }
    println!("{cells} cells, {refused} of them refused and without any effect");
    // Three operations on files are about tasks and about inputs.
    assert_eq!(cells, (operations.len() + 4) * callers.len());
    assert!(operations.len() >= 45 && refused >= 90, "{} operations, {refused} refusals", operations.len());
    cluster.stop().await;
}

#[tokio::test]
async fn in_lists_everybody_finds_their_own() {
    let cluster = Embedded::start(0, &Arc::new(FakeRuntime::default()), AMPLE).await;
    let admin = cluster.api();
    let (ann, bob) = (admin.somebody("ann", Role::User).await, admin.somebody("bob", Role::User).await);
    let task = SubmitRequest { image: "i".into(), ..SubmitRequest::default() };
    let id = ann.submit(&task).await.expect("accepted").task_id;
    for (api, found) in [(&ann, 1), (&bob, 0), (&admin, 1)] {
        let list: Value = api.get("/api/tasks").await.expect("a list");
        assert_eq!(list["tasks"].as_array().map(Vec::len), Some(found));
        let counts: Value = api.get("/api/tasks/counts").await.expect("counts");
        assert_eq!(counts["queued"], found);
        let queue: Value = api.get("/api/queue").await.expect("the queue");
        assert_eq!(queue["tasks"].as_array().map(Vec::len), Some(found));
    }
    for path in ["/api/tasks?user=ann", "/api/tasks/counts?user=ann", "/api/files?user=ann", "/api/inputs?user=ann"] {
        assert_eq!(call(&bob, &Method::GET, path, &Value::Null).await, 403, "{path}");
    }
    let wait = json!({"tasks": [id], "timeout_seconds": 0});
    assert_eq!(call(&bob, &Method::POST, "/api/tasks/wait", &wait).await, 404);
    assert_eq!(call(&ann, &Method::POST, "/api/tasks/wait", &wait).await, 200);
    // No WebSocket either; whoever may see it is told that this is none.
    for (api, status) in [(&admin.with_token(""), 401), (&bob, 404), (&ann, 400), (&admin, 400)] {
        assert_eq!(call(api, &Method::GET, &format!("/ws/tasks/{id}/logs"), &Value::Null).await, status);
    }
    cluster.stop().await;
}
