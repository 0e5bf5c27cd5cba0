//! A task that has asked for it stands still while its log waits for the master; others never do.
#![allow(missing_docs, clippy::panic, clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

use bollard::models::ContainerSummaryStateEnum as State;
use cloudai_tests::cluster::{Cluster, shell_task};
use cloudai_tests::docker::Containers;
use cloudai_tests::wait::{PATIENCE, eventually};
use rustix::process::Signal;
use shared::submit::SubmitRequest;
use shared::task::{TaskState, Verdict};

const LINES: usize = 60_000;

/// Far more than what may be on its way, all the time.
fn writing(blocking: bool) -> SubmitRequest {
    let line = format!(
        "p=$(head -c 200 /dev/zero | tr '\\0' p); i=0; while [ $i -lt {LINES} ]; do echo $i $p; i=$((i+1)); done"
    );
    SubmitRequest { blocking_log: blocking.then_some(true), ..shell_task(&line) }
}

async fn state_of(containers: &Containers, task: &str) -> Option<State> {
    let name = task.trim_start_matches("task-");
    let is_its = |names: &[String]| names.iter().any(|other| other.contains(name));
    let list = containers.list().await;
    list.into_iter().find(|container| container.names.as_deref().is_some_and(is_its))?.state
}

async fn check(cluster: &Cluster, id: &str) {
    let ended = cluster.api().ended(PATIENCE * 2, id).await;
    assert_eq!((ended.verdict.clone(), ended.attempts.len()), (Some(Verdict::Success), 1), "{ended:?}");
    let log = cluster.api().get_bytes(&format!("/api/tasks/{id}/logs?stream=stdout")).await.expect("a log");
    let pad = "p".repeat(200);
    let expected: String = (0..LINES).map(|number| format!("{number} {pad}\n")).collect();
    assert!(log == expected.as_bytes(), "{} of {} bytes", log.len(), expected.len());
}

#[tokio::test]
async fn who_has_asked_for_it_waits_for_the_master_and_for_its_worker() {
    let mut cluster = Cluster::start(1).await;
    let api = cluster.api();
    let containers = Containers::of(api.status().await.expect("a status").cluster_id);
    let held = api.submit(&writing(true)).await.expect("accepted").task_id;
    let free = api.submit(&writing(false)).await.expect("accepted").task_id;
    for id in [&held, &free] {
        eventually(PATIENCE, "it runs", || async {
            api.task(id).await.ok().filter(|task| task.state == TaskState::Running)
        })
        .await;
    }
    // A master that does not take anything.
    cluster.master.process.signal(Signal::STOP);
    eventually(PATIENCE, "it stands still", || async {
        (state_of(&containers, &held).await == Some(State::PAUSED)).then_some(())
    })
    .await;
    assert_ne!(state_of(&containers, &free).await, Some(State::PAUSED), "nobody else waits for a log");
    // Whoever comes after the worker that has frozen it lets it go on.
    cluster.workers[0].kill9();
    assert_eq!(state_of(&containers, &held).await, Some(State::PAUSED));
    cluster.master.process.signal(Signal::CONT);
    cluster.workers[0].restart();
    check(&cluster, &held).await;
    check(&cluster, &free).await;
}

#[tokio::test]
async fn who_stands_still_can_be_stopped() {
    let cluster = Cluster::start(1).await;
    let api = cluster.api();
    let containers = Containers::of(api.status().await.expect("a status").cluster_id);
    let task = SubmitRequest { time_limit: Some("6s".parse().expect("a time")), ..writing(true) };
    let id = api.submit(&task).await.expect("accepted").task_id;
    eventually(PATIENCE, "it runs", || async {
        api.task(&id).await.ok().filter(|task| task.state == TaskState::Running)
    })
    .await;
    cluster.master.process.signal(Signal::STOP);
    eventually(PATIENCE, "it stands still", || async {
        (state_of(&containers, &id).await == Some(State::PAUSED)).then_some(())
    })
    .await;
    // The worker ends it when its time is over, whatever the master does.
    eventually(PATIENCE, "it is stopped", || async {
        (state_of(&containers, &id).await == Some(State::EXITED)).then_some(())
    })
    .await;
    cluster.master.process.signal(Signal::CONT);
    let verdict = api.ended(PATIENCE, &id).await.verdict;
    assert!(matches!(verdict, Some(Verdict::Timeout { limit_seconds: 6, .. })), "{verdict:?}");
}
