//! Logs go by age, by outcome and by size, and it stays known that they were there.
#![allow(missing_docs, clippy::panic, clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

use cloudai_tests::api::Api;
use cloudai_tests::cluster::{Cluster, shell_task};
use cloudai_tests::master::MasterOptions;
use cloudai_tests::wait::{PATIENCE, eventually};
use cloudai_tests::worker::WorkerOptions;
use reqwest::Method;
use shared::task::TaskState;

async fn start(settings: &[(&str, &str)]) -> Cluster {
    let env = settings.iter().map(|(name, value)| (format!("CLOUDAI_TASK_LOGS_{name}"), (*value).to_owned())).collect();
    Cluster::start_with(&MasterOptions { env, ..MasterOptions::default() }, 1, &WorkerOptions::default()).await
}

async fn run(api: &Api, line: &str) -> String {
    let id = api.submit(&shell_task(line)).await.expect("accepted").task_id;
    assert!(api.ended(PATIENCE, &id).await.state.is_final());
    id
}

/// The log, and what is said of it to be gone.
async fn log(api: &Api, id: &str) -> (String, Option<String>) {
    let response = api.request(Method::GET, &format!("/api/tasks/{id}/logs")).send().await.expect("an answer");
    let cut = response.headers().get("cloudai-log-cut").map(|cut| cut.to_str().expect("text").to_owned());
    (response.text().await.expect("a log"), cut)
}

async fn wait_until_gone(api: &Api, id: &str) {
    eventually(PATIENCE, "the log is gone", || async move { log(api, id).await.0.is_empty().then_some(()) }).await;
}

#[tokio::test]
async fn logs_go_by_age_and_outcome() {
    let cluster = start(&[("RETENTION", "1s"), ("FAILED_RETENTION", "never")]).await;
    let api = cluster.api();
    // A log that nobody knows the task of keeps none of the others.
    let orphan = cluster.dir().join("master/data/logs/av");
    std::fs::create_dir_all(&orphan).expect("a directory");
    std::fs::write(orphan.join("task-01arz3ndektsv4rrffq69g5fav.0-1.log"), [0; 100]).expect("a file");
    let failed = run(&api, "echo bad; exit 3").await;
    let running =
        api.submit(&shell_task("echo begun; while true; do sleep 0.1; done")).await.expect("accepted").task_id;
    eventually(PATIENCE, "it writes", || async { (log(&api, &running).await.0 == "begun\n").then_some(()) }).await;
    let completed = run(&api, "echo good; echo err >&2").await;
    wait_until_gone(&api, &completed).await;
    assert_eq!(log(&api, &completed).await.1.as_deref(), Some("stdout=0..5; stderr=0..4"));
    assert_eq!(log(&api, &failed).await, ("bad\n".to_owned(), None), "those who look for the fault find it");
    assert_eq!(log(&api, &running).await, ("begun\n".to_owned(), None), "who has not ended keeps theirs");
    let seen = cluster.ctl().run(&["logs", &completed]).await;
    assert_eq!((seen.stdout.as_str(), seen.code), ("", 0));
    let warning = "5 bytes of stdout and 4 of stderr are not shown: the master has not kept them";
    assert!(seen.stderr.contains(warning), "{}", seen.stderr);
    api.post::<serde_json::Value>(&format!("/api/tasks/{running}/cancel"), &()).await.expect("cancelled");
    assert_eq!(api.ended(PATIENCE, &running).await.state, TaskState::Cancelled);
    wait_until_gone(&api, &running).await;
}

#[tokio::test]
async fn the_oldest_logs_go_when_there_are_too_many() {
    let cluster = start(&[("TOTAL", "100KiB")]).await;
    let api = cluster.api();
    let mut ids = Vec::new();
    for _ in 0..4 {
        ids.push(run(&api, "head -c 40000 /dev/zero").await);
    }
    wait_until_gone(&api, &ids[0]).await;
    wait_until_gone(&api, &ids[1]).await;
    for id in &ids[2..] {
        assert_eq!(log(&api, id).await, ("\0".repeat(40_000), None));
    }
    for id in &ids[..2] {
        assert_eq!(log(&api, id).await.1.as_deref(), Some("stdout=0..40000; stderr=0..0"));
    }
}

#[tokio::test]
async fn many_logs_that_cannot_go_do_not_keep_those_that_can() {
    let cluster = start(&[("TOTAL", "100KiB")]).await;
    let api = cluster.api();
    // Nobody knows their task. They are older than all others, and more than are looked at together.
    let orphans = cluster.dir().join("master/data/logs/av");
    std::fs::create_dir_all(&orphans).expect("a directory");
    for index in 0..10_001 {
        std::fs::write(orphans.join(format!("task-01arz3ndektsv4rrffq69g5fav.{index}-1.log")), [0]).expect("a file");
    }
    let older = run(&api, "head -c 80000 /dev/zero").await;
    let newer = run(&api, "head -c 40000 /dev/zero").await;
    wait_until_gone(&api, &older).await;
    assert_eq!(log(&api, &newer).await, ("\0".repeat(40_000), None));
}
