//! Our worker under a master of the first generation, which is a Python program that shares no code with it.
#![allow(missing_docs, clippy::panic, clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;

use cloudai_tests::docker::{self, Containers};
use cloudai_tests::peer::{Peer, call};
use cloudai_tests::port::Port;
use cloudai_tests::process::{Process, Recipe, program};
use cloudai_tests::wait::{PATIENCE, eventually};
use serde_json::{Value, json};
use shared::id::ClusterId;
use tempfile::TempDir;

/// A master and a worker that has registered with it. Dropped, the worker goes first, then its containers.
struct World {
    worker: Process,
    containers: Containers,
    master: Peer,
    port: Port,
    _dir: TempDir,
}

impl World {
    async fn start() -> Self {
        let mut world = Self::unregistered().await;
        world.register().await;
        world
    }

    async fn unregistered() -> Self {
        let (dir, port) = (tempfile::tempdir().expect("a directory"), Port::take());
        let args =
            ["worker", "--protocol", "seed", "--name", "w1", "--cpu", "2", "--memory", "2GiB", "--storage", "10"];
        let args = args.into_iter().map(str::to_owned);
        let listen = ["--listen".to_owned(), port.address(), "--docker-host".to_owned(), docker::host()];
        let data = dir.path().join("data");
        let recipe = Recipe {
            name: "w1".to_owned(),
            program: program("cloudaid"),
            args: args.chain(listen).chain(["--data-dir".to_owned(), data.display().to_string()]).collect(),
            env: vec![("CLOUDAI_REGISTRY_PATIENCE".to_owned(), "2s".to_owned())],
            dir: dir.path().to_owned(),
        };
        let worker = Process::start(recipe);
        let cluster = eventually(PATIENCE, "the worker's cluster", || async {
            let json = fs::read(data.join("seed/cluster")).ok()?;
            serde_json::from_slice::<ClusterId>(&json).ok()
        })
        .await;
        let containers = Containers::of(cluster.to_string());
        Self { worker, containers, master: Peer::start("seed_master", &[]).await, port, _dir: dir }
    }

    async fn register(&mut self) {
        let command = json!({"do": "register", "worker": self.port.address(), "wait": true});
        let answer = self.master.ask(&command).await;
        assert_eq!(answer["answer"]["success"], true, "{answer}");
        self.master.event("register_worker", |_| true).await;
    }

    async fn assign(&mut self, id: &str, command: &str) -> Value {
        let task = json!({
            "task_id": id, "docker_image": docker::image(), "command": command, "req_cpu": 0.1, "req_memory": 0.0625,
            "user_id": "ada@x.example", "task_name": "of the test",
        });
        self.order(&json!({"do": "assign", "task": task})).await
    }

    /// The worker's answer.
    async fn order(&mut self, command: &Value) -> Value {
        let mut command = command.clone();
        command["worker"] = self.port.address().into();
        self.master.ask(&command).await["answer"].clone()
    }

    async fn runs(&mut self, id: &str, command: &str) {
        let answer = self.assign(id, command).await;
        assert_eq!(answer["success"], true, "{answer}");
    }

    async fn report(&self, id: &str) -> Value {
        self.master.event("report", |report| report["task_id"] == id && report["refused"] == false).await
    }

    async fn no_container_is_left(&self) {
        eventually(PATIENCE, "no container", || async { self.containers.list().await.is_empty().then_some(()) }).await;
    }

    async fn logs(&self, id: &str) -> Vec<String> {
        let request = json!({"task_id": id, "follow": true}).to_string();
        let said = call(&[&self.port.address(), "cluster.MasterWorker/StreamTaskLogs", &request]).await;
        assert_eq!(said["code"], "OK", "{said}");
        let chunks = said["answer"].as_array().expect("chunks");
        let (last, lines) = chunks.split_last().expect("a last chunk");
        assert_eq!((&last["is_complete"], &last["content"]), (&json!(true), &json!("")), "{last}");
        lines.iter().map(|line| line["content"].as_str().expect("text").to_owned()).collect()
    }
}

#[tokio::test]
async fn a_task_is_run_followed_and_reported_with_its_files() {
    let mut world = World::unregistered().await;
    let early = eventually(PATIENCE, "the worker listens", || async {
        let request = json!({"task_id": "early", "docker_image": docker::image()}).to_string();
        let said = call(&[&world.port.address(), "cluster.MasterWorker/AssignTask", &request]).await;
        (said["code"] == "OK").then_some(said)
    })
    .await;
    assert_eq!(early["answer"]["success"], false, "{early}");
    world.register().await;
    let registered = world.master.events("register_worker").remove(0);
    assert_eq!((&registered["worker_id"], &registered["worker_ip"]), (&json!("w1"), &json!("")), "{registered}");
    assert_eq!((&registered["total_cpu"], &registered["total_memory"]), (&json!(2.0), &json!(2.0)), "{registered}");

    let command = "echo one; echo two >&2; echo data > /output/r.txt; mkdir /output/a; \
                   head -c 3000000 /dev/zero > /output/a/large; : > /output/empty; sleep 1; printf three";
    world.runs("their-1", command).await;
    assert_eq!(world.assign("their-1", "exit 9").await["success"], true, "once more: nothing comes of it");
    let follow = json!({"do": "logs", "worker": world.port.address(), "task_id": "their-1", "follow": true});
    world.master.tell(&follow).await;
    let first = world.master.event("log", |_| true).await;
    assert_eq!((&first["status"], &first["is_complete"]), (&json!("running"), &json!(false)), "{first}");

    let report = world.report("their-1").await;
    assert_eq!((&report["status"], &report["worker_id"]), (&json!("success"), &json!("w1")), "{report}");
    assert_eq!(report["output_files"].as_array().map(Vec::len), Some(3), "{report}");
    world.master.event("log_end", |end| end["code"] == "OK").await;
    let mut lines = world.logs("their-1").await;
    assert_eq!(lines.pop().as_deref(), Some("three"));
    lines.sort();
    assert_eq!(lines, ["one", "two"]);
    let upload = world.master.events("upload").remove(0);
    assert_eq!(upload["sizes"], json!({"r.txt": 5, "a/large": 3_000_000, "empty": 0}), "{upload}");
    assert_eq!(upload["files"]["r.txt"], "ZGF0YQo=");
    assert_eq!(upload["heads"], json!([["their-1", "ada@x.example", "of the test"]]));
    let marks: Vec<_> = upload["chunks"].as_array().expect("chunks").iter().map(|chunk| chunk[3] == true).collect();
    assert_eq!(marks.iter().rposition(|last| *last), Some(marks.len() - 1));
    assert_eq!(marks.iter().filter(|last| **last).count(), 1, "{upload}");
    world.no_container_is_left().await;
    assert_eq!(world.master.count("report"), 1);
}

#[tokio::test]
async fn failures_and_cancellations_are_reported_with_the_reason() {
    let mut world = World::start().await;
    world.runs("fails", "echo oh; exit 3").await;
    let report = world.report("fails").await;
    assert_eq!((&report["status"], &report["logs"]), (&json!("failed"), &json!("oh\ncloudaid: exit code 3\n")));

    world.runs("default", "").await;
    assert_eq!(world.report("default").await["logs"], "the command of the image\n");

    let task = json!({"task_id": "image", "docker_image": "127.0.0.1:1/no/such:image"});
    assert_eq!(world.order(&json!({"do": "assign", "task": task})).await["success"], true);
    let report = world.report("image").await;
    assert_eq!(report["status"], "failed", "{report}");
    assert!(report["logs"].as_str().is_some_and(|logs| logs.starts_with("cloudaid: image: ")), "{report}");

    let task = json!({"task_id": "negative", "docker_image": docker::image(), "req_cpu": -1.0});
    let refused = world.order(&json!({"do": "assign", "task": task})).await;
    assert_eq!(refused["success"], false, "{refused}");

    world.runs("endless", "echo begins; echo data > /output/r; sleep 600").await;
    let follow = json!({"do": "logs", "worker": world.port.address(), "task_id": "endless", "follow": true});
    world.master.tell(&follow).await;
    world.master.event("log", |log| log["content"] == "begins").await;
    let busy = world.master.event("heartbeat", |beat| beat["running_tasks"] != json!([])).await;
    let running = &busy["running_tasks"][0];
    assert_eq!((&running["task_id"], &running["cpu_allocated"]), (&json!("endless"), &json!(0.1)), "{busy}");
    assert_eq!(running["memory_allocated"], 0.0625);
    let cancel = json!({"do": "cancel", "task_id": "endless"});
    assert_eq!(world.order(&cancel).await["success"], true);
    let report = world.report("endless").await;
    assert_eq!((&report["status"], &report["logs"]), (&json!("cancelled"), &json!("begins\n")), "{report}");
    assert_eq!(report["output_files"], json!(["r"]), "{report}");
    world.no_container_is_left().await;
    let reports = world.master.events("report").into_iter().filter(|report| report["task_id"] == "endless");
    assert_eq!(reports.count(), 1);
}

#[tokio::test]
async fn a_worker_that_is_killed_goes_on_and_reports_what_ended_meanwhile() {
    let mut world = World::start().await;
    let witness = "echo start >> /output/witness; echo one; sleep 3; echo two; echo end >> /output/witness";
    world.runs("their-1", witness).await;
    let follow = json!({"do": "logs", "worker": world.port.address(), "task_id": "their-1", "follow": true});
    world.master.tell(&follow).await;
    world.master.event("log", |log| log["content"] == "one").await;
    world.worker.kill9();
    world.worker.start_again();
    // By itself: nobody has registered it since.
    eventually(PATIENCE, "it registers again", || async { (world.master.count("register_worker") == 2).then_some(()) })
        .await;
    let report = world.report("their-1").await;
    assert_eq!((&report["status"], &report["logs"]), (&json!("success"), &json!("one\ntwo\n")), "{report}");
    let upload = world.master.events("upload").remove(0);
    assert_eq!(upload["files"]["witness"], "c3RhcnQKZW5kCg==", "it ran once");
    world.runs("their-2", "true").await;
    assert_eq!(world.report("their-2").await["status"], "success");
    world.no_container_is_left().await;
}

#[tokio::test]
async fn what_ends_while_the_master_is_away_or_refuses_is_reported_when_it_takes_it() {
    let mut world = World::start().await;
    world.runs("away", "sleep 1; echo data > /output/r; echo done").await;
    world.master.tell(&json!({"do": "close"})).await;
    world.master.event("closed", |_| true).await;
    let exited = docker::connect();
    eventually(PATIENCE, "it has ended", || async {
        let containers = world.containers.list().await;
        let id = containers.first()?.id.clone()?;
        let state = exited.inspect_container(&id, None).await.ok()?.state?;
        (state.running == Some(false) && state.exit_code == Some(0) && state.finished_at.is_some()).then_some(())
    })
    .await;
    for what in ["upload", "report"] {
        world.master.tell(&json!({"do": "refuse", "what": what, "times": 1})).await;
    }
    world.master.tell(&json!({"do": "open"})).await;
    let report = world.report("away").await;
    assert_eq!((&report["status"], &report["logs"]), (&json!("success"), &json!("done\n")), "{report}");
    assert_eq!(report["output_files"], json!(["r"]), "{report}");
    let refused =
        |name: &str| -> Vec<_> { world.master.events(name).iter().map(|event| event["refused"] == true).collect() };
    assert_eq!((refused("upload"), refused("report")), (vec![true, false], vec![true, false]));
    world.no_container_is_left().await;
}
