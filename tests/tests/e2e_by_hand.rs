//! Somebody stops containers, or starts them again, at the engine and past the worker: it is told.
#![allow(missing_docs, clippy::panic, clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

use cloudai_tests::api::Api;
use cloudai_tests::cluster::{Cluster, shell_task};
use cloudai_tests::wait::PATIENCE;
use shared::submit::SubmitRequest;
use shared::task::Verdict;
use shared::view::TaskView;

/// What runs for the first time says so and waits for TERM, on which it ends with 3; the second time it does this.
fn twice(then: &str) -> SubmitRequest {
    shell_task(&format!(
        "echo run >> /output/runs; runs=$(wc -l < /output/runs); echo run $runs; if [ $runs -gt 1 ]; then {then}; fi; \
         trap 'exit 3' TERM; echo ready; while :; do sleep 0.1; done"
    ))
}

async fn ready(api: &Api, task: &SubmitRequest) -> String {
    let id = api.submit(task).await.expect("accepted").task_id;
    api.said(PATIENCE, &id, "ready").await;
    id
}

async fn log(api: &Api, id: &str) -> String {
    let log = api.get_bytes(&format!("/api/tasks/{id}/logs?stream=stdout")).await.expect("a log");
    String::from_utf8_lossy(&log).into_owned()
}

fn is_noted(task: &TaskView, words: &str) -> bool {
    task.output_notes.iter().any(|note| note.contains(words))
}

#[tokio::test]
async fn what_was_stopped_by_hand_says_so_whatever_it_ended_with() {
    let cluster = Cluster::start(1).await;
    let api = cluster.api();
    for (code, verdict) in [(0, Verdict::Success), (5, Verdict::ExitCode { exit_code: 5 })] {
        let line = format!("trap 'exit {code}' TERM; echo ready; while :; do sleep 0.1; done");
        let id = ready(&api, &shell_task(&line)).await;
        cluster.containers.as_ref().expect("containers").stop().await;
        let task = api.ended(PATIENCE, &id).await;
        assert_eq!(task.verdict.as_ref(), Some(&verdict), "{task:?}");
        assert!(is_noted(&task, "stopped by hand"), "{task:?}");
        // Who ends by itself was not.
        let id = api.submit(&shell_task(&format!("exit {code}"))).await.expect("accepted").task_id;
        let task = api.ended(PATIENCE, &id).await;
        assert_eq!(task.verdict.as_ref(), Some(&verdict), "{task:?}");
        assert_eq!(task.output_notes, Vec::<String>::new());
    }
}

#[tokio::test]
async fn what_was_started_again_by_hand_goes_on_with_its_log_and_says_so() {
    let cluster = Cluster::start(1).await;
    let api = cluster.api();
    let id = ready(&api, &twice("sleep 2; echo last; exit 7")).await;
    cluster.containers.as_ref().expect("containers").restart().await;
    let task = api.ended(PATIENCE, &id).await;
    assert_eq!((task.verdict.clone(), task.attempts.len()), (Some(Verdict::ExitCode { exit_code: 7 }), 1), "{task:?}");
    assert!(is_noted(&task, "started again by hand"), "{task:?}");
    assert_eq!(log(&api, &id).await, "run 1\nready\nrun 2\nlast\n");
}

#[tokio::test]
async fn what_may_run_once_at_most_is_stopped_when_somebody_starts_it_again() {
    let cluster = Cluster::start(1).await;
    let api = cluster.api();
    let once = SubmitRequest { at_most_once: Some(true), ..twice("exec sleep 600") };
    let id = ready(&api, &once).await;
    cluster.containers.as_ref().expect("containers").restart().await;
    let task = api.ended(PATIENCE, &id).await;
    assert_eq!((task.verdict.clone(), task.attempts.len()), (Some(Verdict::ExitCode { exit_code: 3 }), 1), "{task:?}");
    assert!(is_noted(&task, "may run once at most"), "{task:?}");
}
