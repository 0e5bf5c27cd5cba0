//! GPUs, as a library tells of them: leased by UUID, told to the engine, and out of use while something is wrong. Which
//! GPUs a container has, it says itself.
#![allow(missing_docs, clippy::panic, clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

use cloudai_tests::cluster::{Cluster, shell_task};
use cloudai_tests::gpus::FakeGpus;
use cloudai_tests::master::MasterOptions;
use cloudai_tests::wait::{PATIENCE, eventually};
use cloudai_tests::worker::WorkerOptions;
use shared::resources::Quantity;
use shared::submit::SubmitRequest;
use shared::task::{TaskState, Verdict};
use shared::view::TaskView;
use shared::worker::WorkerState;

const TWO: &str = "driver 550.54\ngpu GPU-a 81920 40 NVIDIA H100\ngpu GPU-b 81920 20 NVIDIA H100\n";

async fn cluster(gpus: &FakeGpus) -> Cluster {
    let library = gpus.library().display().to_string();
    let env = vec![
        ("CLOUDAI_NVML".to_owned(), library),
        // The probes of a GPU that has reported an error find nothing: only time ends it.
        ("CLOUDAI_GPU_QUARANTINE".to_owned(), "1h".to_owned()),
    ];
    Cluster::start_with(&MasterOptions::default(), 1, &WorkerOptions { env, ..WorkerOptions::default() }).await
}

fn with_gpus(number: &str, line: &str) -> SubmitRequest {
    SubmitRequest { gpu_cores: Some(Quantity::Text(number.to_owned())), ..shell_task(line) }
}

async fn stdout(cluster: &Cluster, task: &TaskView) -> String {
    let log = cluster.api().get_bytes(&format!("/api/tasks/{}/logs?stream=stdout", task.task_id)).await;
    String::from_utf8(log.expect("a log")).expect("text")
}

async fn running(cluster: &Cluster, id: &str) -> TaskView {
    let api = cluster.api();
    let is_running = || async { api.task(id).await.ok().filter(|task| task.state == TaskState::Running) };
    eventually(PATIENCE, "it runs", is_running).await
}

fn leased(task: &TaskView) -> Vec<String> {
    task.attempts.last().map(|run| run.gpus.iter().map(ToString::to_string).collect()).unwrap_or_default()
}

#[tokio::test]
async fn each_container_has_the_gpus_that_were_leased_to_it_and_no_other() {
    let gpus = FakeGpus::new(TWO);
    let cluster = cluster(&gpus).await;
    let api = cluster.api();
    let worker = api.workers().await.expect("workers").remove(0);
    assert_eq!(worker.capacity.gpu_millis, 2000, "{worker:?}");
    let hold = "echo $NVIDIA_VISIBLE_DEVICES; exec sleep 600";
    let (mut ids, mut said) = (Vec::new(), Vec::new());
    for number in ["0.5", "1", "500m"] {
        let id = api.submit(&with_gpus(number, hold)).await.expect("accepted").task_id;
        let task = running(&cluster, &id).await;
        said.push(leased(&task).join(","));
        ids.push(id);
    }
    assert_eq!(said, ["0.5 of GPU-a", "GPU-b", "0.5 of GPU-a"]);
    let waits = api.submit(&with_gpus("1", "echo $NVIDIA_VISIBLE_DEVICES")).await.expect("accepted").task_id;
    let why = cluster.ctl().run(&["why", &waits]).await;
    assert!(why.stdout.contains("0 GPU of 1 GPU free"), "{why:?}");
    let stats = cluster.ctl().run(&["stats", worker.worker_id.as_str()]).await;
    assert!(stats.stdout.contains("GPU-a  NVIDIA H100  80.0GB  1.0 of 1.0  well"), "{}", stats.stdout);
    for (id, expected) in ids.iter().zip(["GPU-a\n", "GPU-b\n", "GPU-a\n"]) {
        let cancelled = cluster.ctl().run(&["cancel", id]).await;
        assert_eq!(cancelled.code, 0, "{cancelled:?}");
        assert_eq!(stdout(&cluster, &api.ended(PATIENCE, id).await).await, expected);
    }
    let task = api.ended(PATIENCE, &waits).await;
    assert_eq!((stdout(&cluster, &task).await, task.verdict), ("GPU-b\n".to_owned(), Some(Verdict::Success)));
    let none = api.submit(&shell_task("echo ${NVIDIA_VISIBLE_DEVICES-none}")).await.expect("accepted").task_id;
    assert_eq!(stdout(&cluster, &api.ended(PATIENCE, &none).await).await, "none\n");
}

#[tokio::test]
async fn slices_are_devices_of_their_own() {
    let slices = "driver 550.54\ngpu GPU-c 40960 0 NVIDIA A100\n\
        mig GPU-c MIG-1 4864 1 NVIDIA A100 MIG 1g.5gb\nmig GPU-c MIG-2 20096 3 NVIDIA A100 MIG 3g.20gb\n";
    let gpus = FakeGpus::new(slices);
    let cluster = cluster(&gpus).await;
    let api = cluster.api();
    for (number, expected) in [("0.4", "MIG-2\n"), ("0.1", "MIG-1\n")] {
        let id = api.submit(&with_gpus(number, "echo $NVIDIA_VISIBLE_DEVICES")).await.expect("accepted").task_id;
        assert_eq!(stdout(&cluster, &api.ended(PATIENCE, &id).await).await, expected);
    }
    let whole = api.submit(&with_gpus("1", "true")).await.expect("accepted");
    assert!(whole.warnings.iter().any(|warning| warning.contains("can never run")), "{whole:?}");
}

#[tokio::test]
async fn an_ill_gpu_gets_no_work_and_what_fails_on_it_is_not_to_blame() {
    let mut gpus = FakeGpus::new(TWO);
    let mut cluster = cluster(&gpus).await;
    let api = cluster.api();
    let line = "echo $NVIDIA_VISIBLE_DEVICES; [ $NVIDIA_VISIBLE_DEVICES = GPU-b ] || exec sleep 600";
    let id = api.submit(&with_gpus("1", line)).await.expect("accepted").task_id;
    assert_eq!(leased(&running(&cluster, &id).await), ["GPU-a"]);
    gpus.tell("xid GPU-a 13\nxid GPU-a 79\n");
    let reason = "Xid 79: the GPU has fallen off the bus";
    eventually(PATIENCE, "the GPU is ill", || async {
        let worker = api.workers().await.ok()?.into_iter().next()?;
        (worker.gpus[0].problem.as_deref() == Some(reason)).then_some(())
    })
    .await;
    cluster.containers.as_ref().expect("containers").signal("KILL").await;
    let task = api.ended(PATIENCE, &id).await;
    assert_eq!((leased(&task), &task.verdict), (vec!["GPU-b".to_owned()], &Some(Verdict::Success)), "{task:?}");
    let Some(Verdict::WorkerLost { message }) = &task.attempts[0].verdict else { panic!("{task:?}") };
    assert!(message.contains("signal 9") && message.contains(reason), "{message}");
    assert_eq!(stdout(&cluster, &task).await, "GPU-b\n");
    let two = api.submit(&with_gpus("2", "true")).await.expect("accepted").task_id;
    let why = cluster.ctl().run(&["why", &two]).await;
    assert!(why.stdout.contains("out of use because something is wrong with them"), "{why:?}");
    let stats = cluster.ctl().run(&["stats", "worker-1"]).await;
    assert!(stats.stdout.contains(reason), "{}", stats.stdout);
    // The driver says it once, and a restart of the worker mends no GPU.
    gpus.tell("");
    cluster.workers[0].kill9();
    api.worker_is(PATIENCE, "worker-1", WorkerState::Inactive).await;
    cluster.workers[0].restart();
    api.worker_is(PATIENCE, "worker-1", WorkerState::Active).await;
    let worker = api.workers().await.expect("workers").remove(0);
    assert_eq!(worker.gpus[0].problem.as_deref(), Some(reason));
}

#[tokio::test]
async fn what_dies_with_its_gpu_is_not_to_blame_though_nobody_has_noticed_yet() {
    let mut gpus = FakeGpus::new(TWO);
    let cluster = cluster(&gpus).await;
    let api = cluster.api();
    let line = "[ $NVIDIA_VISIBLE_DEVICES = GPU-b ] || exec sleep 600";
    let id = api.submit(&with_gpus("1", line)).await.expect("accepted").task_id;
    assert_eq!(leased(&running(&cluster, &id).await), ["GPU-a"]);
    gpus.tell("lost GPU-a\n");
    cluster.containers.as_ref().expect("containers").signal("KILL").await;
    let task = api.ended(PATIENCE, &id).await;
    assert_eq!((leased(&task), &task.verdict), (vec!["GPU-b".to_owned()], &Some(Verdict::Success)), "{task:?}");
    let Some(Verdict::WorkerLost { message }) = &task.attempts[0].verdict else { panic!("{task:?}") };
    assert!(message.contains("it has fallen off the bus"), "{message}");
}

#[tokio::test]
async fn a_library_that_was_named_and_cannot_be_used_is_said_at_once() {
    let gpus = FakeGpus::new("");
    let mut cluster = Cluster::start(0).await;
    let env = vec![("CLOUDAI_NVML".to_owned(), gpus.library().display().to_string())];
    let dir = tempfile::tempdir().expect("a directory");
    let options = WorkerOptions { env, ..WorkerOptions::default() };
    let mut worker = cloudai_tests::worker::Worker::start(&cluster.master, dir.path(), "w", &options).await;
    let status = worker.process.ended().await;
    assert_eq!(status.code(), Some(2), "{}", worker.process.log());
    let log = worker.process.log();
    assert!(log.contains("NVIDIA driver is not loaded") && log.contains("--gpu 0"), "{log}");
    cluster.master.kill9();
}
