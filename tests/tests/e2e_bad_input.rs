//! Whatever comes in wrong gets a clear refusal with a hint, the right status and exit code, and loses nothing.
#![allow(missing_docs, clippy::panic, clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

use cloudai_tests::api::Failure;
use cloudai_tests::cluster::{Cluster, shell_task};
use cloudai_tests::docker::image;
use cloudai_tests::master::MasterOptions;
use cloudai_tests::wait::PATIENCE;
use reqwest::Method;
use shared::error::{ErrorBody, ErrorCode};
use shared::resources::Quantity;

#[tokio::test]
async fn what_can_never_run_is_accepted_and_said_so_at_once() {
    let cluster = Cluster::start(1).await;
    let (api, ctl) = (cluster.api(), cluster.ctl());
    let mut task = shell_task("true");
    task.cpu_cores = Some(Quantity::Number(64.0));
    let view = api.submit(&task).await.expect("accepted");
    assert!(view.warnings.iter().any(|warning| warning.contains("can never run on the present workers")), "{view:?}");
    let run = ctl.run(&["task", &image(), "--cpu-cores", "64", "-o", "quiet"]).await;
    assert!(run.code == 0 && run.stderr.contains("can never run"), "{run:?}");
    let why = ctl.run(&["why", &view.task_id]).await.ok();
    assert!(why.contains("2 CPU of 64 CPU"), "{why}");
    let small = api.submit(&shell_task("true")).await.expect("accepted");
    api.ended(PATIENCE, &small.task_id).await;
}

#[tokio::test]
async fn refusals_have_one_shape_the_right_status_and_a_hint() {
    let cluster = Cluster::start(0).await;
    let api = cluster.api();
    let post = |body: &str| {
        let request = api.request(Method::POST, "/api/tasks").header("content-type", "application/json");
        request.body(body.to_owned())
    };
    let huge = format!("{{\"image\":\"a\",\"name\":\"{}\"}}", "x".repeat(2 << 20));
    let cases = [
        (post("{"), 400, "invalid_argument"),
        (post("[]"), 400, "invalid_argument"),
        (post(r#"{"image":"a","cpus":1}"#), 400, "invalid_argument"),
        (post(r#"{"image":"a","labels":{"a":"1","a":"2"}}"#), 400, "invalid_argument"),
        (post(r#"{"image":"a","cpu_cores":-1}"#), 400, "invalid_argument"),
        (post(r#"{"image":"a","cpu_cores":"NaN"}"#), 400, "invalid_argument"),
        (post(r#"{"image":"a","mem":1e300}"#), 400, "invalid_argument"),
        (post(r#"{"image":"A b"}"#), 400, "invalid_argument"),
        (post(r#"{"image":"a","worker_id":"nobody"}"#), 404, "worker_not_found"),
        (post(&huge), 413, "too_large"),
        (api.request(Method::GET, "/api/tasks/task-01arz3ndektsv4rrffq69g5fav"), 404, "task_not_found"),
        (api.request(Method::GET, "/api/tasks/nonsense"), 400, "invalid_argument"),
        (api.request(Method::GET, "/api/tasks?state=sleeping"), 400, "invalid_argument"),
        (api.request(Method::GET, "/api/tasks?limit=0"), 400, "invalid_argument"),
        (api.request(Method::GET, "/api/tasks?cursor=x"), 400, "invalid_argument"),
        (api.request(Method::GET, "/api/workers/nobody"), 404, "worker_not_found"),
        (api.request(Method::GET, "/api/nothing"), 404, "not_found"),
        (api.request(Method::DELETE, "/api/status"), 405, "method_not_allowed"),
        (api.with_token("").request(Method::GET, "/api/status"), 401, "unauthenticated"),
        (api.with_token("forged.token.here").request(Method::GET, "/api/status"), 401, "unauthenticated"),
    ];
    for (request, status, code) in cases {
        let asked = format!("{request:?}").chars().take(200).collect::<String>();
        let answer = request.send().await.expect("an answer");
        assert_eq!(answer.status().as_u16(), status, "{asked}");
        let body: ErrorBody = answer.json().await.unwrap_or_else(|error| panic!("{asked}: {error}"));
        assert_eq!(body.error.code.as_str(), code, "{asked}");
        assert!(!body.error.message.is_empty() && !body.error.hint.is_empty(), "{asked}: {body:?}");
    }
    assert_eq!(api.status().await.expect("it still answers").tasks.queued, 0, "nothing of it was kept");
}

#[tokio::test]
async fn a_token_of_another_secret_or_time_is_refused() {
    let one = Cluster::start(0).await;
    let other = Cluster::start(0).await;
    let refused = one.api().with_token(other.master.token()).status().await;
    assert!(matches!(refused, Err(Failure::Refused { .. })), "{refused:?}");
    let short =
        MasterOptions { env: vec![("CLOUDAI_AUTH_TOKEN_TTL".to_owned(), "1s".to_owned())], ..Default::default() };
    let brief = Cluster::start_with(&short, 0, &Default::default()).await;
    brief.api().status().await.expect("it is young");
    // A second of life and five of leeway.
    cloudai_tests::wait::eventually(PATIENCE, "it expires", || async { brief.api().status().await.err() }).await;
}

#[tokio::test]
async fn one_bad_line_of_many_does_not_spoil_the_others() {
    let cluster = Cluster::start(0).await;
    let api = cluster.api();
    let body = "{\"image\":\"a\"}\n{\"image\":\"a\",\"cpu_cores\":-1}\nnot json\n{\"image\":\"b\"}\n";
    let request = api.request(Method::POST, "/api/tasks").header("content-type", "application/x-ndjson");
    let answer = api.send(request.header("Idempotency-Key", "batch").body(body)).await.expect("an answer");
    let answer = String::from_utf8(answer).expect("text");
    let lines: Vec<serde_json::Value> = answer.lines().map(|line| serde_json::from_str(line).expect("json")).collect();
    let shape: Vec<_> = lines.iter().map(|line| (line["line"].as_u64(), line["task_id"].is_string())).collect();
    assert_eq!(shape, [(Some(1), true), (Some(2), false), (Some(3), false), (Some(4), true)]);
    assert_eq!(lines[1]["error"]["code"], "invalid_argument");
    assert_eq!(api.status().await.expect("a status").tasks.queued, 2);
    let request = api.request(Method::POST, "/api/tasks").header("content-type", "application/x-ndjson");
    let again = api.send(request.header("Idempotency-Key", "batch").body(body)).await.expect("an answer");
    let again = String::from_utf8(again).expect("text");
    let first = serde_json::from_str::<serde_json::Value>(again.lines().next().expect("a line")).expect("json");
    assert_eq!(first["task_id"], lines[0]["task_id"]);
    assert_eq!(api.status().await.expect("a status").tasks.queued, 2, "a repetition makes nothing");
    // Empty lines, and the other form of a single task, make no other request.
    let request = api.request(Method::POST, "/api/tasks").header("content-type", "application/x-ndjson");
    let spaced = format!("\n\n{body}");
    api.send(request.header("Idempotency-Key", "batch").body(spaced)).await.expect("an answer");
    let request = api.request(Method::POST, "/api/tasks").header("content-type", "application/json");
    api.send(request.header("Idempotency-Key", "batch").body("{\"image\":\"a\"}")).await.expect("an answer");
    assert_eq!(api.status().await.expect("a status").tasks.queued, 2, "one key, one task");
}

#[tokio::test]
async fn the_same_key_for_another_request_is_refused() {
    let cluster = Cluster::start(0).await;
    let api = cluster.api();
    let first = api.submit_with_key("k", &shell_task("one")).await.expect("accepted");
    assert_eq!(api.submit_with_key("k", &shell_task("one")).await.expect("accepted").task_id, first.task_id);
    match api.submit_with_key("k", &shell_task("two")).await {
        Err(Failure::Refused { error, .. }) => assert_eq!(error.code, ErrorCode::IdempotencyKeyReused),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_is_tried_is_refused_as_it_would_be_if_it_was_submitted() {
    let env = vec![("CLOUDAI_IMAGES_ALLOWED".to_owned(), "docker.io/library/*".to_owned())];
    let options = MasterOptions { env, ..MasterOptions::default() };
    let cluster = Cluster::start_with(&options, 0, &Default::default()).await;
    let api = cluster.api();
    let refusal = async |path: &str, key: &str, body: &str| {
        let request = api.request(Method::POST, path).header("content-type", "application/json");
        match api.send(request.header("Idempotency-Key", key).body(body.to_owned())).await {
            Ok(_) => None,
            Err(Failure::Refused { status, error }) => Some((status, error)),
            Err(unknown) => panic!("{body}: {unknown:?}"),
        }
    };
    assert_eq!(refusal("/api/tasks", "used", r#"{"image":"a"}"#).await, None);
    for (key, body, code) in [
        ("1", r#"{"image":"a","profile":"strict","network":"public"}"#, Some(ErrorCode::PermissionDenied)),
        ("2", r#"{"image":"ada/tool"}"#, Some(ErrorCode::PermissionDenied)),
        ("3", r#"{"image":"a","worker_id":"nobody"}"#, Some(ErrorCode::WorkerNotFound)),
        ("4", r#"{"image":"a","input":"input-01arz3ndektsv4rrffq69g5fav"}"#, Some(ErrorCode::FileNotFound)),
        ("5", r#"{"image":"a","cpu_cores":-1}"#, Some(ErrorCode::InvalidArgument)),
        ("used", r#"{"image":"b"}"#, Some(ErrorCode::IdempotencyKeyReused)),
        ("used", r#"{"image":"a"}"#, None),
        ("6", r#"{"image":"b"}"#, None),
    ] {
        let tried = refusal("/api/tasks?dry_run=true", key, body).await;
        assert_eq!(api.status().await.expect("a status").tasks.queued, 1, "nothing is kept of {body}");
        assert_eq!(tried, refusal("/api/tasks", key, body).await, "{body}");
        assert_eq!(tried.map(|(_, error)| error.code), code, "{body}");
    }
    assert_eq!(api.status().await.expect("a status").tasks.queued, 2);
}

#[tokio::test]
async fn a_second_master_on_the_same_data_is_refused_and_harms_nothing() {
    let cluster = Cluster::start(0).await;
    let api = cluster.api();
    let task = api.submit(&shell_task("true")).await.expect("accepted").task_id;
    let cloudaid = cloudai_tests::process::program("cloudaid");
    let second = tokio::process::Command::new(cloudaid)
        .args(["master", "--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0", "--data-dir"])
        .arg(cluster.master.data_dir())
        .output()
        .await
        .expect("it runs");
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert_eq!(second.status.code(), Some(75), "{said}");
    assert!(said.contains("in use") && said.contains("hint:"), "{said}");
    api.task(&task).await.expect("the first goes on");
}

#[tokio::test]
async fn a_worker_with_a_token_that_is_none_is_told_so() {
    let cluster = Cluster::start(0).await;
    let dir = tempfile::tempdir().expect("a directory");
    let cloudaid = cloudai_tests::process::program("cloudaid");
    let worker = tokio::process::Command::new(cloudaid)
        .args(["worker", "--name", "w", "--master", &cluster.master.grpc_address(), "--data-dir"])
        .arg(dir.path())
        .args(["--docker-host", &cloudai_tests::docker::host()])
        .env("CLOUDAI_JOIN", "0123456789abcdef0123456789abcdef0123456789abcdef")
        .output();
    let worker = tokio::time::timeout(PATIENCE, worker).await.expect("it gives up").expect("it runs");
    let said = String::from_utf8_lossy(&worker.stderr).into_owned();
    assert_eq!(worker.status.code(), Some(2), "{said}");
    assert!(said.contains("cloudctl worker-token create"), "{said}");
    assert!(cluster.api().workers().await.expect("a list").is_empty());
}
