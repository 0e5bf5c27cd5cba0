//! The whole worker on a fake engine, against a master over a real connection.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use shared::id::{AttemptKey, Epoch, Fence};
use shared::link::{
    Assignment, AttemptChange, CancelOrder, Decision, FromWorker, Held, Hello, LogStream, Outcome, Phase, Report,
    ToWorker, Welcome,
};
use shared::resources::Resources;
use shared::task::{Command, Verdict};
use shared::version::PRODUCT;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{JOURNAL_PATIENCE, WorkerError, run_within};
use crate::config::{CapacityOverrides, GpuSettings, JoinFrom, OnStop, Secret, WorkerConfig};
use crate::master::join_token::JoinToken;
use crate::runtime::fake::{Behaviour, FakeRuntime};
use master::{CLUSTER, Master, Talk};

mod fetching;
mod master;
mod outbox;
mod outputs;
mod remembering;

/// No wait for a condition is longer.
pub(super) const LIMIT: Duration = Duration::from_secs(30);

pub(super) fn key(index: u32) -> AttemptKey {
    let task = "task-01arz3ndektsv4rrffq69g5fav".parse().expect("an id");
    AttemptKey { task, index, attempt: 1, fence: Fence(100 + u64::from(index)) }
}

pub(super) fn assignment(index: u32) -> Assignment {
    Assignment {
        key: key(index),
        image: "test".to_owned(),
        command: Command::ImageDefault,
        resources: Resources::TASK_DEFAULT,
        env: BTreeMap::new(),
        user: "ada".parse().expect("a name"),
        name: None,
        input: None,
        stop_grace: Duration::from_secs(10),
        time_limit: None,
        at_most_once: false,
        blocking_log: false,
        storage_reserved: false,
        pull: Default::default(),
        confinement: Default::default(),
        gpus: Vec::new(),
    }
}

fn welcome(decisions: Vec<(AttemptKey, Decision)>) -> ToWorker {
    ToWorker::Welcome(Welcome {
        cluster: CLUSTER.parse().expect("an id"),
        epoch: Epoch(1),
        heartbeat: Duration::from_millis(50),
        lease: Duration::from_secs(30),
        decisions,
    })
}

fn config(master: &Master, data_dir: &Path, token: Option<&str>) -> WorkerConfig {
    WorkerConfig {
        masters: vec![master.address.clone()],
        name: "w1".parse().expect("a name"),
        data_dir: data_dir.to_owned(),
        join: token.map(|token| JoinFrom::Inline(Secret::new(token))),
        docker_host: None,
        registry_patience: Duration::from_secs(1),
        pull_limits: Default::default(),
        image_room: 0,
        gpus: GpuSettings { library: None, quarantine: Duration::from_secs(600) },
        on_stop: Default::default(),
        overrides: CapacityOverrides { cpu_millis: Some(64_000), gpu_millis: Some(0), ..CapacityOverrides::default() },
        labels: BTreeMap::from([("zone".to_owned(), "a".to_owned())]),
        advertise: None,
        seed: None,
    }
}

/// A worker that can be stopped and started again on the same engine and directory.
struct Running {
    shutdown: CancellationToken,
    task: JoinHandle<Result<(), WorkerError>>,
}

impl Running {
    fn start(master: &Master, data_dir: &Path, runtime: &Arc<FakeRuntime>) -> Self {
        Self::start_with(master, data_dir, runtime, Some(&master.token))
    }

    fn start_with(master: &Master, data_dir: &Path, runtime: &Arc<FakeRuntime>, token: Option<&str>) -> Self {
        Self::run(runtime, config(master, data_dir, token), JOURNAL_PATIENCE)
    }

    /// One that does this with what runs when it is stopped, with a second for its journal.
    fn start_with_end(master: &Master, data_dir: &Path, runtime: &Arc<FakeRuntime>, on_stop: OnStop) -> Self {
        let config = WorkerConfig { on_stop, ..config(master, data_dir, Some(&master.token)) };
        Self::run(runtime, config, Duration::from_secs(1))
    }

    fn run(runtime: &Arc<FakeRuntime>, config: WorkerConfig, patience: Duration) -> Self {
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(run_within(Arc::clone(runtime) as _, config, shutdown.clone(), patience));
        Self { shutdown, task }
    }

    async fn stop(self) {
        self.shutdown.cancel();
        self.ended().await.expect("a good end");
    }

    async fn ended(self) -> Result<(), WorkerError> {
        timeout(LIMIT, self.task).await.expect("it ends").expect("no panic")
    }
}

impl Master {
    /// Waits for the next session and welcomes it.
    async fn welcome(&mut self, decide: impl Fn(&Held) -> Decision) -> (Talk, Vec<Held>) {
        let (talk, hello) = self.greeted(decide).await;
        (talk, hello.inventory)
    }

    async fn greeted(&mut self, decide: impl Fn(&Held) -> Decision) -> (Talk, Hello) {
        let mut talk = timeout(LIMIT, self.sessions.recv()).await.expect("a session").expect("a session");
        let FromWorker::Hello(hello) = talk.next().await else { panic!("no hello first") };
        assert_eq!(hello.worker.as_str(), "w1");
        assert_eq!(hello.facts.capacity.cpu_millis, 64_000);
        let decisions = hello.inventory.iter().map(|held| (held.key, decide(held))).collect();
        talk.say(welcome(decisions));
        (talk, hello)
    }
}

impl Talk {
    fn say(&self, message: ToWorker) {
        self.say.send(message).expect("the worker listens");
    }

    async fn next(&mut self) -> FromWorker {
        timeout(LIMIT, self.said.recv()).await.expect("a message").expect("a message")
    }

    async fn report(&mut self) -> Report {
        loop {
            if let Some(report) = self.reports.pop_front() {
                return report;
            }
            match self.next().await {
                FromWorker::Reports(reports) => self.reports.extend(reports),
                FromWorker::Heartbeat(_) | FromWorker::Inventory(_) => {}
                FromWorker::Hello(_) => panic!("a second hello"),
            }
        }
    }

    async fn started(&mut self) -> AttemptKey {
        match self.report().await {
            Report { key, change: AttemptChange::Started { .. }, .. } => key,
            other => panic!("{other:?}"),
        }
    }

    async fn finished(&mut self) -> (u64, Outcome) {
        match self.report().await {
            Report { sequence, change: AttemptChange::Finished(outcome), .. } => (sequence, outcome),
            other => panic!("{other:?}"),
        }
    }
}

pub(super) async fn wait_for(what: &str, condition: impl Fn() -> bool) {
    let wait = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(LIMIT, wait).await.unwrap_or_else(|_| panic!("{what} does not come about"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_runs_from_assignment_to_nothing_left() {
    let scratch = tempfile::tempdir().expect("a directory");
    let large = vec![b'x'; 3 << 20];
    let log = large.clone();
    let runtime = Arc::new(FakeRuntime::with(move |_| {
        Behaviour::exit(3)
            .printing(LogStream::Stdout, log.clone())
            .printing(LogStream::Stderr, "oh\n")
            .writing("r.txt", "data\n")
            .writing("empty", "")
    }));
    let mut master = Master::start().await;
    master.stored.lock().upload_failures = 2;
    let worker = Running::start(&master, scratch.path(), &runtime);
    let (mut talk, inventory) = master.welcome(|_| Decision::Keep).await;
    assert_eq!(inventory, []);
    talk.say(ToWorker::Assign(vec![assignment(0)]));
    talk.say(ToWorker::Assign(vec![assignment(0)]));
    assert_eq!(talk.started().await, key(0));
    let (sequence, outcome) = loop {
        // The duplicate assignment may have been answered with a second `started`.
        match talk.report().await {
            Report { change: AttemptChange::Started { .. }, .. } => {}
            Report { sequence, change: AttemptChange::Finished(outcome), .. } => break (sequence, outcome),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(outcome.verdict, Verdict::ExitCode { exit_code: 3 });
    assert_eq!((outcome.stdout_bytes, outcome.stderr_bytes), (large.len() as u64, 3));
    assert_eq!((outcome.output_files, outcome.output_notes), (2, Vec::new()));
    {
        let stored = master.stored.lock();
        let bytes: u64 = stored.files.values().map(|data| data.len() as u64).sum();
        assert_eq!(outcome.output_bytes, Some(bytes), "as they are at the master");
        assert!(stored.stdout[&key(0)] == large, "the log is there byte for byte");
        assert_eq!(stored.stderr[&key(0)], b"oh\n");
        assert_eq!(stored.files[&(key(0), b"r.txt".to_vec())], b"data\n");
        assert_eq!(stored.files[&(key(0), b"empty".to_vec())], b"");
    }
    assert_eq!(runtime.len(), 1, "nothing is removed before the end is acknowledged");
    talk.say(ToWorker::Ack { through: sequence });
    wait_for("removal", || runtime.is_empty()).await;
    let runs = scratch.path().join("runs");
    wait_for("an empty directory", || std::fs::read_dir(&runs).expect("runs").count() == 0).await;
    assert_eq!(runtime.starts(), [key(0)]);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_task_costs_no_log_message() {
    let scratch = tempfile::tempdir().expect("a directory");
    let runtime = Arc::new(FakeRuntime::with(|_| Behaviour::exit(0)));
    let mut master = Master::start().await;
    let worker = Running::start(&master, scratch.path(), &runtime);
    let (mut talk, _) = master.welcome(|_| Decision::Keep).await;
    talk.say(ToWorker::Assign(vec![assignment(0)]));
    talk.started().await;
    assert_eq!(talk.finished().await.1.verdict, Verdict::Success);
    assert_eq!(master.stored.lock().frames, 0);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_worker_takes_up_what_runs_and_starts_nothing_twice() {
    let scratch = tempfile::tempdir().expect("a directory");
    let runtime = Arc::new(FakeRuntime::with(|_| Behaviour::endless().printing(LogStream::Stdout, "first\n")));
    let mut master = Master::start().await;
    let worker = Running::start(&master, scratch.path(), &runtime);
    let (mut talk, _) = master.welcome(|_| Decision::Keep).await;
    talk.say(ToWorker::Assign(vec![assignment(0)]));
    talk.started().await;
    wait_for("the log", || master.stored.lock().stdout.contains_key(&key(0))).await;
    worker.stop().await;
    assert_eq!(runtime.len(), 1, "the container goes on");

    let worker = Running::start(&master, scratch.path(), &runtime);
    let (mut talk, inventory) = master.welcome(|_| Decision::Keep).await;
    assert_eq!(inventory, [Held { key: key(0), phase: Phase::Running }]);
    assert_eq!(talk.started().await, key(0));
    talk.say(ToWorker::Cancel(vec![CancelOrder { key: key(0), grace: Duration::from_secs(10), time_limit: None }]));
    let (_, outcome) = talk.finished().await;
    assert_eq!(outcome.verdict, Verdict::Cancelled);
    assert_eq!(outcome.stdout_bytes, 6);
    assert_eq!(master.stored.lock().stdout[&key(0)], b"first\n");
    assert_eq!(runtime.starts(), [key(0)]);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_newer_than_its_master_goes_on_and_waits_for_it() {
    let scratch = tempfile::tempdir().expect("a directory");
    let runtime = Arc::new(FakeRuntime::with(|_| Behaviour::endless()));
    let mut master = Master::start().await;
    let worker = Running::start(&master, scratch.path(), &runtime);
    let (mut talk, _) = master.welcome(|_| Decision::Keep).await;
    talk.say(ToWorker::Assign(vec![assignment(0)]));
    talk.started().await;
    worker.stop().await;

    *master.version.lock() = "0.0.7".to_owned();
    let before = master.described.load(Ordering::Relaxed);
    let mut worker = Running::start(&master, scratch.path(), &runtime);
    wait_for("a question", || master.described.load(Ordering::Relaxed) > before).await;
    let ended = timeout(Duration::from_millis(500), &mut worker.task).await;
    assert!(ended.is_err(), "an update of the master would find no worker: {ended:?}");
    assert!(master.sessions.try_recv().is_err(), "it says nothing more to such a master");
    worker.stop().await;

    *master.version.lock() = PRODUCT.to_owned();
    let worker = Running::start(&master, scratch.path(), &runtime);
    let (_talk, inventory) = master.welcome(|_| Decision::Keep).await;
    assert_eq!(inventory, [Held { key: key(0), phase: Phase::Running }]);
    assert_eq!(runtime.starts(), [key(0)]);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ends_while_the_master_is_away_is_told_when_it_is_back() {
    let scratch = tempfile::tempdir().expect("a directory");
    let runtime = Arc::new(FakeRuntime::with(|_| {
        Behaviour::exit(0).after(Duration::from_millis(300)).printing(LogStream::Stdout, "done\n")
    }));
    let mut master = Master::start().await;
    let worker = Running::start(&master, scratch.path(), &runtime);
    let (talk, _) = master.welcome(|_| Decision::Keep).await;
    talk.say(ToWorker::Assign(vec![assignment(0), assignment(1)]));
    wait_for("both starts", || runtime.starts().len() == 2).await;
    talk.say(ToWorker::Goodbye { reason: "restart".to_owned() });
    drop(talk);

    let give_up_first = |held: &Held| if held.key == key(0) { Decision::Stop } else { Decision::Keep };
    let (mut talk, inventory) = master.welcome(give_up_first).await;
    assert_eq!(inventory.len(), 2);
    let (sequence, outcome) = loop {
        match talk.report().await {
            Report { key: of, .. } if of == key(0) => panic!("a report of what was given up"),
            Report { change: AttemptChange::Started { .. } | AttemptChange::Preparing, .. } => {}
            Report { sequence, change: AttemptChange::Finished(outcome), .. } => break (sequence, outcome),
        }
    };
    assert_eq!((outcome.verdict, outcome.stdout_bytes), (Verdict::Success, 5));
    talk.say(ToWorker::Ack { through: sequence });
    wait_for("removal of both", || runtime.is_empty()).await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_the_master_cannot_keep_now_waits_at_the_worker() {
    let scratch = tempfile::tempdir().expect("a directory");
    let runtime = Arc::new(FakeRuntime::with(|_| Behaviour::exit(0).printing(LogStream::Stdout, "done\n")));
    let mut master = Master::start().await;
    // The first question, then the first bytes.
    master.stored.lock().log_failures = 2;
    let worker = Running::start(&master, scratch.path(), &runtime);
    let (mut talk, _) = master.welcome(|_| Decision::Keep).await;
    talk.say(ToWorker::Assign(vec![assignment(0)]));
    talk.started().await;
    let (_, outcome) = talk.finished().await;
    assert_eq!((outcome.verdict, outcome.stdout_bytes), (Verdict::Success, 5));
    assert_eq!(master.stored.lock().stdout[&key(0)], b"done\n");
    assert_eq!(master.stored.lock().log_failures, 0);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_a_slow_image_is_in_nobodys_way() {
    let scratch = tempfile::tempdir().expect("a directory");
    let runtime = Arc::new(FakeRuntime::with(|_| Behaviour::exit(0)));
    let mut master = Master::start().await;
    let worker = Running::start(&master, scratch.path(), &runtime);
    let (mut talk, _) = master.welcome(|_| Decision::Keep).await;
    let waiting = (1..100).map(|index| Assignment { image: "fake/hung".to_owned(), ..assignment(index) });
    talk.say(ToWorker::Assign(waiting.chain([assignment(0)]).collect()));
    assert_eq!(talk.started().await, key(0));
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_not_good_ends_the_worker_with_a_hint() {
    let scratch = tempfile::tempdir().expect("a directory");
    let runtime = Arc::new(FakeRuntime::new());
    let master = Master::start().await;
    let fingerprint = master.token.parse::<JoinToken>().expect("a token").fingerprint;
    let guessed = JoinToken::generate(fingerprint).expose();
    for (token, code) in [(Some(guessed.as_str()), 4), (Some("cloudai-join_x"), 2), (None, 2)] {
        let ended = Running::start_with(&master, scratch.path(), &runtime, token).ended().await;
        let error = ended.expect_err("refused");
        assert_eq!(error.exit_code(), code, "{error}");
        assert!(error.hint().contains("cloudctl worker-token create"), "{}", error.hint());
        assert!(!error.to_string().contains(&guessed));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_never_told_to_another_master() {
    let scratch = tempfile::tempdir().expect("a directory");
    let runtime = Arc::new(FakeRuntime::new());
    let (ours, other) = (Master::start().await, Master::start().await);
    let ended = Running::start_with(&other, scratch.path(), &runtime, Some(&ours.token)).ended().await;
    let error = ended.expect_err("it does not wait for what will not come");
    assert!(matches!(error, WorkerError::OtherAuthority { .. }), "{error}");
    assert!(error.hint().contains("another cluster"), "{}", error.hint());
    assert_eq!((other.handshakes.load(Ordering::Relaxed), other.asked.load(Ordering::Relaxed)), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_joined_needs_no_token_and_renews_in_time() {
    let scratch = tempfile::tempdir().expect("a directory");
    let runtime = Arc::new(FakeRuntime::with(|_| Behaviour::endless()));
    let mut master = Master::start_with(Duration::from_secs(3)).await;
    let worker = Running::start(&master, scratch.path(), &runtime);
    let (talk, _) = master.welcome(|_| Decision::Keep).await;
    talk.say(ToWorker::Assign(vec![assignment(0)]));
    wait_for("two renewals", || master.renewed.load(Ordering::Relaxed) >= 2).await;
    wait_for("the start", || runtime.starts() == [key(0)]).await;
    assert!(master.sessions.try_recv().is_err(), "it did not have to connect again");
    worker.stop().await;
    // The certificate runs out while nobody is there.
    tokio::time::sleep(Duration::from_secs(4)).await;
    let renewed = master.renewed.load(Ordering::Relaxed);
    let worker = Running::start_with(&master, scratch.path(), &runtime, None);
    let (_talk, inventory) = master.welcome(|_| Decision::Keep).await;
    assert_eq!(inventory.len(), 1);
    assert!(master.renewed.load(Ordering::Relaxed) > renewed, "before anything else");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_worker_on_the_same_directory_is_refused() {
    let scratch = tempfile::tempdir().expect("a directory");
    let runtime = Arc::new(FakeRuntime::new());
    let mut master = Master::start().await;
    let first = Running::start(&master, scratch.path(), &runtime);
    let (_talk, _) = master.welcome(|_| Decision::Keep).await;
    let error = Running::start(&master, scratch.path(), &runtime).ended().await.expect_err("refused");
    assert!(matches!(error, WorkerError::InUse { .. }), "{error}");
    first.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_worker_waits_for_one_that_is_about_to_be_gone() {
    let scratch = tempfile::tempdir().expect("a directory");
    let runtime = Arc::new(FakeRuntime::new());
    let mut master = Master::start().await;
    let lock = std::fs::File::create(scratch.path().join("lock")).expect("a file");
    lock.lock().expect("ours");
    let worker = Running::start(&master, scratch.path(), &runtime);
    let gone = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        drop(lock);
    };
    tokio::join!(gone, master.welcome(|_| Decision::Keep));
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_engine_the_worker_is_there_and_takes_up_everything_when_it_comes() {
    let scratch = tempfile::tempdir().expect("a directory");
    let runtime = Arc::new(FakeRuntime::with(|_| Behaviour::endless().writing("kept", "x")));
    let mut master = Master::start().await;
    let worker = Running::start(&master, scratch.path(), &runtime);
    let (mut talk, hello) = master.greeted(|_| Decision::Keep).await;
    assert_eq!(hello.problem, None);
    talk.say(ToWorker::Assign(vec![assignment(0), assignment(1)]));
    let both = BTreeSet::from([talk.started().await, talk.started().await]);
    assert_eq!(both, BTreeSet::from([key(0), key(1)]));
    worker.stop().await;

    runtime.set_outage(Some("it is stopped"));
    let runs = scratch.path().join("runs");
    let outputs = || std::fs::read_dir(&runs).expect("runs").count();
    let worker = Running::start(&master, scratch.path(), &runtime);
    let (mut talk, hello) = master.greeted(|_| Decision::Keep).await;
    assert_eq!(hello.problem.as_deref(), Some("container engine: it is stopped"));
    assert_eq!(hello.inventory, [0, 1].map(|index| Held { key: key(index), phase: Phase::Running }));
    let FromWorker::Heartbeat(beat) = talk.next().await else { panic!("no heartbeat") };
    assert_eq!((beat.problem, beat.usage.running), (hello.problem, 2));
    // One is cancelled and one has gone, before anybody can see.
    talk.say(ToWorker::Cancel(vec![CancelOrder { key: key(0), grace: Duration::from_secs(10), time_limit: None }]));
    runtime.lose(&key(1));
    assert_eq!(outputs(), 2, "nobody knows what is not needed any more");

    runtime.set_outage(None);
    let (mut talk, hello) = master.greeted(|_| Decision::Keep).await;
    assert_eq!(hello.inventory.len(), 2, "the session begins anew with what is there");
    let mut ends = BTreeMap::new();
    while ends.len() < 2 {
        if let Report { key, change: AttemptChange::Finished(outcome), .. } = talk.report().await {
            ends.insert(key, outcome.verdict);
        }
    }
    assert_eq!(ends[&key(0)], Verdict::Cancelled);
    assert!(matches!(ends[&key(1)], Verdict::WorkerLost { .. }), "{ends:?}");
    while !matches!(talk.next().await, FromWorker::Heartbeat(beat) if beat.problem.is_none()) {}
    assert_eq!(runtime.starts().len(), 2, "nothing was started again");
    worker.stop().await;
}
