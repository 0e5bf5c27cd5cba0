//! A worker dies before and after each step of its journal and each call to the engine, a master before and after each
//! commit: every task ends once, every container runs once.
#![allow(missing_docs, clippy::panic, clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use cloudai_tests::cluster::{Cluster, shell_task};
use cloudai_tests::master::MasterOptions;
use cloudai_tests::mongo::Mongo;
use cloudai_tests::process::Process;
use cloudai_tests::wait::{PATIENCE, eventually};
use cloudai_tests::worker::WorkerOptions;
use shared::task::Verdict;

const POINTS: [&str; 13] = [
    "docker.create.before",
    "docker.create.after",
    "docker.start.before",
    "docker.start.after",
    "docker.wait.before",
    "docker.wait.after",
    "docker.remove.before",
    "docker.remove.after",
    "worker.journal.before",
    "worker.journal.after",
    "worker.journal.after=abort@2",
    "worker.journal.before=abort@3",
    "worker.journal.after=abort@4",
];

fn set_failpoint(process: &mut Process, point: Option<&str>) {
    let env = &mut process.recipe_mut().env;
    env.retain(|(name, _)| name != "CLOUDAI_FAILPOINTS");
    env.extend(point.map(|point| {
        let setting = if point.contains('=') { point.to_owned() } else { format!("{point}=abort") };
        ("CLOUDAI_FAILPOINTS".to_owned(), setting)
    }));
}

async fn died(process: &mut Process) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while process.exit_status().is_none() {
        assert!(tokio::time::Instant::now() < deadline, "it did not reach the point");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    process.kill9();
}

#[tokio::test]
async fn a_worker_may_die_at_any_step() {
    let mut cluster = Cluster::start(1).await;
    let api = cluster.api();
    for point in POINTS {
        cluster.workers[0].kill9();
        set_failpoint(&mut cluster.workers[0].process, Some(point));
        cluster.workers[0].restart();
        let line = "echo start >> /output/witness; echo said; sleep 0.3; echo end >> /output/witness";
        let task = api.submit(&shell_task(line)).await.expect("accepted").task_id;
        died(&mut cluster.workers[0].process).await;
        set_failpoint(&mut cluster.workers[0].process, None);
        cluster.workers[0].restart();
        let ended = api.ended(PATIENCE, &task).await;
        assert_eq!((ended.verdict, ended.attempts.len()), (Some(Verdict::Success), 1), "{point}");
        let seen = api.get_bytes(&format!("/api/files/{task}/witness")).await.expect("the witness");
        assert_eq!(String::from_utf8_lossy(&seen), "start\nend\n", "{point}: it ran once");
        let log = api.get_bytes(&format!("/api/tasks/{task}/logs?stream=stdout")).await.expect("a log");
        assert_eq!(String::from_utf8_lossy(&log), "said\n", "{point}");
        let containers = cluster.containers.as_ref().expect("containers");
        eventually(PATIENCE, point, || async { containers.list().await.is_empty().then_some(()) }).await;
    }
}

#[tokio::test]
async fn a_worker_may_die_while_it_stops_a_container() {
    let mut cluster = Cluster::start(1).await;
    let api = cluster.api();
    for point in ["docker.signal.before", "docker.signal.after"] {
        cluster.workers[0].kill9();
        set_failpoint(&mut cluster.workers[0].process, Some(point));
        cluster.workers[0].restart();
        let line = "echo start >> /output/witness; sleep 600";
        let task = api.submit(&shell_task(line)).await.expect("accepted").task_id;
        eventually(PATIENCE, "it runs", || async {
            api.task(&task).await.ok().filter(|task| task.state == shared::task::TaskState::Running)
        })
        .await;
        let _view: shared::view::CancelView =
            api.post(&format!("/api/tasks/{task}/cancel"), &serde_json::json!({})).await.expect("accepted");
        died(&mut cluster.workers[0].process).await;
        set_failpoint(&mut cluster.workers[0].process, None);
        cluster.workers[0].restart();
        let ended = api.ended(PATIENCE, &task).await;
        assert_eq!((ended.verdict, ended.attempts.len()), (Some(Verdict::Cancelled), 1), "{point}");
        let seen = api.get_bytes(&format!("/api/files/{task}/witness")).await.expect("the witness");
        assert_eq!(String::from_utf8_lossy(&seen), "start\n", "{point}: it ran once");
    }
}

#[tokio::test]
async fn a_master_may_die_around_every_commit_of_a_tasks_life() {
    die_in_a_tasks_life(&MasterOptions::default(), &["store.commit.before", "store.commit.after"]).await;
}

#[tokio::test]
async fn a_master_on_mongodb_may_die_around_every_commit_and_between_any_two_writes() {
    let dir = tempfile::tempdir().expect("a directory");
    let mongo = Mongo::start(dir.path()).await;
    let points =
        ["store.commit.before", "store.commit.after", "store.show.tasks", "store.show.new", "store.show.changed"];
    die_in_a_tasks_life(&MasterOptions::on_mongo(&mongo.uri("crashes")), &points).await;
}

async fn die_in_a_tasks_life(options: &MasterOptions, points: &[&str]) {
    let mut cluster = Cluster::start_with(options, 1, &WorkerOptions::default()).await;
    let api = cluster.api();
    for commit in 1..=6 {
        for (place, point) in points.iter().enumerate() {
            // Between writes of a commit, every other one: no two are the same.
            if point.starts_with("store.show.") && (commit + place) % 2 == 0 {
                continue;
            }
            let line = "echo start >> /output/witness; echo said; sleep 0.3; echo end >> /output/witness";
            let key = format!("{commit}-{point}");
            cluster.master.kill9();
            set_failpoint(&mut cluster.master.process, Some(&format!("{point}=abort@{commit}")));
            cluster.master.process.start_again();
            // It dies now, or in a later step of the task, or has nothing more to commit; the client tries again.
            let id = loop {
                if cluster.master.process.exit_status().is_some() {
                    cluster.master.kill9();
                    set_failpoint(&mut cluster.master.process, None);
                    cluster.master.restart().await;
                }
                match api.submit_with_key(&key, &shell_task(line)).await {
                    Ok(view) => break view.task_id,
                    Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                }
            };
            let ended = loop {
                if cluster.master.process.exit_status().is_some() {
                    cluster.master.kill9();
                    set_failpoint(&mut cluster.master.process, None);
                    cluster.master.restart().await;
                }
                match api.task(&id).await {
                    Ok(task) if task.state.is_final() => break task,
                    Ok(_) | Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                }
            };
            assert_eq!((ended.verdict, ended.attempts.len()), (Some(Verdict::Success), 1), "{key}");
            let seen =
                eventually(PATIENCE, &key, || async { api.get_bytes(&format!("/api/files/{id}/witness")).await.ok() })
                    .await;
            assert_eq!(String::from_utf8_lossy(&seen), "start\nend\n", "{key}: it ran once");
        }
    }
}
