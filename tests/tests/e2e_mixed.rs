//! A cluster of two kinds of workers: ours, with certificates, and one of the first generation, written in Python.
#![allow(missing_docs, clippy::panic, clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::time::Duration;

use cloudai_tests::api::Api;
use cloudai_tests::cluster::{Cluster, shell_task};
use cloudai_tests::master::MasterOptions;
use cloudai_tests::peer::Peer;
use cloudai_tests::wait::{PATIENCE, eventually};
use cloudai_tests::worker::WorkerOptions;
use shared::submit::SubmitRequest;
use shared::task::{TaskState, VerdictKind};
use shared::view::{SubmitLineResult, SubmitView, TaskView};
use shared::worker::{WorkerProtocol, WorkerState};

const SEED: &str = "seed-1";

/// Silence is noticed within seconds.
fn quick() -> MasterOptions {
    let leases = [
        ("HEARTBEAT", "300ms"),
        ("SUSPECT", "1500ms"),
        ("LEASE", "3s"),
        ("REASSIGN", "4s"),
        ("START_GRACE", "5s"),
        ("MASS_LOSS_HOLD", "2s"),
    ];
    MasterOptions {
        args: vec!["--allow-plaintext-workers".to_owned()],
        env: leases.map(|(name, value)| (format!("CLOUDAI_LEASES_{name}"), value.to_owned())).into(),
        ..MasterOptions::default()
    }
}

/// Two workers with certificates, and one of the first generation.
async fn start(args: &[&str]) -> (Cluster, Peer) {
    let cluster = Cluster::start_with(&quick(), 2, &WorkerOptions::default()).await;
    let peer =
        Peer::start("seed_worker", &[&["--name", SEED, "--heartbeat", "0.3", "--cpu", "2"], args].concat()).await;
    cluster.ctl().run(&["register", SEED, peer.address()]).await.ok();
    let worker = cluster.api().worker_is(PATIENCE, SEED, WorkerState::Active).await;
    assert_eq!((worker.protocol, worker.capacity.cpu_millis), (WorkerProtocol::Seed, 2000));
    (cluster, peer)
}

fn on(worker: &str, line: &str) -> SubmitRequest {
    SubmitRequest { worker_id: Some(worker.parse().expect("a name")), ..shell_task(line) }
}

async fn runs(api: &Api, id: &str) -> TaskView {
    eventually(PATIENCE, "it runs", || async {
        let task = api.task(id).await.ok()?;
        (task.state == TaskState::Running).then_some(task)
    })
    .await
}

fn workers_of(task: &TaskView) -> Vec<String> {
    task.attempts.iter().map(|attempt| attempt.worker_id.to_string()).collect()
}

#[tokio::test]
async fn sixty_tasks_are_shared_and_each_has_its_log_and_its_files() {
    let (cluster, _peer) = start(&[]).await;
    let api = cluster.api();
    let lines = (0..60).map(|number| format!("echo log {number}; echo data {number} > /output/file; sleep 0.2"));
    let tasks: Vec<_> = lines.map(|line| shell_task(&line)).collect();
    let accepted = api.submit_many(&tasks).await.expect("accepted");
    let mut share = BTreeMap::<String, usize>::new();
    for (number, line) in accepted.iter().enumerate() {
        let SubmitLineResult::Accepted(SubmitView { task_id: id, .. }) = &line.result else { panic!("{line:?}") };
        let task = api.ended(Duration::from_secs(180), id).await;
        assert_eq!(task.state, TaskState::Completed, "{task:?}");
        let workers = workers_of(&task);
        assert_eq!(workers.len(), 1, "{task:?}");
        *share.entry(workers[0].clone()).or_default() += 1;
        assert_eq!(cluster.ctl().run(&["logs", id]).await.ok(), format!("log {number}\n"), "{workers:?}");
        let file = api.get_bytes(&format!("/api/files/{id}/file")).await.expect("a file");
        assert_eq!(String::from_utf8_lossy(&file), format!("data {number}\n"), "{workers:?}");
    }
    println!("{share:?}");
    assert_eq!(share.len(), 3, "{share:?}");
    assert!(share.values().all(|count| *count >= 10), "{share:?}");
}

#[tokio::test]
async fn on_each_kind_a_task_can_fail_and_be_cancelled() {
    let (cluster, peer) = start(&[]).await;
    let api = cluster.api();
    for worker in ["worker-1", SEED] {
        let failing = api.submit(&on(worker, "echo oh; exit 3")).await.expect("accepted").task_id;
        let task = api.ended(PATIENCE, &failing).await;
        assert_eq!((task.state, task.attempts.len()), (TaskState::Failed, 1), "{worker}: {task:?}");
        assert_eq!(task.verdict.expect("a verdict").kind(), VerdictKind::ExitCode, "{worker}");
        assert_eq!(cluster.ctl().run(&["logs", &failing]).await.ok(), "oh\n", "{worker}");
        let endless = api.submit(&on(worker, "echo begun; sleep 300")).await.expect("accepted").task_id;
        runs(&api, &endless).await;
        let log = || async {
            let log = cluster.ctl().run(&["logs", &endless]).await;
            (log.stdout == "begun\n").then_some(())
        };
        eventually(PATIENCE, "its log is there while it runs", log).await;
        cluster.ctl().run(&["cancel", &endless]).await.ok();
        let task = api.ended(PATIENCE, &endless).await;
        assert_eq!((task.state, task.attempts.len()), (TaskState::Cancelled, 1), "{worker}: {task:?}");
    }
    // It has sent two reports of that.
    eventually(PATIENCE, "both reports are taken", || async {
        let reports = peer.events("ReportTaskCompletion");
        (reports.iter().filter(|report| report["answer"]["success"] == true).count() >= 3).then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_a_worker_of_either_kind_takes_with_it_runs_elsewhere() {
    let (mut cluster, peer) = start(&[]).await;
    let api = cluster.api();
    let mut tasks = Vec::new();
    for _ in 0..6 {
        tasks.push(api.submit(&shell_task("sleep 3; echo done")).await.expect("accepted").task_id);
    }
    let on_both = || async {
        let mut busy = Vec::new();
        for id in &tasks {
            busy.extend(workers_of(&api.task(id).await.ok()?));
        }
        (busy.contains(&SEED.to_owned()) && busy.contains(&"worker-1".to_owned())).then_some(())
    };
    eventually(PATIENCE, "both have some of them", on_both).await;
    drop(peer);
    cluster.workers[0].kill9();
    let mut moved = 0;
    for id in &tasks {
        let task = api.ended(Duration::from_secs(120), id).await;
        assert_eq!(task.state, TaskState::Completed, "{task:?}");
        assert_eq!(cluster.ctl().run(&["logs", id]).await.ok(), "done\n");
        moved += usize::from(task.attempts.len() > 1);
    }
    assert!(moved >= 2, "{moved} tasks ran again");
}

#[tokio::test]
async fn a_master_that_is_killed_finds_a_first_generation_worker_and_its_tasks_again() {
    let (mut cluster, _peer) = start(&[]).await;
    let api = cluster.api();
    let id =
        api.submit(&on(SEED, "echo begun; sleep 4; echo done; echo x > /output/x")).await.expect("accepted").task_id;
    runs(&api, &id).await;
    cluster.master.kill9();
    cluster.master.restart().await;
    let task = api.ended(PATIENCE, &id).await;
    assert_eq!((task.state, task.attempts.len()), (TaskState::Completed, 1), "{task:?}");
    assert_eq!(cluster.ctl().run(&["logs", &id]).await.ok(), "begun\ndone\n");
    assert_eq!(api.get_bytes(&format!("/api/files/{id}/x")).await.expect("a file"), b"x\n");
}
