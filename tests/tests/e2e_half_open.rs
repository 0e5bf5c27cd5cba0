//! A link that breaks without a word: no packet comes through, and neither side is told. Both find it out by themselves.
#![allow(missing_docs, clippy::panic, clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::{Duration, Instant};

use cloudai_tests::api::Api;
use cloudai_tests::cluster::{Cluster, shell_task};
use cloudai_tests::master::MasterOptions;
use cloudai_tests::netns::{Cut, Netns};
use cloudai_tests::wait::{PATIENCE, eventually};
use cloudai_tests::witness::Witness;
use cloudai_tests::worker::WorkerOptions;
use shared::task::{TaskState, Verdict};
use shared::worker::WorkerState;

/// Neither side may believe in the connection for longer.
const LIMIT: Duration = Duration::from_secs(30);

/// What the worker says when it notices.
const LOST: &str = "Master connection lost; containers go on";

/// The lines that the master has of a task, whose every line is a number.
async fn lines(api: &Api, id: &str) -> Vec<u32> {
    let log = api.get_bytes(&format!("/api/tasks/{id}/logs?stream=stdout")).await.expect("a log");
    let text = String::from_utf8(log).expect("text");
    text.lines().map(|line| line.parse().expect("a number")).collect()
}

/// The containers of the cluster, by their ids.
async fn containers(cluster: &Cluster) -> Vec<Option<String>> {
    let found = cluster.containers.as_ref().expect("containers").list().await;
    found.into_iter().map(|container| container.id).collect()
}

#[tokio::test]
async fn half_open_connections_are_found_by_both_sides_within_30_s() {
    // All times are those that people have: only the address to listen on is not.
    let options = MasterOptions { reachable: true, ..MasterOptions::default() };
    let mut cluster = Cluster::start_with(&options, 0, &WorkerOptions::default()).await;
    let network = Netns::make();
    let of_worker = WorkerOptions { network: Some(network.network()), ..WorkerOptions::default() };
    cluster.add_worker("worker-1", &of_worker).await;
    let (api, witness) = (cluster.api(), Witness::listen());
    let line = format!(
        "{} trap 'exit 7' USR1; i=0; while :; do i=$((i+1)); echo $i; sleep 0.1; done",
        witness.tell(1, "begins")
    );
    let id = api.submit(&shell_task(&line)).await.expect("accepted").task_id;
    api.said(PATIENCE, &id, "10\n").await;
    let before = containers(&cluster).await;
    let worker = &cluster.workers[0].process;
    assert!(!worker.log().contains(LOST), "it was connected all the time");

    // The wire stays up and every route is there: what is sent is dropped, in both directions, and nothing says so.
    let cut = Instant::now();
    network.cut(Cut::FromWorker);
    network.cut(Cut::ToWorker);
    let by_worker = async {
        eventually(PATIENCE, "the worker notices", || async { worker.log().contains(LOST).then_some(()) }).await;
        cut.elapsed()
    };
    let by_master = async {
        api.worker_is(PATIENCE, "worker-1", WorkerState::Inactive).await;
        cut.elapsed()
    };
    let (by_worker, by_master) = tokio::join!(by_worker, by_master);
    println!("half-open connections: found after {by_worker:.1?} by the worker, after {by_master:.1?} by the master");
    assert!(by_worker < LIMIT && by_master < LIMIT, "{by_worker:?} {by_master:?}");
    // It has closed the session, and not only waited for the end of a lease.
    let closed = "Worker worker-1 marked inactive: its connection is closed (live attempts: 1)";
    assert!(cluster.master.process.log().contains(closed), "the master says why");
    let known = lines(&api, &id).await;

    let mended = Instant::now();
    network.mend(Cut::FromWorker);
    network.mend(Cut::ToWorker);
    api.worker_is(PATIENCE, "worker-1", WorkerState::Active).await;
    println!("connected again {:.1?} after packets flow again", mended.elapsed());
    assert_eq!(containers(&cluster).await, before, "what runs is what ran");
    assert_eq!(api.task(&id).await.expect("the task").state, TaskState::Running);

    cluster.containers.as_ref().expect("containers").signal("USR1").await;
    let task = api.ended(PATIENCE, &id).await;
    assert_eq!((task.verdict.clone(), task.attempts.len()), (Some(Verdict::ExitCode { exit_code: 7 }), 1), "{task:?}");
    assert_eq!(witness.count(1, "begins"), 1);
    let all = lines(&api, &id).await;
    assert!(all.iter().copied().eq(1..=all.len() as u32), "what it wrote meanwhile is there: {all:?}");
    assert!(all.len() > known.len(), "it wrote all the time");
}
