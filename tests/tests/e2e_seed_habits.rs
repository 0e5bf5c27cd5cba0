//! Workers of the first generation have habits; and they may come by themselves. What every tool of gRPC asks is answered.
#![allow(missing_docs, clippy::panic, clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use cloudai_tests::cluster::{Cluster, shell_task};
use cloudai_tests::grpc::{As, call};
use cloudai_tests::master::MasterOptions;
use cloudai_tests::peer::Peer;
use cloudai_tests::wait::{PATIENCE, eventually};
use cloudai_tests::worker::WorkerOptions;
use serde_json::{Value, json};
use shared::submit::SubmitRequest;
use shared::task::TaskState;
use shared::view::{AuditListView, PendingWorkerListView};
use shared::worker::{WorkerProtocol, WorkerState};

async fn cluster(args: &[&str]) -> Cluster {
    let args = ["--allow-plaintext-workers"].iter().chain(args).map(ToString::to_string).collect();
    Cluster::start_with(&MasterOptions { args, ..MasterOptions::default() }, 0, &WorkerOptions::default()).await
}

async fn worker(name: &str, flags: &[&str]) -> Peer {
    Peer::start("seed_worker", &[&["--name", name, "--heartbeat", "0.3"], flags].concat()).await
}

#[tokio::test]
async fn whatever_its_habits_a_task_has_its_end_its_log_and_its_files() {
    let cluster = cluster(&[]).await;
    let (api, ctl) = (cluster.api(), cluster.ctl());
    let habits: &[&[&str]] = &[
        &["--generation", "older"],
        &["--generation", "newer"],
        &["--no-last-file"],
        &["--name-twice"],
        &["--report-twice"],
        &["--heartbeat-before-register"],
        &["--large-logs", "6000000"],
    ];
    let mut peers = Vec::new();
    for (number, flags) in habits.iter().enumerate() {
        let name = format!("w{number}");
        let peer = worker(&name, flags).await;
        ctl.run(&["register", &name, peer.address()]).await.ok();
        api.worker_is(PATIENCE, &name, WorkerState::Active).await;
        let line = "echo hello; mkdir /output/dir; echo one > /output/dir/one; printf '' > /output/empty; echo 2 > /output/two";
        let worker_id = Some(name.parse().expect("a name"));
        let task = SubmitRequest { worker_id, name: Some("its-name".to_owned()), ..shell_task(line) };
        let id = api.submit(&task).await.expect("accepted").task_id;
        let task = api.ended(Duration::from_secs(60), &id).await;
        assert_eq!((task.state, task.attempts.len()), (TaskState::Completed, 1), "{flags:?}: {task:?}");
        let assigned = peer.event("AssignTask", |_| true).await;
        assert_eq!(assigned["task_name"], "its-name", "{flags:?}");
        let log = ctl.run(&["logs", &id]).await.ok();
        assert!(log.starts_with("hello\n"), "{flags:?}");
        let padded = flags.contains(&"--large-logs");
        assert_eq!(log.len(), if padded { 6_000_000 } else { 6 }, "{flags:?}");
        let mut files: Vec<_> = api.files(&id).await.expect("files").files.into_iter().collect();
        files.sort_by(|a, b| a.path.cmp(&b.path));
        let listed: Vec<_> = files.iter().map(|file| (file.path.as_str(), file.size)).collect();
        assert_eq!(listed, [("dir/one", 4), ("empty", 0), ("two", 2)], "{flags:?}");
        let one = api.get_bytes(&format!("/api/files/{id}/dir/one")).await.expect("a file");
        assert_eq!(one, b"one\n", "{flags:?}");
        peers.push(peer);
    }
}

#[tokio::test]
async fn who_comes_by_itself_waits_until_an_admin_lets_it_in() {
    let cluster = cluster(&[]).await;
    let (api, ctl) = (cluster.api(), cluster.ctl());
    let first = worker("early", &["--register-first", &cluster.master.grpc_address(), "--listen", "127.0.0.1:0"]).await;
    let answer = first.event("RegisterWorker", |_| true).await;
    assert_eq!(answer["answer"]["success"], false, "{answer}");
    let why = answer["answer"]["message"].as_str().expect("a message");
    assert!(why.contains("cloudctl approve early"), "{why}");
    let list: PendingWorkerListView = api.get("/api/pending-workers").await.expect("a list");
    assert_eq!(list.pending.iter().map(|pending| pending.worker_id.as_str()).collect::<Vec<_>>(), ["early"]);
    assert!(ctl.run(&["workers", "--pending"]).await.ok().contains("early"));
    assert!(api.workers().await.expect("a list").is_empty(), "it is given nothing");
    let noted = || async {
        let list: AuditListView = api.get("/api/audit?limit=1000").await.ok()?;
        list.entries.into_iter().find(|entry| entry.action == "gRPC RegisterWorker").map(|entry| entry.outcome)
    };
    let outcome = eventually(PATIENCE, "it is in the audit log", noted).await;
    assert_eq!(outcome, "permission_denied", "who waits has not got what it wanted");
    ctl.run(&["approve", "early", first.address()]).await.ok();
    let view = api.worker_is(PATIENCE, "early", WorkerState::Active).await;
    assert_eq!(view.protocol, WorkerProtocol::Seed);
    let id = api.submit(&shell_task("echo in")).await.expect("accepted").task_id;
    assert_eq!(api.ended(PATIENCE, &id).await.state, TaskState::Completed);
    ctl.run(&["unregister", "early", "--yes"]).await.ok();
    let refused = first.event("SendHeartbeat", |beat| beat["code"] != "OK" || beat["answer"]["success"] == false).await;
    println!("{refused}");
    let noted = || async {
        let list: AuditListView = api.get("/api/audit?limit=1000").await.ok()?;
        list.entries.iter().any(|entry| entry.action == "gRPC SendHeartbeat").then_some(())
    };
    eventually(PATIENCE, "that is in the audit log", noted).await;
}

#[tokio::test]
async fn a_worker_is_at_an_address_of_its_own_and_says_little_before_it_is_known() {
    let cluster = cluster(&[]).await;
    let (ctl, address) = (cluster.ctl(), cluster.master.grpc_address());
    let own = ctl.run(&["register", "own", &address]).await;
    assert!(own.code == 2 && own.stderr.contains("where this master listens"), "{own:?}");
    ctl.run(&["register", "one", "127.0.0.2:50052"]).await.ok();
    let taken = ctl.run(&["register", "two", "127.0.0.2:50052"]).await;
    assert!(taken.code == 79 && taken.stderr.contains("one is at 127.0.0.2:50052"), "{taken:?}");
    let long = json!({"worker_id": "x".repeat(5000)});
    let called = call(&address, "cluster.MasterWorker/RegisterWorker", &long, &As::plaintext()).await;
    assert_eq!(called.code, "OUT_OF_RANGE", "{called:?}");
}

#[tokio::test]
async fn where_it_is_open_nobody_waits() {
    let cluster = cluster(&["--admission", "open"]).await;
    let port = cloudai_tests::port::Port::take();
    let flags = ["--register-first", &cluster.master.grpc_address(), "--listen", &port.address()];
    // What it calls its address is not in the call: where it is dialled is known only with the usual port.
    let peer = worker("early", &flags).await;
    let answer = peer.event("RegisterWorker", |_| true).await;
    assert_eq!(answer["answer"]["success"], true, "{answer}");
    let workers = cluster.api().workers().await.expect("a list");
    assert_eq!(workers.len(), 1, "{workers:?}");
}

#[tokio::test]
async fn health_and_reflection_answer_as_every_tool_expects() {
    let cluster = cluster(&[]).await;
    let address = cluster.master.grpc_address();
    for caller in [As::plaintext(), As::stranger()] {
        for service in ["", "cluster.MasterWorker", "cloudai.v1.WorkerSession", "cloudai.v1.WorkerIdentity"] {
            let request = json!({"service": service});
            let health = call(&address, "grpc.health.v1.Health/Check", &request, &caller).await;
            assert_eq!((health.code.as_str(), &health.answer["status"]), ("OK", &json!("SERVING")), "{service}");
        }
        let unknown = call(&address, "grpc.health.v1.Health/Check", &json!({"service": "x"}), &caller).await;
        assert_eq!(unknown.code, "NOT_FOUND");
        let request = json!([{"list_services": ""}]);
        let method = "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo";
        let listed = call(&address, method, &request, &caller).await;
        let services = listed.answer[0]["list_services_response"]["service"].as_array().expect("services").clone();
        let names: Vec<_> = services.iter().filter_map(|service| service["name"].as_str()).collect();
        for name in ["cluster.MasterWorker", "cloudai.v1.WorkerSession", "cloudai.v1.WorkerIdentity"] {
            assert!(names.contains(&name), "{names:?}");
        }
        let symbol = json!([{"file_containing_symbol": "cluster.MasterWorker"}]);
        let found = call(&address, method, &symbol, &caller).await;
        let files = &found.answer[0]["file_descriptor_response"]["file_descriptor_proto"];
        assert!(files.as_array().is_some_and(|files: &Vec<Value>| !files.is_empty()), "{found:?}");
    }
}
