//! Every command of the specification that a machine without a GPU can run, with real containers: images have the names
//! that the specification gives them.
#![allow(missing_docs, clippy::panic, clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use cloudai_tests::cluster::Cluster;
use cloudai_tests::docker::{image, tag};
use cloudai_tests::master::MasterOptions;
use cloudai_tests::specification::{Places, filled};
use cloudai_tests::worker::WorkerOptions;
use shared::task::TaskState;

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn every_command_with_real_containers() {
    for name in ["username/sample-task", "username/gpu-task", "ubuntu"] {
        tag(&image(), name, "latest").await;
    }
    let large = WorkerOptions { cpu: "8".to_owned(), memory: "16GiB".to_owned(), ..WorkerOptions::default() };
    let cluster = Cluster::start_with(&MasterOptions::default(), 2, &large).await;
    let (api, ctl) = (cluster.api(), cluster.ctl());
    let line = "echo made > /output/result.txt; echo has run; exec sleep 0.5";
    let task = ctl.run(&["task", "username/sample-task:latest", "-o", "quiet", "--", "sh", "-c", line]).await.ok();
    let places = Places {
        task: task.trim().to_owned(),
        worker: "worker-1".to_owned(),
        image: "docker.io/username/sample-task:latest".to_owned(),
        user: "admin".to_owned(),
        dir: "output".to_owned(),
    };
    std::fs::write(ctl.dir().join("script"), filled(&places).join("\n")).expect("written");
    let run = ctl.shell("cloudctl shell < script").await;
    assert_eq!(run.code, 0, "{run:?}");
    for words in [
        "║ Total Workers: 2",
        "║   Status: 🟢 Active",
        "has run",
        "result.txt",
        "✓ Downloaded 1 file",
        "✓ Nothing to repair",
    ] {
        assert!(run.stdout.contains(words), "{words:?} is not in {run:?}");
    }
    assert_eq!(std::fs::read_to_string(ctl.dir().join("output/result.txt")).expect("it is there"), "made\n");

    // What needs a GPU waits, and says for what; everything else has run.
    let tasks = ctl.run(&["list-tasks", "--all", "-o", "quiet"]).await.ok();
    let (mut ended, mut waiting) = (0, 0);
    for id in tasks.lines() {
        let task = api.task(id).await.expect("a task");
        if task.resources.gpu_millis > 0 {
            let why = ctl.run(&["why", id]).await.ok();
            assert!(why.contains("GPU"), "{why}");
            waiting += 1;
        } else {
            assert_eq!(api.ended(MINUTE, id).await.state, TaskState::Completed, "{id}");
            ended += 1;
        }
    }
    assert_eq!((ended, waiting), (5, 1), "{tasks}");
}
