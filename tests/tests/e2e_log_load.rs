//! Much more log than is kept, with many who follow it: nobody's memory grows, and each byte is stored or said to be cut.
//!
//! `./tests/torture.sh long logs` is the long form: 20 GiB, and 1 GiB that a hundred follow.
#![allow(missing_docs, clippy::panic, clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use cloudai_tests::api::Api;
use cloudai_tests::bench::{peak_mb, reset_peak, resident_mb};
use cloudai_tests::embedded::{AMPLE, worker_config};
use cloudai_tests::master::{Master, MasterOptions};
use cloudai_tests::process::{Process, Recipe};
use cloudai_tests::socket::Socket;
use cloudai_tests::wait::{PATIENCE, eventually};
use cloudaid::runtime::fake::{FakeRuntime, flood};
use reqwest::Method;
use shared::resources::Quantity;
use shared::submit::SubmitRequest;
use shared::task::Verdict;
use shared::view::LogEvent;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;
use tokio_util::sync::CancellationToken;

/// As the daemon has it.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const MIB: u64 = 1 << 20;

/// Tells the worker where it lives, where its master is, and by which token it joins.
const WORKER: &str = "CLOUDAI_TEST_LOG_LOAD_WORKER";

/// The most that memory may rise, in MB (10^6 bytes): 64 MiB.
const RISE: f64 = 67.1;

fn size(quick: u64, long: u64) -> u64 {
    if std::env::var_os("CLOUDAI_TEST_LOG_LOAD").is_some() { long } else { quick }
}

/// A master and a worker on a fake engine, each a process of its own; who follows is in this one.
struct Bench {
    master: Master,
    api: Api,
    worker: Process,
    before: (f64, f64),
    directory: tempfile::TempDir,
}

impl Bench {
    async fn start(keep: u64) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let env = vec![("CLOUDAI_TASK_LOGS_KEEP".to_owned(), format!("{}MiB", keep / MIB))];
        let master = Master::start(directory.path(), &MasterOptions { env, ..MasterOptions::default() }).await;
        let api = master.api().for_long().await;
        let told = (directory.path(), master.grpc_address(), api.join_token().await);
        let worker = Process::start(Recipe {
            name: "worker".to_owned(),
            program: std::env::current_exe().expect("the path of this test"),
            args: ["worker_of_the_load", "--exact", "--ignored", "--nocapture"].map(str::to_owned).into(),
            env: vec![(WORKER.to_owned(), serde_json::to_string(&told).expect("JSON"))],
            dir: directory.path().to_owned(),
        });
        let mut bench = Self { master, api, worker, before: (0.0, 0.0), directory };
        // What the first task of all costs is no matter of logs.
        let id = bench.flood(MIB).await;
        bench.api.ended(PATIENCE, &id).await;
        let [master, worker] = bench.pids();
        bench.before = (resident_mb(master), resident_mb(worker));
        bench.pids().into_iter().for_each(reset_peak);
        bench
    }

    fn pids(&self) -> [u32; 2] {
        [self.master.process.pid(), self.worker.pid()]
    }

    async fn flood(&self, bytes: u64) -> String {
        self.submit(format!("fake/flood:{bytes}")).await
    }

    async fn submit(&self, image: String) -> String {
        let request = SubmitRequest {
            image,
            cpu_cores: Some(Quantity::Text("100m".to_owned())),
            mem: Some(Quantity::Text("16MiB".to_owned())),
            ..SubmitRequest::default()
        };
        self.api.submit(&request).await.expect("accepted").task_id
    }

    async fn end(mut self) {
        let status = self.worker.term().await;
        assert!(status.success(), "the worker ends well: {status}");
    }

    /// How much more memory than at the beginning there was in the master, and in the worker.
    fn rises(&self) -> (f64, f64) {
        let [master, worker] = self.pids();
        (peak_mb(master) - self.before.0, peak_mb(worker) - self.before.1)
    }

    async fn follow(&self, id: &str) -> Follower {
        Follower::connect(&self.master, &self.api, id).await
    }

    /// What is stored of a log of so many bytes, and what is said to be cut out; each byte that is there is looked at.
    async fn stored(&self, id: &str, bytes: u64) -> (u64, u64) {
        let request = self.api.request(Method::GET, &format!("/api/tasks/{id}/logs?stream=stdout"));
        let mut response = request.send().await.expect("an answer").error_for_status().expect("a log");
        let header = response.headers().get("cloudai-log-cut").map(|cut| cut.to_str().expect("text").to_owned());
        let (from, to) = header.as_deref().map_or((bytes, bytes), stdout_cut);
        let (mut at, mut stored) = (0, 0);
        while let Some(mut data) = response.chunk().await.expect("a log") {
            stored += data.len() as u64;
            while !data.is_empty() {
                if at == from {
                    at = to;
                }
                let end = if at < from { from } else { bytes };
                let expected = flood(at, end);
                let length = expected.len().min(data.len());
                assert!(expected[..length] == data[..length], "{id} is wrong at {at}");
                at += length as u64;
                let _seen = data.split_to(length);
            }
        }
        (stored, to - from)
    }
}

/// No test: the worker of those below, which start it in a process of its own, so that its memory is its own too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the other tests start it"]
async fn worker_of_the_load() {
    let told = std::env::var(WORKER).expect("it is told where its master is");
    let (directory, grpc, join): (PathBuf, String, String) = serde_json::from_str(&told).expect("as it was written");
    let mut asked = signal(SignalKind::terminate()).expect("a signal");
    let stop = CancellationToken::new();
    let token = stop.clone();
    let worker = tokio::spawn(async move {
        let (engine, config) = (Arc::new(FakeRuntime::new()), worker_config(&directory, 1, grpc, &join, AMPLE));
        cloudaid::worker::run_with(engine, config, token).await.expect("the worker ends well");
    });
    asked.recv().await;
    stop.cancel();
    worker.await.expect("the worker");
}

/// `stdout=FROM..TO; stderr=...`
fn stdout_cut(header: &str) -> (u64, u64) {
    let range = header.strip_prefix("stdout=").and_then(|rest| rest.split(';').next()).expect("a cut of stdout");
    let (from, to) = range.split_once("..").expect("a range");
    (from.parse().expect("a number"), to.parse().expect("a number"))
}

/// Follows the log of one task.
struct Follower {
    socket: Socket,
    bytes: u64,
    cut: u64,
}

impl Follower {
    async fn connect(master: &Master, api: &Api, id: &str) -> Self {
        let path = format!("/ws/tasks/{id}/logs");
        let socket = Socket::connect(&master.url(), &path, api.token()).await.expect("a socket");
        Self { socket, bytes: 0, cut: 0 }
    }

    /// Until the end. Each byte must be the one that stands there.
    async fn read(mut self) -> (u64, u64) {
        loop {
            match self.socket.frame().await.expect("not closed before the end") {
                Message::Binary(frame) => {
                    let (head, mut data) = frame.split_at(9);
                    let mut at = u64::from_be_bytes(head[1..].try_into().expect("an offset"));
                    assert_eq!(at, self.bytes + self.cut, "nothing is left out silently");
                    self.bytes += data.len() as u64;
                    while !data.is_empty() {
                        let expected = flood(at, u64::MAX);
                        let length = expected.len().min(data.len());
                        assert!(expected[..length] == data[..length], "wrong at {at}");
                        (at, data) = (at + length as u64, &data[length..]);
                    }
                }
                Message::Text(text) => match serde_json::from_str(&text).expect("an event") {
                    LogEvent::Cut { stdout_bytes, .. } => self.cut += stdout_bytes,
                    LogEvent::End { verdict, .. } => {
                        assert_eq!(verdict, Some(Verdict::Success));
                        return (self.bytes, self.cut);
                    }
                    LogEvent::Error { error } => panic!("{}", error.message),
                    LogEvent::Attempt { .. } | LogEvent::State { .. } => {}
                },
                _ => {}
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn log_load_of_twenty_tasks() {
    const TASKS: u64 = 20;
    let (bytes, keep) = (size(16, 1024) * MIB, size(4, 64) * MIB);
    let bench = Bench::start(keep).await;
    let begin = Instant::now();
    let mut ids = Vec::new();
    for _ in 0..TASKS {
        ids.push(bench.flood(bytes).await);
    }
    let mut followers = JoinSet::new();
    for id in &ids[..4] {
        followers.spawn(bench.follow(id).await.read());
    }
    let mut produced = 0;
    for id in &ids {
        let task = bench.api.ended(PATIENCE * 60, id).await;
        assert_eq!(task.verdict, Some(Verdict::Success));
        produced += task.usage.expect("what it used").stdout_bytes;
    }
    let took = begin.elapsed();
    let followed = followers.join_all().await;
    let (master, worker) = bench.rises();
    let (mut stored, mut cut) = (0, 0);
    for id in &ids {
        let (kept, gone) = bench.stored(id, bytes).await;
        assert!(kept <= keep && kept > keep / 4 * 3, "{kept}");
        stored += kept;
        cut += gone;
    }
    println!(
        "{produced} bytes of {TASKS} tasks in {took:.0?}: {stored} stored + {cut} declared cut = {}; 4 followers: {followed:?}; \
         memory rose by {master:.0} MB in the master, {worker:.0} MB in the worker",
        stored + cut
    );
    assert_eq!((produced, stored + cut), (TASKS * bytes, TASKS * bytes));
    assert!(followed.iter().all(|(read, cut)| read + cut == bytes), "{followed:?}");
    assert!(master < RISE && worker < RISE, "memory rose by {master} and {worker} MB");
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn log_load_of_a_hundred_followers() {
    const READING: usize = 80;
    let (bytes, keep) = (size(32, 1024) * MIB, size(4, 64) * MIB);
    let bench = Bench::start(keep).await;
    let begin = Instant::now();
    let id = bench.flood(bytes).await;
    let mut followers = JoinSet::new();
    for _ in 0..READING {
        followers.spawn(bench.follow(&id).await.read());
    }
    let mut stalled = Vec::new();
    for _ in READING..100 {
        stalled.push(bench.follow(&id).await);
    }
    let task = bench.api.ended(PATIENCE * 10, &id).await;
    let took = begin.elapsed();
    assert_eq!(task.usage.expect("what it used").stdout_bytes, bytes);
    let followed = followers.join_all().await;
    let (master, worker) = bench.rises();
    let (stored, cut) = bench.stored(&id, bytes).await;
    let read: u64 = followed.iter().map(|(read, _)| read).sum();
    println!(
        "{bytes} bytes of one task in {took:.0?}: {stored} stored + {cut} declared cut = {}; {READING} followers read {read} \
         bytes, 20 read nothing; memory rose by {master:.0} MB in the master, {worker:.0} MB in the worker",
        stored + cut
    );
    assert_eq!(stored + cut, bytes);
    assert!(followed.iter().all(|(read, cut)| read + cut == bytes), "{followed:?}");
    assert!(master < RISE && worker < RISE, "memory rose by {master} and {worker} MB");
    drop(stalled);
    bench.end().await;
}

/// What a fleeting flood begins with.
const BEFORE: &[u8] = b"ready\ngo\n";

/// Whether a log that waits at a worker has come to its end.
fn has_ended_at(worker: &Path) -> Option<()> {
    let runs = std::fs::read_dir(worker.join("runs")).ok()?;
    let files = runs.filter_map(|run| std::fs::read_dir(run.ok()?.path()).ok()).flatten();
    let ends = files.filter_map(|file| {
        let path = file.ok()?.path();
        let is_kept = path.file_name()?.to_str()?.starts_with("log-spool");
        // The last of all frames: 9 bytes, of the third kind, of which all others are 0.
        let frame = is_kept.then(|| end_of(&path, 17)).flatten()?;
        (frame[..4] == [9, 0, 0, 0] && frame[8..] == [3, 0, 0, 0, 0, 0, 0, 0, 0]).then_some(())
    });
    ends.last()
}

fn end_of(path: &Path, count: u64) -> Option<Vec<u8>> {
    let file = std::fs::File::open(path).ok()?;
    let start = file.metadata().ok()?.len().checked_sub(count)?;
    let mut end = vec![0; usize::try_from(count).ok()?];
    file.read_exact_at(&mut end, start).ok()?;
    Some(end)
}

/// What is stored of it, and what is said to be cut out; each byte that is there is looked at.
async fn stored_of_fleeting(api: &Api, id: &str, total: u64) -> (u64, u64) {
    let request = api.request(Method::GET, &format!("/api/tasks/{id}/logs?stream=stdout"));
    let mut response = request.send().await.expect("an answer").error_for_status().expect("a log");
    let header =
        response.headers().get("cloudai-log-cut").expect("something is cut").to_str().expect("text").to_owned();
    let cuts: Vec<_> = header.split(", ").map(stdout_cut).collect();
    let (mut at, mut stored) = (0, 0);
    while let Some(mut data) = response.chunk().await.expect("a log") {
        stored += data.len() as u64;
        while !data.is_empty() {
            let (mut length, before) = (data.len(), BEFORE.len() as u64);
            for (from, to) in &cuts {
                if at == *from {
                    at = *to;
                }
                if at < *from {
                    length = length.min(usize::try_from(from - at).expect("a length"));
                }
            }
            let expected = match usize::try_from(at).ok().and_then(|at| BEFORE.get(at..)) {
                Some(rest) if !rest.is_empty() => rest.to_vec(),
                _ => flood(at - before, total - before).to_vec(),
            };
            let length = length.min(expected.len());
            assert!(length > 0 && expected[..length] == data[..length], "{id} is wrong at {at}");
            at += length as u64;
            let _seen = data.split_to(length);
        }
    }
    (stored, cuts.iter().map(|(from, to)| to - from).sum())
}

/// More than a worker keeps is written while the master is away, and its engine has nothing of it any more.
async fn written_while_the_master_is_away(with_worker: bool) {
    let bytes = size(128, 4096) * MIB;
    let total = bytes + BEFORE.len() as u64;
    let mut bench = Bench::start(1024 * MIB).await;
    let id = bench.submit(format!("fake/fleeting:{bytes}")).await;
    bench.api.said(PATIENCE, &id, "ready").await;
    bench.master.kill9();
    let worker = bench.directory.path().join("worker-1");
    eventually(PATIENCE * 10, "the end of the log at its worker", || async { has_ended_at(&worker) }).await;
    let rise = peak_mb(bench.worker.pid()) - bench.before.1;
    assert!(rise < RISE, "the worker's memory rose by {rise} MB");
    if with_worker {
        bench.worker.kill9();
        bench.worker.start_again();
    }
    bench.master.restart().await;
    let task = bench.api.ended(PATIENCE, &id).await;
    assert_eq!(task.verdict, Some(Verdict::Success));
    let produced = task.usage.expect("what it used").stdout_bytes;
    let (stored, cut) = stored_of_fleeting(&bench.api, &id, total).await;
    println!(
        "{produced} bytes: {stored} stored + {cut} declared cut = {}; the worker's memory rose by {rise:.0} MB",
        stored + cut
    );
    assert_eq!((produced, stored + cut), (total, total));
    assert!(stored > 48 * MIB && stored < 64 * MIB, "{stored}");
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn log_load_while_the_master_is_away() {
    written_while_the_master_is_away(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn log_load_while_the_master_is_away_and_its_worker_is_killed() {
    written_while_the_master_is_away(true).await;
}
