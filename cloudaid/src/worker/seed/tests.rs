//! The whole worker on a fake engine, against a master of the first generation over real connections.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use shared::link::LogStream;
use shared::proto::seed::master_worker_client::MasterWorkerClient;
use shared::proto::seed::{LogChunk, Task, TaskAck, TaskId, TaskLogRequest};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::config::{CapacityOverrides, GpuSettings, WorkerConfig};
use crate::runtime::fake::{Behaviour, FakeRuntime};
use crate::worker::tests::{LIMIT, wait_for};
use crate::worker::{WorkerError, run_with};
use master::Master;

mod master;

type Client = MasterWorkerClient<Channel>;

/// A worker that can be stopped and started again on the same engine, directory and address.
struct Running {
    shutdown: CancellationToken,
    task: JoinHandle<Result<(), WorkerError>>,
}

impl Running {
    fn start(listen: SocketAddr, data_dir: &Path, runtime: &Arc<FakeRuntime>) -> Self {
        let config = WorkerConfig {
            masters: Vec::new(),
            name: "w1".parse().expect("a name"),
            data_dir: data_dir.to_owned(),
            join: None,
            docker_host: None,
            registry_patience: Duration::from_secs(1),
            pull_limits: Default::default(),
            image_room: 0,
            gpus: GpuSettings { library: None, quarantine: Duration::from_secs(600) },
            on_stop: Default::default(),
            overrides: CapacityOverrides {
                cpu_millis: Some(2500),
                memory_bytes: Some(3 << 29),
                ..CapacityOverrides::default()
            },
            labels: BTreeMap::new(),
            advertise: None,
            seed: Some(listen),
        };
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(run_with(Arc::clone(runtime) as _, config, shutdown.clone()));
        Self { shutdown, task }
    }

    async fn stop(self) {
        self.shutdown.cancel();
        timeout(LIMIT, self.task).await.expect("it ends").expect("no panic").expect("a good end");
    }
}

/// An address that was free just now.
async fn free() -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    listener.local_addr().expect("an address")
}

fn task(id: &str) -> Task {
    Task {
        task_id: id.to_owned(),
        docker_image: "test".to_owned(),
        req_cpu: 0.5,
        req_memory: 0.25,
        user_id: "ada@x.example".to_owned(),
        newer_task_name: "n".to_owned(),
        ..Task::default()
    }
}

async fn assign(client: &mut Client, task: Task) -> TaskAck {
    client.assign_task(task).await.expect("an answer").into_inner()
}

async fn logs(client: &mut Client, id: &str, follow: bool) -> Result<Vec<LogChunk>, Status> {
    let request = TaskLogRequest { task_id: id.to_owned(), user_id: String::new(), follow };
    let mut stream = client.stream_task_logs(request).await?.into_inner();
    let mut chunks = Vec::new();
    while let Some(chunk) = timeout(LIMIT, stream.message()).await.expect("a chunk")? {
        chunks.push(chunk);
    }
    Ok(chunks)
}

fn texts(chunks: &[LogChunk]) -> Vec<&str> {
    let (last, lines) = chunks.split_last().expect("a last chunk");
    assert!(last.is_complete && last.content.is_empty() && lines.iter().all(|line| !line.is_complete), "{chunks:?}");
    lines.iter().map(|line| line.content.as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_runs_from_registration_to_report() {
    let scratch = tempfile::tempdir().expect("a directory");
    let runtime = Arc::new(FakeRuntime::with(|_| {
        Behaviour::exit(0)
            .printing(LogStream::Stdout, "one\ntwo")
            .writing("a/r.txt", vec![b'x'; (2 << 20) + 1])
            .writing("empty", "")
    }));
    let (master, listen) = (Master::start().await, free().await);
    master.told.lock().upload_failures = 1;
    let worker = Running::start(listen, scratch.path(), &runtime);
    let mut client = master.adopt(listen).await;
    {
        let told = master.told.lock();
        let info = &told.workers[0];
        assert_eq!((info.worker_id.as_str(), info.worker_ip.as_str()), ("w1", ""));
        assert_eq!((info.total_cpu, info.total_memory, info.total_gpu), (2.5, 1.5, 0.0));
        assert!(info.total_storage > 0.0);
    }
    assert!(assign(&mut client, task("their-7")).await.success);
    let result = master.result("their-7").await;
    assert_eq!((result.status.as_str(), result.worker_id.as_str()), ("success", "w1"));
    assert_eq!((result.logs.as_str(), result.output_files.len()), ("one\ntwo", 2));
    assert_eq!(master.files()["a/r.txt"].len(), (2 << 20) + 1);
    assert_eq!(master.files()["empty"], b"");
    {
        let told = master.told.lock();
        let chunks = &told.uploads[0];
        assert!(chunks.iter().all(|chunk| chunk.data.len() <= 1 << 20 && chunk.user_id == "ada@x.example"));
        let last: Vec<_> = chunks.iter().filter(|chunk| chunk.is_last_file).collect();
        assert_eq!((last.len(), chunks.iter().filter(|chunk| chunk.is_last_chunk).count()), (1, 2));
    }
    wait_for("removal", || runtime.is_empty()).await;
    for follow in [false, true] {
        let chunks = logs(&mut client, "their-7", follow).await.expect("a log");
        assert_eq!(texts(&chunks), ["one", "two"]);
        assert_eq!(chunks.last().map(|chunk| chunk.status.as_str()), Some("success"));
    }
    assert_eq!(logs(&mut client, "other", false).await.expect_err("unknown").code(), Code::NotFound);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn before_it_is_registered_it_takes_nothing() {
    let scratch = tempfile::tempdir().expect("a directory");
    let runtime = Arc::new(FakeRuntime::new());
    let (master, listen) = (Master::start().await, free().await);
    let worker = Running::start(listen, scratch.path(), &runtime);
    let mut client = master::reach(listen).await;
    let refused = assign(&mut client, task("their-7")).await;
    assert!(!refused.success && refused.message.contains("MasterRegister"), "{refused:?}");
    let nowhere = shared::proto::seed::MasterInfo { master_id: "m".to_owned(), master_address: "nowhere".to_owned() };
    assert!(!client.master_register(nowhere).await.expect("an answer").into_inner().success);
    let mut client = master.adopt(listen).await;
    let bad = assign(&mut client, Task { req_memory: f64::NAN, ..task("their-7") }).await;
    assert!(!bad.success && bad.message.starts_with("mem"), "{bad:?}");
    assert!(assign(&mut client, task("their-7")).await.success);
    assert_eq!(master.result("their-7").await.status, "success");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_comes_twice_runs_once_and_is_reported_again_if_it_has_ended() {
    let scratch = tempfile::tempdir().expect("a directory");
    let runtime = Arc::new(FakeRuntime::with(|_| Behaviour::exit(3).printing(LogStream::Stderr, "oh\n")));
    let (master, listen) = (Master::start().await, free().await);
    let worker = Running::start(listen, scratch.path(), &runtime);
    let mut client = master.adopt(listen).await;
    master.told.lock().refusals.extend(["not now", "not now"]);
    for _ in 0..2 {
        assert!(assign(&mut client, task("their-7")).await.success);
    }
    let first = master.result("their-7").await;
    assert_eq!((first.status.as_str(), first.logs.as_str()), ("failed", "oh\ncloudaid: exit code 3\n"));
    wait_for("removal", || runtime.is_empty()).await;
    assert!(assign(&mut client, task("their-7")).await.success);
    wait_for("the same report", || master.told.lock().results.len() == 2).await;
    assert_eq!(master.told.lock().results[1], first);
    assert_eq!(runtime.starts().len(), 1);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_is_followed_while_it_grows_until_the_task_is_cancelled() {
    let scratch = tempfile::tempdir().expect("a directory");
    let runtime = Arc::new(FakeRuntime::with(|_| Behaviour::endless().printing(LogStream::Stdout, "first\n")));
    let (master, listen) = (Master::start().await, free().await);
    let worker = Running::start(listen, scratch.path(), &runtime);
    let mut client = master.adopt(listen).await;
    assert!(assign(&mut client, task("their-7")).await.success);
    let request = TaskLogRequest { task_id: "their-7".to_owned(), user_id: String::new(), follow: true };
    let mut followed = client.stream_task_logs(request).await.expect("a log").into_inner();
    let first = timeout(LIMIT, followed.message()).await.expect("in time").expect("a chunk").expect("a chunk");
    assert_eq!((first.content.as_str(), first.is_complete, first.status.as_str()), ("first", false, "running"));
    let now = logs(&mut client, "their-7", false).await.expect("a log");
    assert_eq!((texts(&now), now[1].status.as_str()), (vec!["first"], "running"));
    wait_for("a heartbeat with it", || {
        let told = master.told.lock();
        told.heartbeats.iter().flat_map(|heartbeat| &heartbeat.running_tasks).any(|task| task.task_id == "their-7")
    })
    .await;
    let unknown = client.cancel_task(TaskId { task_id: "other".to_owned() }).await.expect("an answer");
    assert!(!unknown.into_inner().success);
    for _ in 0..2 {
        let cancel = client.cancel_task(TaskId { task_id: "their-7".to_owned() }).await.expect("an answer");
        assert!(cancel.into_inner().success);
    }
    let last = timeout(LIMIT, followed.message()).await.expect("in time").expect("a chunk").expect("a chunk");
    assert_eq!((last.content.as_str(), last.is_complete, last.status.as_str()), ("", true, "cancelled"));
    assert_eq!(master.result("their-7").await.status, "cancelled");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ends_while_the_master_is_away_is_reported_by_the_next_start_without_being_asked() {
    let scratch = tempfile::tempdir().expect("a directory");
    let runtime = Arc::new(FakeRuntime::with(|_| {
        let half = Duration::from_millis(500);
        Behaviour::exit(0).after(half).printing(LogStream::Stdout, "done\n").writing("r", "data")
    }));
    let (mut master, listen) = (Master::start().await, free().await);
    let worker = Running::start(listen, scratch.path(), &runtime);
    let mut client = master.adopt(listen).await;
    assert!(assign(&mut client, task("their-7")).await.success);
    wait_for("its start", || runtime.starts().len() == 1).await;
    master.go().await;
    // A server ends with its last connection, and its port is free then.
    drop(client);
    worker.stop().await;
    let worker = Running::start(listen, scratch.path(), &runtime);
    let mut client = master::reach(listen).await;
    assert!(!assign(&mut client, task("their-8")).await.success, "its master has not let it register yet");
    master.come_back().await;
    let result = master.result("their-7").await;
    assert_eq!((result.status.as_str(), result.logs.as_str()), ("success", "done\n"));
    assert_eq!((result.output_files, master.files()["r"].as_slice()), (vec!["r".to_owned()], &b"data"[..]));
    wait_for("registration by itself", || master.told.lock().workers.len() == 2).await;
    assert_eq!(runtime.starts().len(), 1);
    wait_for("tasks are taken again", || runtime.is_empty()).await;
    assert!(assign(&mut client, task("their-8")).await.success);
    assert_eq!(master.result("their-8").await.status, "success");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_the_agent_never_heard_of_is_carried_out_by_the_next_start() {
    let scratch = tempfile::tempdir().expect("a directory");
    let runtime = Arc::new(FakeRuntime::new());
    let (master, listen) = (Master::start().await, free().await);
    // What a crash between the answer to the master and the agent's journal leaves.
    std::fs::create_dir_all(scratch.path()).expect("made");
    let (ledger, _) = super::Ledger::open(scratch.path(), None).expect("a ledger");
    ledger.save(&super::task::tests::record("run")).expect("saved");
    let cancelled = super::ledger::Record { cancelled: true, ..super::task::tests::record("cancelled") };
    ledger.save(&cancelled).expect("saved");
    drop(ledger);
    let worker = Running::start(listen, scratch.path(), &runtime);
    master.adopt(listen).await;
    assert_eq!(master.result("run").await.status, "success");
    assert_eq!(master.result("cancelled").await.status, "cancelled");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_is_taken_ends_the_worker_with_a_hint() {
    let scratch = tempfile::tempdir().expect("a directory");
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let listen = taken.local_addr().expect("an address");
    let worker = Running::start(listen, scratch.path(), &Arc::new(FakeRuntime::new()));
    let error = timeout(LIMIT, worker.task).await.expect("it ends").expect("no panic").expect_err("refused");
    assert!(error.to_string().contains(&listen.to_string()) && error.hint().contains("--listen"), "{error}");
}
