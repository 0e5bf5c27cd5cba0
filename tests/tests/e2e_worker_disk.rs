//! The disk of a worker fails while runs are under way: they go on, and nothing is said that may be forgotten.
#![allow(missing_docs, clippy::panic, clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use cloudai_tests::cluster::{Cluster, shell_task, until_told};
use cloudai_tests::engine::Engine;
use cloudai_tests::wait::{PATIENCE, eventually};
use cloudai_tests::worker::WorkerOptions;
use cloudaid::worker::bad_disk::BadDisk;
use shared::submit::SubmitRequest;
use shared::task::{TaskState, Verdict};
use shared::worker::WorkerState;
use tempfile::TempDir;

const NAME: &str = "worker-1";
/// A worker that is silent for so long is suspect.
const SUSPECT: Duration = Duration::from_secs(15);

/// In this order: what is dropped last is needed longest.
struct World {
    engine: Engine,
    disk: BadDisk,
    cluster: Cluster,
    _dir: TempDir,
}

/// None where no disk can be made to fail.
async fn world() -> Option<World> {
    let mut cluster = Cluster::start(0).await;
    let Some(disk) = BadDisk::for_worker(&cluster.dir().join(NAME)).expect("a disk") else {
        eprintln!("no disk can be made to fail here: that takes root and loop devices");
        return None;
    };
    let dir = tempfile::tempdir().expect("a directory");
    // It is to see the disk.
    let engine = Engine::start(&dir.path().join("engine"), false).await;
    let options = WorkerOptions { docker_host: Some(engine.host()), ..WorkerOptions::default() };
    cluster.add_worker(NAME, &options).await;
    Some(World { engine, disk, cluster, _dir: dir })
}

impl World {
    async fn submit(&self, task: SubmitRequest) -> String {
        self.cluster.api().submit(&task).await.expect("accepted").task_id
    }

    /// Submits what says that it is ready, and waits until it does.
    async fn runs(&self, task: SubmitRequest) -> String {
        let id = self.submit(task).await;
        self.cluster.api().said(PATIENCE, &id, "ready").await;
        id
    }

    /// Waits until the worker says why it takes nothing, with this beginning.
    async fn tells(&self, begin: &str) -> String {
        let api = self.cluster.api();
        eventually(PATIENCE, &format!("the worker says: {begin}"), || async {
            let worker = api.workers().await.ok()?.into_iter().next()?;
            assert_eq!(worker.state, WorkerState::Active, "{worker:?}");
            worker.problem.filter(|problem| problem.starts_with(begin))
        })
        .await
    }

    async fn is_not_over(&self, id: &str) {
        let task = self.cluster.api().task(id).await.expect("the task");
        assert!(!task.state.is_final() && task.attempts.len() == 1, "{task:?}");
    }

    /// It came to this end of its own, in its first run.
    async fn ends_with(&self, id: &str, exit_code: i32) {
        let task = self.cluster.api().ended(PATIENCE, id).await;
        assert_eq!((task.verdict.clone(), task.attempts.len()), (Some(Verdict::ExitCode { exit_code }), 1), "{task:?}");
    }

    async fn waits_for_a_worker(&self, id: &str) {
        let api = self.cluster.api();
        assert_eq!(api.why(id).await.expect("a reason").reasons[0].code, "worker_unhealthy");
        assert_eq!(api.task(id).await.expect("the task").state, TaskState::Queued);
    }
}

#[tokio::test]
async fn what_a_disk_does_not_take_is_said_when_it_does_and_the_worker_goes_on() {
    let Some(mut world) = world().await else { return };
    // What is to be remembered of it takes more than what is left in the last block of a file.
    let env = || BTreeMap::from([("V".to_owned(), "x".repeat(30_000))]);
    let running = world.runs(SubmitRequest { env: env(), ..until_told(7) }).await;
    world.disk.starve().expect("it starves");
    let large = world.submit(SubmitRequest { env: env(), ..shell_task("exit 3") }).await;
    // That it fails, or that it is full: kernels differ.
    world.tells("its disk ").await;
    let begin = Instant::now();
    world.engine.signal("USR1").await;
    let waiting = world.submit(shell_task("exit 4")).await;
    world.waits_for_a_worker(&waiting).await;
    while begin.elapsed() < SUSPECT {
        world.tells("its disk ").await;
        world.is_not_over(&running).await;
        world.is_not_over(&large).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    world.cluster.workers[0].process.assert_runs();
    world.disk.feed().expect("it is fed");
    world.ends_with(&running, 7).await;
    world.ends_with(&large, 3).await;
    world.ends_with(&waiting, 4).await;
}

#[tokio::test]
async fn a_disk_that_has_become_read_only_ends_nothing_and_a_worker_on_a_good_one_finds_all_of_it() {
    let Some(mut world) = world().await else { return };
    let ends = world.runs(until_told(7)).await;
    let stays = "trap '' USR1; trap 'exit 9' USR2; echo ready; while :; do sleep 0.1; done";
    let stays = world.runs(shell_task(stays)).await;
    world.disk.fail().expect("it has failed");
    // Before anything has to be written.
    let problem = world.tells("nothing can be written in ").await;
    assert!(problem.contains("Read-only file system (os error 30)"), "{problem}");
    let waiting = world.submit(shell_task("exit 4")).await;
    world.waits_for_a_worker(&waiting).await;
    world.engine.signal("USR1").await;
    let problem = world.tells("its disk fails, and ").await;
    assert!(problem.contains("Read-only file system (os error 30)"), "{problem}");
    for id in [&ends, &stays] {
        world.is_not_over(id).await;
    }
    world.cluster.workers[0].process.assert_runs();

    world.cluster.workers[0].kill9();
    world.cluster.workers[0].restart();
    let ended = world.cluster.workers[0].process.ended().await;
    assert_eq!(ended.code(), Some(1), "nothing can be remembered there");
    world.disk.replace().expect("it is replaced");
    world.cluster.workers[0].restart();
    world.ends_with(&ends, 7).await;
    world.ends_with(&waiting, 4).await;
    world.is_not_over(&stays).await;
    world.engine.signal("USR2").await;
    world.ends_with(&stays, 9).await;
}
