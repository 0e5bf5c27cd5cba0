//! MongoDB goes away while clients submit and a task runs: stopped, killed, restarted, its connections cut. Nothing that was
//! answered is lost, who is refused hears it within a second, and all is well again soon.
//!
//! Ten times here; `CLOUDAI_TEST_OUTAGES=100` for more.
#![allow(missing_docs, clippy::panic, clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use cloudai_tests::api::{Api, Failure};
use cloudai_tests::cluster::{Cluster, shell_task};
use cloudai_tests::master::MasterOptions;
use cloudai_tests::mongo::Mongo;
use cloudai_tests::proxy::{Cut, Proxy};
use cloudai_tests::wait::{PATIENCE, eventually};
use cloudai_tests::worker::WorkerOptions;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rustix::process::Signal;
use shared::error::ErrorCode;
use shared::task::{Command, TaskState, Verdict};
use shared::view::{StatusView, StoreState, TaskListView};

const CLIENTS: usize = 3;
/// Between two submissions of a client: the server of the tests is slow with many documents.
const PAUSE: Duration = Duration::from_millis(200);
/// Whoever is refused hears it within this time.
const REFUSED_WITHIN: Duration = Duration::from_secs(1);
/// All is well again within this time after the server is.
const HEALTHY_WITHIN: Duration = Duration::from_secs(5);

/// How the server goes away.
#[derive(Debug, Clone, Copy)]
enum Outage {
    Stopped,
    Killed,
    Ended,
    Cut,
}

const OUTAGES: [Outage; 4] = [Outage::Stopped, Outage::Killed, Outage::Ended, Outage::Cut];

/// What clients know.
#[derive(Clone, Default)]
struct Known {
    next: Arc<AtomicU64>,
    ids: Arc<Mutex<BTreeMap<String, Option<String>>>>,
    refused: Arc<AtomicU64>,
    slowest: Arc<Mutex<Duration>>,
    stop: Arc<AtomicBool>,
}

impl Known {
    async fn submit(self, api: Api) {
        while !self.stop.load(Ordering::Relaxed) {
            let key = format!("key-{}", self.next.fetch_add(1, Ordering::Relaxed));
            self.ids.lock().expect("no panics").insert(key.clone(), None);
            let began = Instant::now();
            let mut task = shell_task(&key);
            // It waits for ever, so that only submissions are told from each other here.
            task.cpu_cores = Some(shared::resources::Quantity::Text("900".to_owned()));
            match api.submit_with_key(&key, &task).await {
                Ok(view) => {
                    self.ids.lock().expect("no panics").insert(key, Some(view.task_id));
                }
                Err(Failure::Refused { status, error }) => {
                    let took = began.elapsed();
                    let explicit = matches!(error.code, ErrorCode::Unavailable | ErrorCode::OutcomeUnknown);
                    assert!(explicit && [503, 504].contains(&status), "{status} {error:?}");
                    assert!(!error.hint.is_empty(), "{error:?}");
                    self.refused.fetch_add(1, Ordering::Relaxed);
                    let mut slowest = self.slowest.lock().expect("no panics");
                    *slowest = took.max(*slowest);
                    assert!(took < REFUSED_WITHIN, "refused after {took:?}: {error:?}");
                }
                Err(Failure::Unknown(why)) => panic!("{key}: no answer: {why}"),
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_in_outages() {
    let outages = std::env::var("CLOUDAI_TEST_OUTAGES").ok().and_then(|count| count.parse().ok()).unwrap_or(10);
    let seed = std::env::var("CLOUDAI_TEST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(7);
    println!("CLOUDAI_TEST_SEED={seed} CLOUDAI_TEST_OUTAGES={outages}");
    let mut dice = StdRng::seed_from_u64(seed);
    let dir = tempfile::tempdir().expect("a directory");
    let mut mongo = Mongo::start(dir.path()).await;
    let proxy = Proxy::start(&mongo.address(), Cut::Never).await;
    let uri = format!("mongodb://{}/outages", proxy.address());
    let cluster = Cluster::start_with(&MasterOptions::on_mongo(&uri), 1, &WorkerOptions::default()).await;
    let api = cluster.api();
    let known = Known::default();
    let clients: Vec<_> = (0..CLIENTS).map(|_| tokio::spawn(known.clone().submit(cluster.api()))).collect();
    let mut slowest_recovery = Duration::ZERO;
    for number in 0..outages {
        let outage = OUTAGES[number % OUTAGES.len()];
        // It begins before, and ends while, the server is away.
        let line = "echo start; sleep 1.5; echo end; echo done > /output/done";
        let running = api.submit(&shell_task(line)).await.expect("accepted").task_id;
        eventually(PATIENCE, "it runs", || async {
            api.task(&running).await.ok().filter(|task| task.state == TaskState::Running)
        })
        .await;
        let refused = known.refused.load(Ordering::Relaxed);
        match outage {
            Outage::Stopped => mongo.process.signal(Signal::STOP),
            Outage::Killed => mongo.process.kill9(),
            Outage::Ended => {
                mongo.process.term().await;
            }
            Outage::Cut => proxy.shut(),
        }
        eventually(PATIENCE, "status tells", || async {
            let status: StatusView = api.status().await.ok()?;
            (status.store_state == StoreState::Unavailable && !api.is_ready().await).then_some(())
        })
        .await;
        let metrics = api.get_bytes("/metrics").await.expect("metrics");
        assert!(String::from_utf8_lossy(&metrics).contains("\ncloudai_store_available 0"), "metrics tell");
        tokio::time::sleep(Duration::from_millis(dice.random_range(1500..2500))).await;
        match outage {
            Outage::Stopped => mongo.process.signal(Signal::CONT),
            Outage::Killed | Outage::Ended => mongo.process.start_again(),
            Outage::Cut => proxy.open(),
        }
        mongo.ready().await;
        let back = Instant::now();
        eventually(PATIENCE, "the master is ready again", || async { api.is_ready().await.then_some(()) }).await;
        let recovery = back.elapsed();
        slowest_recovery = slowest_recovery.max(recovery);
        assert!(recovery < HEALTHY_WITHIN, "{outage:?}: healthy {recovery:?} after the server was");
        assert!(known.refused.load(Ordering::Relaxed) > refused, "{outage:?}: nobody noticed");
        let ended = api.ended(PATIENCE, &running).await;
        assert_eq!((ended.verdict, ended.attempts.len()), (Some(Verdict::Success), 1), "{outage:?}");
        let log = api.get_bytes(&format!("/api/tasks/{running}/logs?stream=stdout")).await.expect("a log");
        assert_eq!(String::from_utf8_lossy(&log), "start\nend\n", "{outage:?}");
    }
    known.stop.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.expect("every call was answered");
    }
    let tried = known.ids.lock().expect("no panics").clone();
    let answered = tried.values().flatten().count();
    println!(
        "{outages} outages: {} tried, {answered} acknowledged, {} refused, the slowest after {:?}; healthy at most {:?} \
         after the server",
        tried.len(),
        known.refused.load(Ordering::Relaxed),
        known.slowest.lock().expect("no panics"),
        slowest_recovery,
    );
    check(&api, &tried).await;
}

/// What was acknowledged is there, and one key is one task.
async fn check(api: &Api, tried: &BTreeMap<String, Option<String>>) {
    let mut kept: BTreeMap<String, String> = BTreeMap::new();
    let mut cursor = String::new();
    loop {
        let page: TaskListView = api.get(&format!("/api/tasks?limit=1000{cursor}")).await.expect("a page");
        for task in page.tasks {
            let Command::Shell(key) = task.command else { panic!("nobody asked for {}", task.task_id) };
            if tried.contains_key(&key) {
                assert!(kept.insert(key.clone(), task.task_id).is_none(), "two tasks of {key}");
            }
        }
        match page.next_cursor {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    for (key, id) in tried {
        if let Some(id) = id {
            assert_eq!(kept.get(key), Some(id), "{key} was acknowledged");
        }
    }
}
