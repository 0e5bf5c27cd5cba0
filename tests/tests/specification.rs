//! Every command of the specification, in its own words, through the shell and as subcommands: on two simulated machines
//! with 8 cores and a GPU.
#![allow(missing_docs, clippy::panic, clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::time::Duration;

use cloudai_tests::ctl::Ctl;
use cloudai_tests::embedded::Embedded;
use cloudai_tests::specification::{Places, filled, lines};
use cloudaid::config::CapacityOverrides;
use cloudaid::runtime::fake::{Behaviour, FakeRuntime};
use shared::link::LogStream;
use shared::resources::GIB;

const MACHINE: CapacityOverrides = CapacityOverrides {
    cpu_millis: Some(8_000),
    memory_bytes: Some(16 * GIB),
    storage_bytes: Some(100 * GIB),
    gpu_millis: Some(1_000),
};

/// Images do what their names promise: they print, take a moment, and leave a file.
async fn cluster() -> Embedded {
    let engine = FakeRuntime::with(|spec| {
        let text = format!("{} has run\n", spec.image);
        let moment = Duration::from_millis(300);
        Behaviour::exit(0).after(moment).printing(LogStream::Stdout, text.clone()).writing("result.txt", text)
    });
    Embedded::start(2, &Arc::new(engine), MACHINE).await
}

/// What stands for the placeholders; the task is one that was submitted before.
async fn places(ctl: &Ctl, dir: &str) -> Places {
    let task = ctl.run(&["task", "docker.io/username/sample-task:latest", "-o", "quiet"]).await.ok();
    Places {
        task: task.trim().to_owned(),
        worker: "worker-1".to_owned(),
        image: "docker.io/username/sample-task:latest".to_owned(),
        user: "admin".to_owned(),
        dir: dir.to_owned(),
    }
}

/// What the examples of the specification show stands in the answer, word for word.
fn check(output: &str) {
    for words in [
        "╔═══ Cluster Status ═══",
        "║ Total Workers: 2",
        "║ Active Workers: 2",
        "║ Running Tasks: ",
        "╔═══ Registered Workers ═══",
        "║ worker-1\n║   Status: 🟢 Active\n║   IP: ",
        "║   Resources: CPU=8.0, Memory=16.0GB, GPU=1.0",
        "║   Running Tasks: ",
        "submitted successfully",
        "docker.io/username/sample-task:latest has run",
        "result.txt",
        "✓ Downloaded 1 file",
        "round-robin",
        "✓ Nothing to repair",
    ] {
        assert!(output.contains(words), "{words:?} is not in\n{output}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_command_through_the_shell() {
    let cluster = cluster().await;
    let ctl = cluster.ctl();
    let script = filled(&places(&ctl, "through-the-shell").await).join("\n");
    assert!(script.ends_with("\nexit"), "{script}");
    std::fs::write(ctl.dir().join("script"), format!("{script}\nnever reached\n")).expect("written");
    let run = ctl.shell("cloudctl shell < script").await;
    assert_eq!(run.code, 0, "{run:?}");
    check(&run.stdout);
    let file = ctl.dir().join("through-the-shell/result.txt");
    assert_eq!(std::fs::read_to_string(file).expect("it is there"), "docker.io/username/sample-task:latest has run\n");
    // `exit` left the shell; the master goes on.
    assert_eq!(cluster.api().status().await.expect("a status").total_workers, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_command_as_a_subcommand() {
    let cluster = cluster().await;
    let ctl = cluster.ctl();
    let mut output = String::new();
    for line in filled(&places(&ctl, "as-subcommands").await) {
        // It stops the master, and asks first.
        let line = if line == "exit" { "exit --yes".to_owned() } else { line };
        let run = ctl.shell(&format!("cloudctl {line}")).await;
        assert_eq!(run.code, 0, "{line}: {run:?}");
        output.push_str(&run.stdout);
    }
    check(&output);
    assert!(output.contains("✓ The master st"), "{output}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_tasks_of_the_specification_get_what_they_ask_for() {
    let cluster = cluster().await;
    let (api, ctl) = (cluster.api(), cluster.ctl());
    let tasks = lines().into_iter().filter(|line| line.contains("username/") || line.contains("ubuntu"));
    let mut asked = Vec::new();
    for line in tasks {
        let id = ctl.shell(&format!("cloudctl {line} -o quiet")).await.ok();
        let task = api.task(id.trim()).await.expect("a task");
        let resources = task.resources;
        asked.push((task.name, resources.cpu_millis, resources.memory_bytes / (GIB / 2), resources.gpu_millis));
        api.ended(Duration::from_secs(30), id.trim()).await;
    }
    let ml = Some("ml-training".to_owned());
    assert_eq!(asked, [(None, 1000, 1, 0), (ml, 4000, 16, 1000), (None, 2000, 8, 0)]);
}
