//! Our master with a worker of the first generation, which is a Python program that shares no code with it; and what users
//! do over the same service.
#![allow(missing_docs, clippy::panic, clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use cloudai_tests::api::Api;
use cloudai_tests::grpc::{As, Called, call};
use cloudai_tests::master::{Master, MasterOptions};
use cloudai_tests::peer::Peer;
use cloudai_tests::wait::{PATIENCE, eventually};
use serde_json::{Value, json};
use shared::role::Role;
use shared::submit::{CommandInput, SubmitRequest};
use shared::task::{TaskState, Verdict};
use shared::view::TaskView;
use shared::worker::{WorkerProtocol, WorkerState};
use tempfile::TempDir;

const LONG: Duration = Duration::from_secs(60);

struct World {
    worker: Peer,
    master: Master,
    _dir: TempDir,
}

impl World {
    /// A master, and a worker that has registered with it as `w1`.
    async fn start(flags: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let args = ["--allow-plaintext-workers"].map(str::to_owned).into();
        let master = Master::start(dir.path(), &MasterOptions { args, ..MasterOptions::default() }).await;
        let all: Vec<_> = ["--name", "w1", "--heartbeat", "0.3"].iter().chain(flags).copied().collect();
        let worker = Peer::start("seed_worker", &all).await;
        let registration = json!({"worker_id": "w1", "address": worker.address()});
        master.api().post::<Value>("/api/workers", &registration).await.expect("registered");
        let view = master.api().worker_is(PATIENCE, "w1", WorkerState::Active).await;
        assert_eq!((view.protocol, view.capacity.cpu_millis), (WorkerProtocol::Seed, 4000));
        Self { worker, master, _dir: dir }
    }

    fn api(&self) -> Api {
        self.master.api()
    }

    async fn submit(&self, name: &str, command: &str) -> String {
        let task = SubmitRequest {
            image: "any".to_owned(),
            name: Some(name.to_owned()),
            command: Some(CommandInput::Shell(command.to_owned())),
            ..SubmitRequest::default()
        };
        self.api().submit(&task).await.expect("accepted").task_id
    }

    async fn run(&self, name: &str, command: &str) -> TaskView {
        let id = self.submit(name, command).await;
        self.api().ended(LONG, &id).await
    }

    async fn running(&self, id: &str) {
        eventually(PATIENCE, "the task runs", || async {
            (self.api().task(id).await.ok()?.state == TaskState::Running).then_some(())
        })
        .await;
    }

    async fn log(&self, id: &str) -> String {
        let bytes = self.api().get_bytes(&format!("/api/tasks/{id}/logs")).await.expect("a log");
        String::from_utf8(bytes).expect("text")
    }

    async fn call(&self, method: &str, request: Value, token: &str) -> Called {
        let caller = if token.is_empty() { As::plaintext() } else { As::plaintext().with_token(token) };
        call(&self.master.grpc_address(), &format!("cluster.MasterWorker/{method}"), &request, &caller).await
    }
}

#[tokio::test]
async fn a_task_is_run_followed_and_kept_with_its_files() {
    let world = World::start(&["--generation", "older", "--no-last-file", "--name-twice", "--report-twice"]).await;
    let command = "echo one; sleep 1; echo two; echo data > /output/r.txt; mkdir /output/a; \
                   head -c 3000000 /dev/zero > /output/a/large; : > /output/empty";
    let id = world.submit("nightly", command).await;
    world.running(&id).await;
    eventually(PATIENCE, "its log is followed", || async { (world.log(&id).await == "one\n").then_some(()) }).await;
    let view = world.api().ended(LONG, &id).await;
    assert_eq!((view.state, &view.verdict), (TaskState::Completed, &Some(Verdict::Success)), "{view:?}");
    assert_eq!(world.log(&id).await, "one\ntwo\n");
    let files = world.api().files(&id).await.expect("files").files;
    let sizes: Vec<_> = files.iter().map(|file| (file.path.clone(), file.size)).collect();
    let expected = [("a/large", 3_000_000), ("empty", 0), ("r.txt", 5)];
    assert_eq!(sizes, expected.map(|(path, size)| (path.to_owned(), size)));
    let content = world.api().get_bytes(&format!("/api/files/{id}/r.txt")).await.expect("a file");
    assert_eq!(content, b"data\n", "the later one of the two");
    let assigned = world.worker.events("AssignTask").remove(0);
    assert_eq!((&assigned["task_id"], &assigned["task_name"]), (&json!(id), &json!("nightly")), "{assigned}");
    let reports = world.worker.events("ReportTaskCompletion");
    assert!(reports.iter().all(|report| report["answer"]["success"] == true), "{reports:?}");
}

#[tokio::test]
async fn failures_cancels_and_long_logs_come_to_the_right_end() {
    let world = World::start(&["--two-cancel-reports", "failed-first", "--large-logs", "6000000"]).await;
    let failed = world.run("fails", "echo no; exit 3").await;
    assert!(matches!(failed.verdict, Some(Verdict::ExitCode { exit_code: 1 })), "{failed:?}");
    assert!(world.log(&failed.task_id).await.len() >= 6_000_000);
    let id = world.submit("long", "echo begun; sleep 600").await;
    world.running(&id).await;
    world.api().post::<Value>(&format!("/api/tasks/{id}/cancel"), &json!({})).await.expect("cancelled");
    let view = world.api().ended(LONG, &id).await;
    assert_eq!(view.state, TaskState::Cancelled, "{view:?}");
    let both = || async { (world.worker.count("ReportTaskCompletion") >= 3).then_some(()) };
    eventually(PATIENCE, "both reports", both).await;
    let reports = world.worker.events("ReportTaskCompletion");
    assert!(reports.iter().all(|report| report["answer"]["success"] == true), "{reports:?}");
}

#[tokio::test]
async fn what_the_worker_loses_or_refuses_is_tried_again_and_then_told() {
    let world = World::start(&["--forget", "lost", "--refuse", "unwanted"]).await;
    let (lost, refused) = tokio::join!(world.submit("lost", "true"), world.submit("unwanted", "true"));
    let view = world.api().ended(LONG, &lost).await;
    assert!(matches!(view.verdict, Some(Verdict::WorkerLost { .. })), "{view:?}");
    assert_eq!(view.attempts.len(), 3);
    let names: Vec<_> = world.worker.events("AssignTask").iter().map(|task| task["task_id"].clone()).collect();
    for attempt in [lost.clone(), format!("{lost}-2"), format!("{lost}-3")] {
        assert!(names.contains(&json!(attempt)), "{names:?}");
    }
    let view = world.api().ended(LONG, &refused).await;
    assert!(
        matches!(&view.verdict, Some(Verdict::Rejected { message }) if message.contains("by the test")),
        "{view:?}"
    );
    let stale = json!({"task_id": lost, "worker_id": "w1", "status": "success"});
    let answer = world.call("ReportTaskCompletion", stale, "").await;
    assert_eq!(answer.answer["success"], false, "{answer:?}");
}

#[tokio::test]
async fn a_master_that_was_killed_finds_its_worker_and_what_that_runs() {
    let mut world = World::start(&[]).await;
    let id = world.submit("goes on", "echo one; sleep 6; echo two").await;
    world.running(&id).await;
    world.master.kill9();
    world.master.restart().await;
    let view = world.api().ended(LONG, &id).await;
    assert_eq!((view.state, view.attempts.len()), (TaskState::Completed, 1), "{view:?}");
    assert_eq!(world.log(&id).await, "one\ntwo\n");
    assert_eq!(world.worker.count("AssignTask"), 1);
}

#[tokio::test]
async fn files_with_hostile_names_are_refused_and_the_task_says_so() {
    let world = World::start(&["--extra-file", "../../etc/cron.d/x"]).await;
    let view = world.run("hostile", "echo data > /output/good").await;
    assert_eq!(view.state, TaskState::Completed, "{view:?}");
    assert!(world.api().files(&view.task_id).await.expect("files").files.is_empty(), "all of them or none");
    let upload = world.worker.events("UploadTaskFiles").remove(0);
    assert_eq!(upload["code"], "INVALID_ARGUMENT", "{upload}");
}

#[tokio::test]
async fn users_submit_cancel_and_follow_with_their_tokens() {
    let world = World::start(&[]).await;
    let (ann, bob) = (world.api().somebody("ann", Role::User).await, world.api().somebody("bob", Role::User).await);
    let looks = world.api().somebody("looks", Role::ReadOnly).await;
    let task = json!({
        "task_id": "job-1", "docker_image": "any", "command": "echo \u{e4}; echo two", "user_id": "bob", "task_name": "n",
    });
    let answers = [
        world.call("AssignTask", task.clone(), ann.token()).await,
        world.call("AssignTask", task.clone(), ann.token()).await,
    ];
    let id = answers.clone().map(|answer| {
        assert_eq!((answer.code.as_str(), &answer.answer["success"]), ("OK", &json!(true)), "{answer:?}");
        answer.answer["message"].as_str().expect("text").split(' ').next().expect("an id").to_owned()
    });
    assert_eq!(id[0], id[1], "one task");
    let view = ann.ended(LONG, &id[0]).await;
    assert_eq!((view.user.as_str(), view.name.as_deref()), ("ann", Some("n")));
    for name in ["job-1", &id[0]] {
        let log = world.call("StreamTaskLogs", json!({"task_id": name, "follow": true}), ann.token()).await;
        let chunks = log.answer.as_array().unwrap_or_else(|| panic!("{log:?}")).clone();
        let text: String = chunks.iter().filter_map(|chunk| chunk["content"].as_str()).collect();
        let last = chunks.last().expect("a last one");
        assert_eq!(
            (text.as_str(), &last["is_complete"], &last["status"]),
            ("\u{e4}\ntwo\n", &json!(true), &json!("success"))
        );
    }
    for method in ["StreamTaskLogs", "CancelTask"] {
        let foreign = world.call(method, json!({"task_id": id[0]}), bob.token()).await;
        assert_eq!(foreign.code, "NOT_FOUND", "{foreign:?}");
    }
    assert_eq!(world.call("AssignTask", task.clone(), "").await.code, "UNAUTHENTICATED");
    assert_eq!(world.call("AssignTask", task, looks.token()).await.code, "PERMISSION_DENIED");
    let nonsense = json!({"docker_image": "any", "req_cpu": -1.0});
    assert_eq!(world.call("AssignTask", nonsense, ann.token()).await.code, "INVALID_ARGUMENT");
    let long = world.call(
        "AssignTask",
        json!({"task_id": "job-2", "docker_image": "any", "command": "sleep 600"}),
        ann.token(),
    );
    assert_eq!(long.await.code, "OK");
    let cancelled = world.call("CancelTask", json!({"task_id": "job-2"}), ann.token()).await;
    assert_eq!((cancelled.code.as_str(), &cancelled.answer["success"]), ("OK", &json!(true)), "{cancelled:?}");
}

#[tokio::test]
async fn whoever_is_not_registered_is_told_so_and_noted() {
    let world = World::start(&[]).await;
    let beat = |name: &str| json!({"worker_id": name});
    assert_eq!(world.call("SendHeartbeat", beat("w2"), "").await.code, "PERMISSION_DENIED");
    let waits = json!({"worker_id": "w2", "total_cpu": 1.0, "total_memory": 1.0});
    let answer = world.call("RegisterWorker", waits, "").await;
    assert_eq!(answer.answer["success"], false, "{answer:?}");
    let nonsense = json!({"worker_id": "w1", "total_cpu": -1.0, "total_memory": 1.0});
    assert_eq!(world.call("RegisterWorker", nonsense, "").await.answer["success"], false);
    let audit: Value = world.api().get("/api/audit?limit=100").await.expect("the log");
    let noted =
        |action: &str| audit["entries"].as_array().expect("entries").iter().any(|entry| entry["action"] == action);
    assert!(noted("gRPC SendHeartbeat") && noted("gRPC RegisterWorker"), "{audit}");
}

#[tokio::test]
async fn without_the_flag_no_worker_of_the_first_generation_is_served() {
    let dir = tempfile::tempdir().expect("a directory");
    let master = Master::start(dir.path(), &MasterOptions::default()).await;
    for (method, caller) in [("RegisterWorker", As::plaintext()), ("SendHeartbeat", As::stranger())] {
        let called = call(&master.grpc_address(), &format!("cluster.MasterWorker/{method}"), &json!({}), &caller).await;
        assert_eq!(called.code, "PERMISSION_DENIED", "{called:?}");
        assert!(called.message.contains("--allow-plaintext-workers"), "{called:?}");
    }
    let submitted = json!({"docker_image": "any"});
    let caller = As::stranger().with_token(master.token());
    let called = call(&master.grpc_address(), "cluster.MasterWorker/AssignTask", &submitted, &caller).await;
    assert_eq!(called.code, "OK", "{called:?}");
}
