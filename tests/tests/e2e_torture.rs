//! Workers that are killed and cut off all the time, over real containers that tell themselves how often they ran.
//!
//! `./tests/torture.sh long kills partitions` is the long form: 1,000 kills over as many containers, 300 partitions.
#![allow(missing_docs, clippy::panic, clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use cloudai_tests::api::Api;
use cloudai_tests::cluster::{Cluster, shell_task};
use cloudai_tests::master::MasterOptions;
use cloudai_tests::netns::{Cut, Netns};
use cloudai_tests::wait::{PATIENCE, eventually};
use cloudai_tests::witness::Witness;
use cloudai_tests::worker::WorkerOptions;
use rand::RngExt;
use shared::resources::Quantity;
use shared::submit::SubmitRequest;
use shared::task::{TaskState, Verdict, VerdictKind};
use shared::view::TaskView;

fn size(quick: u32, long: u32) -> u32 {
    if std::env::var_os("CLOUDAI_TEST_TORTURE").is_some() { long } else { quick }
}

/// Lines of each stream of a task.
const LINES: u32 = 40;

/// No other way to end has it.
fn exit_code(number: u32) -> i32 {
    1 + (number % 97).cast_signed()
}

/// Tells the witness that it runs, writes a log whose every byte is known, and ends with an exit code of its own.
fn task(number: u32, witness: &Witness, pause: &str) -> SubmitRequest {
    let line = format!(
        "{} for i in $(seq 1 {LINES}); do echo {number}-$i; echo {number}-err-$i >&2; sleep {pause}; done; {} exit {}",
        witness.tell(number, "begins"),
        witness.tell(number, "ends"),
        exit_code(number),
    );
    let (cpu_cores, mem) = (Some(Quantity::Text("200m".to_owned())), Some(Quantity::Text("16MiB".to_owned())));
    SubmitRequest { cpu_cores, mem, ..shell_task(&line) }
}

/// How many bytes of its log there are, how many there should be, and whether they are the right ones.
async fn read_log(api: &Api, number: u32, id: &str) -> (usize, usize, bool) {
    let (mut found, mut expected, mut is_right) = (0, 0, true);
    for (stream, mark) in [("stdout", ""), ("stderr", "err-")] {
        let wanted: String = (1..=LINES).map(|line| format!("{number}-{mark}{line}\n")).collect();
        let log = api.get_bytes(&format!("/api/tasks/{id}/logs?stream={stream}")).await.expect("a log");
        found += log.len();
        expected += wanted.len();
        is_right &= log == wanted.as_bytes();
    }
    (found, expected, is_right)
}

/// A window of tasks at work, and those that have ended.
struct Work {
    open: BTreeMap<u32, String>,
    ended: BTreeMap<u32, TaskView>,
    last: u32,
}

impl Work {
    fn new() -> Self {
        Self { open: BTreeMap::new(), ended: BTreeMap::new(), last: 0 }
    }

    /// Fills the window up again.
    async fn go_on(&mut self, api: &Api, window: usize, make: impl Fn(u32) -> SubmitRequest) {
        self.look(api).await;
        while self.open.len() < window {
            self.last += 1;
            let id = api.submit(&make(self.last)).await.expect("accepted").task_id;
            self.open.insert(self.last, id);
        }
    }

    async fn look(&mut self, api: &Api) {
        for (number, id) in self.open.clone() {
            let task = api.task(&id).await.expect("the task");
            if task.state.is_final() {
                self.open.remove(&number);
                self.ended.insert(number, task);
            }
        }
    }

    async fn finish(&mut self, api: &Api) {
        for (number, id) in std::mem::take(&mut self.open) {
            self.ended.insert(number, api.ended(PATIENCE * 3, &id).await);
        }
    }
}

#[tokio::test]
async fn torture_by_kills_of_the_worker() {
    let (kills, tasks) = (size(15, 1_000), size(25, 1_000));
    let options = WorkerOptions { cpu: "4".to_owned(), ..WorkerOptions::default() };
    let mut cluster = Cluster::start_with(&MasterOptions::default(), 1, &options).await;
    let api = cluster.api().for_long().await;
    let (witness, mut work, mut killed) = (Witness::listen(), Work::new(), 0);
    let begin = Instant::now();
    while killed < kills || work.last < tasks {
        work.go_on(&api, 8, |number| task(number, &witness, "0.03")).await;
        // At any moment of its life: while it takes up what runs, and while it starts, watches and harvests.
        let pause = rand::rng().random_range(0..900);
        tokio::time::sleep(Duration::from_millis(pause)).await;
        cluster.workers[0].kill9();
        cluster.workers[0].restart();
        killed += 1;
        if killed.is_multiple_of(100) {
            println!("{killed} kills, {} tasks have ended, {:.0?}", work.ended.len(), begin.elapsed());
        }
    }
    work.finish(&api).await;
    let (mut restarted, mut twice, mut lost, mut bytes, mut missing) = (0, 0, 0, 0, 0);
    let mut wrong = Vec::new();
    for (number, view) in &work.ended {
        let (begins, ends) = (witness.count(*number, "begins"), witness.count(*number, "ends"));
        let (found, expected, is_right) = read_log(&api, *number, &view.task_id).await;
        restarted += u32::from(view.attempts.len() != 1);
        twice += u32::from(begins > 1 || ends > 1);
        let is_known = view.verdict == Some(Verdict::ExitCode { exit_code: exit_code(*number) });
        lost += u32::from(!is_known);
        bytes += expected;
        missing += expected.abs_diff(found).max(usize::from(!is_right));
        if view.attempts.len() != 1 || begins != 1 || ends != 1 || !is_known || !is_right {
            wrong.push((number, begins, ends, found, expected, view));
        }
    }
    println!(
        "{killed} kills of a worker, {} containers: {restarted} restarted, {twice} run twice, {lost} exit codes lost, {missing} \
         of {bytes} log bytes missing, {:.0?}",
        work.ended.len(),
        begin.elapsed()
    );
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Leases ten times as short as usual.
fn short_leases() -> MasterOptions {
    let leases = [
        ("LEASES_HEARTBEAT", "500ms"),
        ("LEASES_SUSPECT", "1500ms"),
        ("LEASES_LEASE", "3s"),
        ("LEASES_REASSIGN", "4500ms"),
        ("LEASES_START_GRACE", "6s"),
        ("LEASES_MASS_LOSS_HOLD", "2s"),
        // Whoever is cut off all the time may be so often.
        ("LIMITS_INFRASTRUCTURE_ATTEMPTS", "100"),
    ];
    let env = leases.map(|(name, value)| (format!("CLOUDAI_{name}"), value.to_owned())).into();
    MasterOptions { env, reachable: true, ..MasterOptions::default() }
}

/// Every third may run once at most.
fn is_once(number: u32) -> bool {
    number.is_multiple_of(3)
}

#[tokio::test]
async fn torture_by_partitions() {
    const WORKERS: usize = 4;
    let partitions = size(12, 300);
    let mut cluster = Cluster::start_with(&short_leases(), 0, &WorkerOptions::default()).await;
    let networks: Vec<_> = (0..WORKERS).map(|_| Netns::make()).collect();
    for (number, network) in networks.iter().enumerate() {
        let options =
            WorkerOptions { cpu: "1".to_owned(), network: Some(network.network()), ..WorkerOptions::default() };
        cluster.add_worker(&format!("worker-{}", number + 1), &options).await;
    }
    let api = cluster.api().for_long().await;
    let (witness, mut work) = (Witness::listen(), Work::new());
    let make = |number| {
        let once = is_once(number).then_some(true);
        SubmitRequest { at_most_once: once, stop_grace: "1s".parse().ok(), ..task(number, &witness, "0.05") }
    };
    let begin = Instant::now();
    let (mut done, mut cuts) = (0, BTreeMap::<usize, (Cut, Instant)>::new());
    while done < partitions || !cuts.is_empty() {
        work.go_on(&api, 10, make).await;
        let now = Instant::now();
        let over: Vec<usize> = cuts.iter().filter(|(_, (_, until))| *until <= now).map(|(worker, _)| *worker).collect();
        for worker in over {
            let (cut, _) = cuts.remove(&worker).expect("it is cut");
            networks[worker].mend(cut);
            done += 1;
            if done % 50 == 0 {
                println!("{done} partitions, {} tasks have ended, {:.0?}", work.ended.len(), begin.elapsed());
            }
        }
        let worker = rand::rng().random_range(0..WORKERS);
        if done + (cuts.len() as u32) < partitions && !cuts.contains_key(&worker) && rand::rng().random_bool(0.5) {
            let cut = [Cut::Both, Cut::FromWorker, Cut::ToWorker][rand::rng().random_range(0..3)];
            // On both sides of every threshold: heartbeat, suspicion, lease, reassignment.
            let length = Duration::from_millis(rand::rng().random_range(100..9_000));
            networks[worker].cut(cut);
            cuts.insert(worker, (cut, now + length));
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    work.finish(&api).await;
    let (mut doubles, mut once, mut once_twice, mut again, mut wrong) = (0, 0, 0, 0, Vec::new());
    for (number, view) in &work.ended {
        let begins = witness.count(*number, "begins");
        let own = view.verdict == Some(Verdict::ExitCode { exit_code: exit_code(*number) });
        let ended: Vec<_> = view.timeline.iter().filter(|entry| entry.event == "finished").collect();
        let is_lost = view.verdict.as_ref().is_some_and(|verdict| verdict.kind() == VerdictKind::WorkerLost);
        let own_runs =
            view.attempts.iter().filter_map(|run| run.verdict.as_ref()).filter(|of| !of.is_infrastructure()).count();
        let mut is_right = ended.len() == 1 && own_runs <= 1;
        doubles += u32::from(!is_right);
        if is_once(*number) {
            once += 1;
            once_twice += u32::from(begins > 1);
            is_right &= begins <= 1 && (own || is_lost);
        } else {
            again += u32::from(view.attempts.len() > 1);
            is_right &= own && begins <= view.attempts.len() as u32;
        }
        if own {
            let (.., is_whole) = read_log(&api, *number, &view.task_id).await;
            is_right &= is_whole && witness.count(*number, "ends") >= 1;
        }
        if !is_right {
            wrong.push((number, begins, view));
        }
    }
    println!(
        "{done} partitions of {WORKERS} workers, {} tasks, {again} of them run again: {doubles} double outcomes, {once_twice} of \
         {once} that may run once run twice, {:.0?}",
        work.ended.len(),
        begin.elapsed()
    );
    assert!(wrong.is_empty(), "{wrong:#?}");
    let containers = cluster.containers.as_ref().expect("containers");
    eventually(PATIENCE, "all containers are removed", || async { containers.list().await.is_empty().then_some(()) })
        .await;
    let states: Vec<_> = work.ended.values().filter(|view| view.state == TaskState::Cancelled).collect();
    assert!(states.is_empty(), "nobody has cancelled anything: {states:?}");
}
