//! The container engine hangs when a worker starts, or is not there at all, and comes to life later: the worker is there
//! meanwhile, says why it takes nothing, and finds all that it had.
#![allow(missing_docs, clippy::panic, clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs::{self, File};
use std::time::{Duration, Instant};

use cloudai_tests::api::Api;
use cloudai_tests::cluster::{Cluster, shell_task};
use cloudai_tests::docker;
use cloudai_tests::engine_proxy::{EngineProxy, Hang};
use cloudai_tests::master::MasterOptions;
use cloudai_tests::wait::{PATIENCE, eventually};
use cloudai_tests::worker::{Worker, WorkerOptions};
use shared::submit::SubmitRequest;
use shared::task::{TaskState, Verdict};
use shared::worker::WorkerState;

/// The calls that make and start a container.
const CREATE: &str = "/containers/create";
const START: &str = "/start";
/// A worker that is silent for so long is suspect.
const SUSPECT: Duration = Duration::from_secs(15);
const SHORT: Duration = Duration::from_secs(2);

/// Ends with `code` when there is such a file in its /output.
fn until_there_is(file: &str, code: u8) -> SubmitRequest {
    let line = format!(
        "echo start >> /output/witness; echo ready; while [ ! -e /output/{file} ]; do sleep 0.1; done; exit {code}"
    );
    shell_task(&line)
}

/// Makes that file, for all that runs.
fn make(worker: &Worker, file: &str) {
    for run in fs::read_dir(worker.data_dir().join("runs")).expect("its runs") {
        // What is over is being removed.
        let _ = File::create(run.expect("a run").path().join("output").join(file));
    }
}

/// Waits until the worker says why it takes nothing.
async fn problem(api: &Api) -> String {
    eventually(PATIENCE, "it says what it lacks", || async { api.workers().await.ok()?.into_iter().next()?.problem })
        .await
}

/// It came to this end in its first run, and ran once.
async fn check(api: &Api, id: &str, exit_code: i32) {
    let task = api.ended(PATIENCE, id).await;
    assert_eq!((task.verdict.clone(), task.attempts.len()), (Some(Verdict::ExitCode { exit_code }), 1), "{task:?}");
    let seen = api.get_bytes(&format!("/api/files/{id}/witness")).await.expect("the witness");
    assert_eq!(String::from_utf8_lossy(&seen), "start\n", "it ran once");
}

/// A worker is killed, one of its two runs ends, and it starts again on an engine that hangs there, for so long.
async fn starts_again_on(hang: Hang, long: Duration) {
    let dir = tempfile::tempdir().expect("a directory");
    let engine = EngineProxy::start(&docker::host(), dir.path().join("engine.sock"));
    let options = WorkerOptions { docker_host: Some(engine.host()), ..WorkerOptions::default() };
    let mut cluster = Cluster::start_with(&MasterOptions::default(), 1, &options).await;
    let api = cluster.api();
    let mut ids = Vec::new();
    for (file, code) in [("first", 5), ("second", 7)] {
        let id = api.submit(&until_there_is(file, code)).await.expect("accepted").task_id;
        api.said(PATIENCE, &id, "ready").await;
        ids.push(id);
    }
    cluster.workers[0].kill9();
    make(&cluster.workers[0], "first");
    engine.hang(hang);
    cluster.workers[0].restart();
    let words = problem(&api).await;
    assert!(words.starts_with("container engine: "), "{words}");
    assert_eq!(hang != Hang::Absent, words.contains("no answer within 10 s"), "{words}");
    let waiting = api.submit(&until_there_is("third", 3)).await.expect("accepted").task_id;
    assert_eq!(api.why(&waiting).await.expect("a reason").reasons[0].code, "worker_unhealthy");
    let begin = Instant::now();
    while begin.elapsed() < long {
        let worker = api.workers().await.expect("workers").remove(0);
        assert_eq!(worker.state, WorkerState::Active, "heartbeats go on: {worker:?}");
        assert!(worker.problem.is_some(), "{worker:?}");
        for id in &ids {
            let task = api.task(id).await.expect("the task");
            assert_eq!((task.state, task.attempts.len()), (TaskState::Running, 1), "nobody can see: {task:?}");
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    cluster.workers[0].process.assert_runs();
    assert_eq!(api.task(&waiting).await.expect("the task").state, TaskState::Queued);

    engine.hang(Hang::Not);
    api.said(PATIENCE, &waiting, "ready").await;
    check(&api, &ids[0], 5).await;
    let task = api.task(&ids[1]).await.expect("the task");
    assert_eq!((task.state, task.attempts.len()), (TaskState::Running, 1), "{task:?}");
    for file in ["second", "third"] {
        make(&cluster.workers[0], file);
    }
    check(&api, &ids[1], 7).await;
    check(&api, &waiting, 3).await;
    assert_eq!((engine.done(CREATE), engine.done(START)), (3, 3), "nothing was started again");
    let containers = cluster.containers.as_ref().expect("containers");
    eventually(PATIENCE, "nothing is left", || async { containers.list().await.is_empty().then_some(()) }).await;
}

#[tokio::test]
async fn an_engine_that_accepts_and_does_not_answer_is_waited_for() {
    starts_again_on(Hang::Answering, SUSPECT).await;
}

#[tokio::test]
async fn so_is_one_that_does_not_even_accept() {
    starts_again_on(Hang::Accepting, SHORT).await;
}

#[tokio::test]
async fn so_is_one_that_is_there_and_does_not_say_what_it_has() {
    starts_again_on(Hang::Listing, SHORT).await;
}

#[tokio::test]
async fn so_is_one_of_which_there_is_not_even_a_socket() {
    starts_again_on(Hang::Absent, SHORT).await;
}

#[tokio::test]
async fn a_worker_that_has_never_seen_its_engine_joins_and_begins_when_it_answers() {
    let dir = tempfile::tempdir().expect("a directory");
    let engine = EngineProxy::start_with(&docker::host(), dir.path().join("engine.sock"), Hang::Answering);
    let options = WorkerOptions { docker_host: Some(engine.host()), ..WorkerOptions::default() };
    let cluster = Cluster::start_with(&MasterOptions::default(), 1, &options).await;
    let api = cluster.api();
    let words = problem(&api).await;
    assert!(words.contains("no answer within 10 s"), "{words}");
    let waiting = api.submit(&shell_task("exit 3")).await.expect("accepted").task_id;
    assert_eq!(api.why(&waiting).await.expect("a reason").reasons[0].code, "worker_unhealthy");
    engine.hang(Hang::Not);
    let task = api.ended(PATIENCE, &waiting).await;
    assert_eq!((task.verdict.clone(), task.attempts.len()), (Some(Verdict::ExitCode { exit_code: 3 }), 1), "{task:?}");
    assert_eq!((engine.done(CREATE), engine.done(START)), (1, 1));
}
