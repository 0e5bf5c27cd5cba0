//! The master is killed while clients submit: at random instants, right after an answer, and right before and after
//! commits. What was answered
//! is never missing, and one key never makes two tasks.
#![allow(missing_docs, clippy::panic, clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use cloudai_tests::api::Api;
use cloudai_tests::cluster::{Cluster, shell_task};
use cloudai_tests::master::MasterOptions;
use cloudai_tests::mongo::Mongo;
use cloudai_tests::process::Process;
use cloudai_tests::wait::PATIENCE;
use cloudai_tests::worker::WorkerOptions;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use shared::view::TaskListView;
use tokio::sync::Notify;

const KILLS: u64 = 200;
/// The server of the tests is slow: `CLOUDAI_TEST_KILLS` for more.
const KILLS_ON_MONGODB: u64 = 20;
const CLIENTS: usize = 4;

/// What clients know: every key that was tried, and the id where there was an answer.
#[derive(Clone, Default)]
struct Known {
    next: Arc<AtomicU64>,
    ids: Arc<Mutex<BTreeMap<String, Option<String>>>>,
    /// Somebody has got an answer just now.
    answered: Arc<Notify>,
}

impl Known {
    /// Submits one task after the other, from when the master takes requests until it is gone.
    async fn submit_until_down(self, api: Api, down: Arc<AtomicBool>) {
        while !down.load(Ordering::Relaxed) {
            if !api.is_ready().await {
                tokio::time::sleep(Duration::from_millis(2)).await;
                continue;
            }
            let key = format!("key-{}", self.next.fetch_add(1, Ordering::Relaxed));
            self.ids.lock().expect("no panics").insert(key.clone(), None);
            if let Ok(view) = api.submit_with_key(&key, &shell_task(&key)).await {
                self.ids.lock().expect("no panics").insert(key, Some(view.task_id));
                self.answered.notify_waiters();
            }
        }
    }

    fn all(&self) -> BTreeMap<String, Option<String>> {
        self.ids.lock().expect("no panics").clone()
    }
}

/// What ends the master in this round.
fn failpoint(dice: &mut StdRng) -> Option<String> {
    let hit = dice.random_range(1..12u32);
    match dice.random_range(0..4u32) {
        0 => Some(format!("store.commit.before=abort@{hit}")),
        1 => Some(format!("store.commit.after=abort@{hit}")),
        _ => None,
    }
}

#[tokio::test]
async fn nothing_acknowledged_is_missing_after_two_hundred_kills() {
    kill_while_clients_submit(&MasterOptions::default(), KILLS, 200).await;
}

#[tokio::test]
async fn nothing_acknowledged_is_missing_after_kills_on_mongodb() {
    let kills =
        std::env::var("CLOUDAI_TEST_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(KILLS_ON_MONGODB);
    let dir = tempfile::tempdir().expect("a directory");
    let mongo = Mongo::start(dir.path()).await;
    kill_while_clients_submit(&MasterOptions::on_mongo(&mongo.uri("kills")), kills, 5).await;
}

/// `least`: acknowledgements without which nothing was tested.
async fn kill_while_clients_submit(options: &MasterOptions, kills: u64, least: usize) {
    let seed = std::env::var("CLOUDAI_TEST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(7);
    println!("CLOUDAI_TEST_SEED={seed}");
    let mut dice = StdRng::seed_from_u64(seed);
    let mut cluster = Cluster::start_with(options, 0, &WorkerOptions::default()).await;
    let known = Known::default();
    for round in 0..kills {
        let point = failpoint(&mut dice);
        cluster.master.kill9();
        let env = &mut cluster.master.process.recipe_mut().env;
        env.retain(|(name, _)| name != "CLOUDAI_FAILPOINTS");
        env.extend(point.iter().map(|point| ("CLOUDAI_FAILPOINTS".to_owned(), point.clone())));
        cluster.master.process.start_again();
        let down = Arc::new(AtomicBool::new(false));
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| tokio::spawn(known.clone().submit_until_down(cluster.api(), Arc::clone(&down))))
            .collect();
        if point.is_none() {
            if round % 2 == 0 {
                tokio::time::sleep(Duration::from_micros(dice.random_range(60_000..260_000))).await;
            } else {
                known.answered.notified().await;
            }
            cluster.master.process.signal(rustix::process::Signal::KILL);
        }
        eventually_dead(&mut cluster.master.process).await;
        down.store(true, Ordering::Relaxed);
        for client in clients {
            client.await.unwrap_or_else(|error| panic!("round {round}: {error}"));
        }
    }
    let tried = known.all();
    let answered = tried.values().filter(|id| id.is_some()).count();
    println!("{} tried, {answered} answered, {kills} kills", tried.len());
    assert!(answered > least, "the test did something: {answered}");
    cluster.master.kill9();
    cluster.master.process.recipe_mut().env.retain(|(name, _)| name != "CLOUDAI_FAILPOINTS");
    cluster.master.restart().await;
    check(&cluster.api(), &tried).await;
}

/// Returns when the process has ended.
async fn eventually_dead(process: &mut Process) {
    let deadline = Instant::now() + PATIENCE;
    while process.exit_status().is_none() {
        assert!(Instant::now() < deadline, "the master did not reach the point");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

async fn check(api: &Api, tried: &BTreeMap<String, Option<String>>) {
    for (key, id) in tried {
        if let Some(id) = id {
            let task = api.task(id).await.unwrap_or_else(|error| panic!("{key} -> {id} was acknowledged: {error:?}"));
            assert_eq!(task.command, shared::task::Command::Shell(key.clone()));
        }
    }
    let mut ids = BTreeMap::new();
    for (key, id) in tried {
        let again = api.submit_with_key(key, &shell_task(key)).await.expect("accepted");
        assert!(id.as_ref().is_none_or(|id| *id == again.task_id), "{key}: {id:?}, now {again:?}");
        assert!(ids.insert(again.task_id, key.clone()).is_none(), "two keys, one task");
    }
    let mut listed = 0;
    let mut cursor = String::new();
    loop {
        let page: TaskListView = api.get(&format!("/api/tasks?limit=1000{cursor}")).await.expect("a page");
        for task in &page.tasks {
            assert!(ids.contains_key(&task.task_id), "nobody asked for {}", task.task_id);
        }
        listed += page.tasks.len();
        match page.next_cursor {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(listed, ids.len(), "one task per key");
}
