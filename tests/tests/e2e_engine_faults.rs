//! The container engine loses answers, is slow, or has a full disk: no run is doubled, given up or blamed.
#![allow(missing_docs, clippy::panic, clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::{Duration, Instant};

use cloudai_tests::cluster::{Cluster, shell_task, until_told};
use cloudai_tests::docker;
use cloudai_tests::engine::Engine;
use cloudai_tests::engine_proxy::EngineProxy;
use cloudai_tests::master::MasterOptions;
use cloudai_tests::wait::{PATIENCE, eventually};
use cloudai_tests::worker::WorkerOptions;
use shared::span::Span;
use shared::submit::SubmitRequest;
use shared::task::{TaskState, Verdict};
use shared::worker::WorkerState;
use tempfile::TempDir;

/// The calls of the engine whose answers are lost.
const CREATE: &str = "/containers/create";
const START: &str = "/start";
const WAIT: &str = "/wait";
/// How much later a slow engine answers.
const SLOW: Duration = Duration::from_secs(3);
/// A worker that is silent for so long is suspect.
const SUSPECT: Duration = Duration::from_secs(15);
/// Of the disk of an engine: twice what has to be free again after it was full.
const DISK: u64 = 1 << 30;
/// What is reserved for a task that does not say what it stores.
const RESERVED: u64 = 1 << 30;

async fn cluster_on(engine: String) -> Cluster {
    let options = WorkerOptions { docker_host: Some(engine), ..WorkerOptions::default() };
    Cluster::start_with(&MasterOptions::default(), 1, &options).await
}

/// In this order: what is dropped last is needed longest.
async fn behind_a_proxy() -> (TempDir, EngineProxy, Cluster) {
    let dir = tempfile::tempdir().expect("a directory");
    let engine = EngineProxy::start(&docker::host(), dir.path().join("engine.sock"));
    let cluster = cluster_on(engine.host()).await;
    (dir, engine, cluster)
}

async fn runs_once_without_the_answer_to(call: &str) {
    let (_dir, engine, cluster) = behind_a_proxy().await;
    let api = cluster.api();
    engine.lose_answer_to(call);
    let task = shell_task("echo start >> /output/witness; sleep 1; echo end >> /output/witness");
    let id = api.submit(&task).await.expect("accepted").task_id;
    let task = api.ended(PATIENCE, &id).await;
    assert_eq!((task.verdict.clone(), task.attempts.len()), (Some(Verdict::Success), 1), "{task:?}");
    let seen = api.get_bytes(&format!("/api/files/{id}/witness")).await.expect("the witness");
    assert_eq!(String::from_utf8_lossy(&seen), "start\nend\n", "it ran once");
    assert_eq!(engine.lost(), 1, "an answer was lost");
    assert_eq!((engine.done(CREATE), engine.done(START)), (1, 1), "there was one container, and it was started once");
    let containers = cluster.containers.as_ref().expect("containers");
    eventually(PATIENCE, "nothing is left", || async { containers.list().await.is_empty().then_some(()) }).await;
}

#[tokio::test]
async fn a_container_whose_creation_was_not_answered_is_the_one_that_runs() {
    runs_once_without_the_answer_to(CREATE).await;
}

#[tokio::test]
async fn a_container_whose_start_was_not_answered_is_not_started_again() {
    runs_once_without_the_answer_to(START).await;
}

/// What the worker says of its engine, once it does.
async fn problem(cluster: &Cluster) -> String {
    eventually(PATIENCE, "it says that its engine is not well", || async {
        cluster.api().workers().await.ok()?.into_iter().next()?.problem
    })
    .await
}

/// Everything else is answered.
#[tokio::test]
async fn an_end_that_the_engine_does_not_tell_is_looked_for() {
    let (_dir, engine, cluster) = behind_a_proxy().await;
    let api = cluster.api();
    engine.hold_answers_to(&[WAIT]);
    let id = api.submit(&shell_task("echo one; sleep 2; exit 4")).await.expect("accepted").task_id;
    let task = api.ended(PATIENCE, &id).await;
    assert_eq!((task.verdict.clone(), task.attempts.len()), (Some(Verdict::ExitCode { exit_code: 4 }), 1), "{task:?}");
    let problem = problem(&cluster).await;
    assert!(problem.contains("not /wait"), "{problem}");
}

#[tokio::test]
async fn what_has_ended_is_not_taken_for_what_was_killed_at_its_time_limit() {
    let (_dir, engine, cluster) = behind_a_proxy().await;
    engine.hold_answers_to(&[WAIT]);
    let task = SubmitRequest { time_limit: Some(Span::seconds(4)), ..shell_task("sleep 1; exit 4") };
    let id = cluster.api().submit(&task).await.expect("accepted").task_id;
    let task = cluster.api().ended(PATIENCE, &id).await;
    assert_eq!((task.verdict.clone(), task.attempts.len()), (Some(Verdict::ExitCode { exit_code: 4 }), 1), "{task:?}");
}

#[tokio::test]
async fn a_start_that_the_engine_does_not_tell_of_is_looked_for() {
    let (_dir, engine, cluster) = behind_a_proxy().await;
    let api = cluster.api();
    engine.hold_answers_to(&[START]);
    let id = api.submit(&shell_task("echo start >> /output/witness; exit 4")).await.expect("accepted").task_id;
    let task = api.ended(PATIENCE, &id).await;
    assert_eq!((task.verdict.clone(), task.attempts.len()), (Some(Verdict::ExitCode { exit_code: 4 }), 1), "{task:?}");
    let seen = api.get_bytes(&format!("/api/files/{id}/witness")).await.expect("the witness");
    assert_eq!(String::from_utf8_lossy(&seen), "start\n", "it ran once");
    assert_eq!(engine.done(START), 1);
    let problem = problem(&cluster).await;
    assert!(problem.contains("not /start"), "{problem}");
}

#[tokio::test]
async fn a_slow_engine_is_waited_for() {
    let (_dir, engine, cluster) = behind_a_proxy().await;
    let api = cluster.api();
    engine.delay(SLOW);
    let begin = Instant::now();
    let id = api.submit(&shell_task("echo one; sleep 10; echo two; exit 7")).await.expect("accepted").task_id;
    let task = eventually(PATIENCE * 3, "it ends", || async {
        let worker = api.workers().await.ok()?.into_iter().next()?;
        assert_eq!(worker.state, WorkerState::Active, "{worker:?}");
        assert_eq!(worker.problem, None, "{worker:?}");
        api.task(&id).await.ok().filter(|task| task.state.is_final())
    })
    .await;
    assert!(begin.elapsed() > SUSPECT, "heartbeats that had stopped would have been missed");
    assert_eq!((task.verdict.clone(), task.attempts.len()), (Some(Verdict::ExitCode { exit_code: 7 }), 1), "{task:?}");
    let log = api.get_bytes(&format!("/api/tasks/{id}/logs?stream=stdout")).await.expect("a log");
    assert_eq!(String::from_utf8_lossy(&log), "one\ntwo\n");
    engine.delay(Duration::ZERO);
    let id = api.submit(&shell_task("exit 3")).await.expect("accepted").task_id;
    assert_eq!(api.ended(PATIENCE, &id).await.verdict, Some(Verdict::ExitCode { exit_code: 3 }));
}

#[tokio::test]
async fn a_full_disk_of_the_engine_stops_new_work_and_nothing_that_runs() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut engine = Engine::on_disk(&dir.path().join("engine"), DISK).await;
    let cluster = cluster_on(engine.host()).await;
    let api = cluster.api();
    let running = api.submit(&until_told(7)).await.expect("accepted").task_id;
    api.said(PATIENCE, &running, "ready").await;
    engine.fill_disk();
    let problem = eventually(PATIENCE, "it says that it is not well", || async {
        api.workers().await.ok()?.into_iter().next()?.problem
    })
    .await;
    assert!(problem.contains("engine/data is full"), "{problem}");
    let waiting = api.submit(&shell_task("exit 3")).await.expect("accepted").task_id;
    assert_eq!(api.why(&waiting).await.expect("a reason").reasons[0].code, "worker_unhealthy");
    engine.signal("USR1").await;
    let task = api.ended(PATIENCE, &running).await;
    assert_eq!((task.verdict.clone(), task.attempts.len()), (Some(Verdict::ExitCode { exit_code: 7 }), 1), "{task:?}");
    let worker = api.workers().await.expect("workers").remove(0);
    assert_eq!(worker.state, WorkerState::Active, "{worker:?}");
    assert_eq!(api.task(&waiting).await.expect("the task").state, TaskState::Queued);
    engine.free_disk();
    let task = api.ended(PATIENCE, &waiting).await;
    assert_eq!((task.verdict.clone(), task.attempts.len()), (Some(Verdict::ExitCode { exit_code: 3 }), 1), "{task:?}");
}

#[tokio::test]
async fn a_full_disk_ends_what_is_furthest_over_what_was_reserved_for_it_and_only_that_if_it_is_enough() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut engine = Engine::on_disk(&dir.path().join("engine"), DISK + 4 * RESERVED).await;
    let cluster = cluster_on(engine.host()).await;
    let api = cluster.api();
    let stores = |megabytes: u32| {
        let line = format!(
            "fallocate -l {megabytes}M /large && trap 'exit 5' USR1 && echo ready; while :; do sleep 0.1; done"
        );
        SubmitRequest { storage: None, ..shell_task(&line) }
    };
    let large = api.submit(&stores(1100)).await.expect("accepted").task_id;
    let larger = api.submit(&stores(1200)).await.expect("accepted").task_id;
    let small = api.submit(&until_told(7)).await.expect("accepted").task_id;
    for id in [&large, &larger, &small] {
        api.said(PATIENCE, id, "ready").await;
    }
    engine.fill_disk();
    let task = api.ended(PATIENCE * 2, &larger).await;
    let Some(Verdict::Disk { limit_bytes, used_bytes: Some(used), .. }) = task.verdict else { panic!("{task:?}") };
    assert!(limit_bytes == RESERVED && used > RESERVED, "{task:?}");
    assert!(task.output_notes[0].starts_with("a disk of its worker was full, it stored 1.17 GiB"), "{task:?}");
    eventually(PATIENCE, "there is room again", || async {
        api.workers().await.ok()?.into_iter().next()?.problem.is_none().then_some(())
    })
    .await;
    engine.signal("USR1").await;
    assert_eq!(api.ended(PATIENCE, &large).await.verdict, Some(Verdict::ExitCode { exit_code: 5 }));
    assert_eq!(api.ended(PATIENCE, &small).await.verdict, Some(Verdict::ExitCode { exit_code: 7 }));
}
