//! `fix-resources`: the books of the master are compared with what the engine really has.
#![allow(missing_docs, clippy::panic, clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

use cloudai_tests::cluster::{Cluster, shell_task};
use cloudai_tests::docker::{exists, plant, remove};
use cloudai_tests::wait::{PATIENCE, eventually};
use shared::task::TaskState;
use shared::view::RepairView;

async fn repaired(cluster: &Cluster) -> RepairView {
    let json = cluster.ctl().run(&["fix-resources", "-o", "json"]).await.ok();
    serde_json::from_str(&json).expect("a report")
}

/// A task whose container runs.
async fn running(cluster: &Cluster) -> (String, String) {
    let api = cluster.api();
    let task = api.submit(&shell_task("exec sleep 600")).await.expect("accepted").task_id;
    let containers = cluster.containers.as_ref().expect("a worker");
    let container = eventually(PATIENCE, "its container runs", || async {
        let is_running = api.task(&task).await.ok()?.state == TaskState::Running;
        let all = containers.list().await;
        let own = all
            .into_iter()
            .find(|container| container.labels.as_ref().and_then(|labels| labels.get("cloudai.task")) == Some(&task));
        own.and_then(|container| container.id).filter(|_| is_running)
    })
    .await;
    (task, container)
}

#[tokio::test]
async fn a_container_of_no_run_is_removed_and_only_that_one() {
    let cluster = Cluster::start(1).await;
    let (task, container) = running(&cluster).await;
    let id = cluster.api().status().await.expect("a status").cluster_id;
    let labels = |task, cluster| {
        [
            ("cloudai.cluster", cluster),
            ("cloudai.worker", "worker-1"),
            ("cloudai.task", task),
            ("cloudai.index", "0"),
            ("cloudai.attempt", "1"),
            ("cloudai.fence", "1"),
        ]
    };
    let orphan_task = "task-01arz3ndektsv4rrffq69g5fav";
    let orphan = plant(&labels(orphan_task, &id)).await;
    let of_another_cluster = plant(&labels(orphan_task, "01arz3ndektsv4rrffq69g5fav")).await;
    let of_nobody = plant(&[]).await;

    let report = repaired(&cluster).await;
    let worker = &report.workers[0];
    assert_eq!((worker.live_attempts, worker.containers, report.repaired), (1, 2, 1), "{report:?}");
    let named: Vec<_> = worker.orphans.iter().map(|run| (run.element_id.as_str(), run.attempt)).collect();
    assert_eq!(named, [(format!("{orphan_task}.0").as_str(), 1)], "{report:?}");
    assert!(report.differences.is_empty() && worker.missing.is_empty(), "{report:?}");

    assert!(!exists(&orphan).await, "what was reported as removed is gone");
    for other in [&container, &of_another_cluster, &of_nobody] {
        assert!(exists(other).await, "{other} is none of its business");
    }
    remove(&of_another_cluster).await;
    remove(&of_nobody).await;
    assert_eq!(cluster.api().task(&task).await.expect("a task").state, TaskState::Running);
    assert_eq!(repaired(&cluster).await.repaired, 0, "once is enough");
}

#[tokio::test]
async fn a_run_whose_container_is_gone_is_ended_and_run_again() {
    let cluster = Cluster::start(1).await;
    let mut found = false;
    // The worker itself may be the first to see that a container is gone: that is as well, and tried again.
    for _ in 0..10 {
        let (task, container) = running(&cluster).await;
        remove(&container).await;
        let report = repaired(&cluster).await;
        let missing = &report.workers[0].missing;
        found = missing.iter().any(|run| run.element_id == format!("{task}.0") && run.attempt == 1);

        let api = cluster.api();
        let again = eventually(PATIENCE, "it runs again", || async {
            let view = api.task(&task).await.ok()?;
            (view.state == TaskState::Running && view.attempts.len() == 2).then_some(view)
        })
        .await;
        let first = again.attempts[0].verdict.as_ref().map(ToString::to_string).unwrap_or_default();
        assert!(first.starts_with("worker lost"), "{first}");
        // Nothing stays reserved for the run that is gone.
        let allocated = api.status().await.expect("a status").allocated;
        assert_eq!(allocated.cpu_millis, 100, "{allocated:?}");
        cluster.ctl().run(&["cancel", &task]).await.ok();
        api.ended(PATIENCE, &task).await;
        if found {
            break;
        }
    }
    assert!(found, "fix-resources never found the missing container");
    assert_eq!(repaired(&cluster).await.repaired, 0);
}
