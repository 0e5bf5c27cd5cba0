//! Tasks that ask for labels of their workers: a master as a process, and workers with labels on a fake engine.
#![allow(missing_docs, clippy::panic, clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use cloudai_tests::api::Failure;
use cloudai_tests::ctl::Ctl;
use cloudai_tests::embedded::{AMPLE, worker_config};
use cloudai_tests::master::{Master, MasterOptions};
use cloudai_tests::wait::{PATIENCE, eventually};
use cloudaid::runtime::fake::{Behaviour, FakeRuntime};
use cloudaid::worker::run_with;
use serde_json::{Value, json};
use shared::submit::SubmitRequest;
use shared::task::{TaskState, Verdict};
use shared::view::{DryRunView, Fit, SubmitView, WorkerView};
use shared::worker::WorkerState;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Of the image `long`, until it is stopped; of any other, not at all.
fn engine() -> Arc<FakeRuntime> {
    Arc::new(FakeRuntime::with(
        |spec| if spec.image.contains("long") { Behaviour::endless() } else { Behaviour::exit(0) },
    ))
}

/// A worker that can be stopped, and started again with other labels; its containers go on meanwhile.
struct Worker {
    number: usize,
    directory: PathBuf,
    join: String,
    engine: Arc<FakeRuntime>,
    running: Option<(CancellationToken, JoinHandle<()>)>,
}

impl Worker {
    async fn new(master: &Master, directory: &Path, number: usize) -> Self {
        let join = master.api().join_token().await;
        Self { number, directory: directory.to_owned(), join, engine: engine(), running: None }
    }

    async fn run_as(&mut self, master: &Master, labels: &[(&str, &str)]) {
        if let Some((stop, ended)) = self.running.take() {
            stop.cancel();
            ended.await.expect("the worker ends");
        }
        let grpc = master.grpc_address();
        let mut config = worker_config(&self.directory, self.number, grpc, &self.join, AMPLE);
        config.labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let (name, wanted) = (config.name.clone(), config.labels.clone());
        let (stop, engine) = (CancellationToken::new(), Arc::clone(&self.engine));
        let token = stop.clone();
        let ended = tokio::spawn(async move { run_with(engine, config, token).await.expect("the worker ends well") });
        self.running = Some((stop, ended));
        let api = master.api();
        eventually(PATIENCE, "it is there with these labels", || async {
            let workers = api.workers().await.ok()?;
            let is_it = |worker: &WorkerView| worker.worker_id == name && worker.labels == wanted;
            workers.into_iter().find(|worker| is_it(worker) && worker.state == WorkerState::Active).map(drop)
        })
        .await;
    }
}

fn asking(image: &str, wishes: &[&str]) -> SubmitRequest {
    let worker_labels = wishes.iter().map(|wish| wish.parse().expect("a wish")).collect();
    SubmitRequest { image: image.to_owned(), worker_labels, ..SubmitRequest::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_goes_where_the_labels_are_that_it_asks_for() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut master = Master::start(&directory.path().join("master"), &MasterOptions::default()).await;
    let api = master.api();
    let ctl = Ctl::new(directory.path().join("ctl"), master.url(), master.token().to_owned());
    let mut first = Worker::new(&master, directory.path(), 1).await;
    first.run_as(&master, &[("disk", "hdd"), ("zone", "a")]).await;
    let mut second = Worker::new(&master, directory.path(), 2).await;
    second.run_as(&master, &[("disk", "ssd")]).await;
    for (wishes, worker) in [
        (&["disk=ssd"][..], "worker-2"),
        (&["disk!=ssd"][..], "worker-1"),
        (&["zone"][..], "worker-1"),
        (&["disk", "zone!=a"][..], "worker-2"),
    ] {
        let task = SubmitRequest { count: Some(3), ..asking("short", wishes) };
        let id = api.submit(&task).await.expect("accepted").task_id;
        let whole = api.ended(PATIENCE, &id).await;
        assert_eq!((whole.state, whole.worker_labels.wishes().count()), (TaskState::Completed, wishes.len()));
        for index in 0..3 {
            let element = api.task(&format!("{id}.{index}")).await.expect("an element");
            assert_eq!(element.worker_id.as_ref().map(ToString::to_string).as_deref(), Some(worker), "{wishes:?}");
        }
    }

    // What runs goes on when its worker comes back with other labels, and what has waited for these begins.
    let runs = api.submit(&asking("long", &["disk=hdd"])).await.expect("accepted").task_id;
    eventually(PATIENCE, "it runs", || async {
        api.task(&runs).await.ok().filter(|task| task.state == TaskState::Running)
    })
    .await;
    let waits: SubmitView = api.submit(&asking("short", &["disk=nvme"])).await.expect("accepted");
    let nobody = "no worker has the label disk=nvme";
    assert_eq!(waits.warnings, [format!("can never run on the present workers: {nobody}")]);
    let why = api.why(&waits.task_id).await.expect("a reason");
    assert_eq!((why.reasons[0].code.as_str(), why.reasons[0].message.as_str()), ("other_labels", nobody));
    let shown = ctl.run(&["why", &waits.task_id]).await.ok();
    assert!(shown.contains(nobody) && shown.contains("cloudaid worker --label"), "{shown}");
    let shown = ctl.run(&["show", &waits.task_id]).await.ok();
    assert!(shown.contains("Runs where: disk=nvme\n"), "{shown}");
    // The master has it in its store.
    master.kill9();
    master.restart().await;
    first.run_as(&master, &[("disk", "nvme")]).await;
    let task = api.ended(PATIENCE, &waits.task_id).await;
    assert_eq!(task.worker_id.expect("a worker").as_str(), "worker-1");
    let task = api.task(&runs).await.expect("the task");
    assert_eq!((task.state, task.attempts.len()), (TaskState::Running, 1), "{task:?}");
    ctl.run(&["cancel", &runs]).await.ok();
    assert_eq!(api.ended(PATIENCE, &runs).await.verdict, Some(Verdict::Cancelled));

    // A dispatch is no way around it, and what is run again asks for the same again.
    api.worker_is(PATIENCE, "worker-2", WorkerState::Active).await;
    let dispatched = ["dispatch", "worker-2", "short", "--worker-label", "disk=nvme"];
    let plan = ctl.run(&[&dispatched[..], &["--dry-run", "-o", "json"]].concat()).await.ok();
    let plan: DryRunView = serde_json::from_str(&plan).expect("a plan");
    assert!(plan.workers.iter().all(|worker| worker.fit == Fit::Never), "{plan:?}");
    assert_eq!(plan.workers[1].reasons, ["worker-2 does not have the label disk=nvme"]);
    let told = ctl.run(&dispatched).await;
    assert!(told.stderr.contains("worker-2 does not have the label disk=nvme"), "{told:?}");
    let again: SubmitView = api.post(&format!("/api/tasks/{runs}/retry"), &json!({})).await.expect("accepted");
    let why = api.why(&again.task_id).await.expect("a reason");
    assert_eq!(why.summary, "can never run on the present workers: no worker has the label disk=hdd");
    second.run_as(&master, &[("disk", "hdd")]).await;
    eventually(PATIENCE, "it runs where the label is now", || async {
        let task = api.task(&again.task_id).await.ok()?;
        let is_there = task.worker_id.as_ref().is_some_and(|worker| worker.as_str() == "worker-2");
        (is_there && task.state == TaskState::Running).then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_no_worker_could_meet_is_refused_with_what_to_do() {
    let directory = tempfile::tempdir().expect("a directory");
    let master = Master::start(directory.path(), &MasterOptions::default()).await;
    let api = master.api();
    for (labels, message) in [
        (json!(["a=1", "a=2"]), "`a=1` and `a=2` contradict each other"),
        (json!(["a", "a"]), "`a` is there twice"),
        (json!((0..17).map(|n| n.to_string()).collect::<Vec<_>>()), "17 are too many"),
        (json!(["a=1,b=2"]), "give KEY=VALUE"),
        (json!("a=1"), "worker_labels"),
    ] {
        let body = json!({"image": "short", "worker_labels": labels});
        match api.post::<Value>("/api/tasks", &body).await {
            Err(Failure::Refused { status: 400, error }) => {
                assert!(error.message.contains("worker_labels") && error.message.contains(message), "{error:?}");
                assert!(!error.hint.is_empty(), "{error:?}");
            }
            other => panic!("{body}: {other:?}"),
        }
    }
}
