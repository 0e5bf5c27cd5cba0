//! The container engine dies, hangs or is away: nothing of that is the fault of a task.
//!
//! `./tests/torture.sh long engine` kills it more often: `CLOUDAI_TEST_ENGINE_KILLS` says how often.
#![allow(missing_docs, clippy::panic, clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use cloudai_tests::cluster::{Cluster, shell_task, until_told};
use cloudai_tests::engine::Engine;
use cloudai_tests::master::MasterOptions;
use cloudai_tests::wait::{PATIENCE, eventually};
use cloudai_tests::worker::{Worker, WorkerOptions};
use shared::resources::Quantity;
use shared::submit::SubmitRequest;
use shared::task::{TaskState, Verdict, VerdictKind};
use shared::view::TaskView;
use shared::worker::WorkerState;
use tempfile::TempDir;

const KILLS: u32 = 2;
/// Tasks at a time.
const TASKS: usize = 4;

/// Parts of a long log; after the beginning of each but the last the engine dies.
const PARTS: u64 = 5;
/// Lines of a part: 40 MB.
const LINES: u64 = 200_000;
/// Bytes of one stream that an engine has read and not yet written when it dies, at the most: a buffer that takes up to 1 MB
/// more once it has almost 1 MB, and what is on its way into and out of it (`pkg/ioutils/bytespipe.go` and
/// `daemon/logger/copier.go` of Moby).
const HELD: u64 = 2_100_000;

async fn world(live_restore: bool) -> (Cluster, Engine, TempDir) {
    let dir = tempfile::tempdir().expect("a directory");
    let engine = Engine::start(&dir.path().join("engine"), live_restore).await;
    let options = WorkerOptions { docker_host: Some(engine.host()), ..WorkerOptions::default() };
    let master = MasterOptions {
        env: vec![("CLOUDAI_LIMITS_INFRASTRUCTURE_ATTEMPTS".to_owned(), "100".to_owned())],
        ..MasterOptions::default()
    };
    (Cluster::start_with(&master, 1, &options).await, engine, dir)
}

/// Prints a hundred lines in `seconds`, and ends with exit code 7: no other way to end has it.
fn counting(seconds: u32) -> SubmitRequest {
    let pause = f64::from(seconds) / 100.0;
    let line = format!("for i in $(seq 1 100); do echo line $i; sleep {pause}; done; exit 7");
    let (cpu_cores, mem) = (Some(Quantity::Text("100m".to_owned())), Some(Quantity::Text("16MiB".to_owned())));
    SubmitRequest { cpu_cores, mem, ..shell_task(&line) }
}

async fn running(cluster: &Cluster, id: &str) {
    let api = cluster.api();
    eventually(PATIENCE, "it runs", || async {
        api.task(id).await.ok().filter(|task| task.state == TaskState::Running || task.state.is_final())
    })
    .await;
}

/// All that it wrote, in its last run.
async fn check_log(cluster: &Cluster, task: &TaskView) {
    let log = cluster.api().get_bytes(&format!("/api/tasks/{}/logs?stream=stdout", task.task_id)).await.expect("a log");
    let expected: String = (1..=100).map(|line| format!("line {line}\n")).collect();
    assert_eq!(String::from_utf8_lossy(&log), expected, "{task:?}");
}

/// It came to its own end in its first run, with its whole log.
async fn check_undisturbed(cluster: &Cluster, id: &str) {
    let task = cluster.api().ended(PATIENCE, id).await;
    assert_eq!((task.verdict.clone(), task.attempts.len()), (Some(Verdict::ExitCode { exit_code: 7 }), 1), "{task:?}");
    check_log(cluster, &task).await;
}

#[tokio::test]
async fn what_falls_with_the_engine_runs_again_and_is_nobodys_fault() {
    let kills = std::env::var("CLOUDAI_TEST_ENGINE_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(KILLS);
    let (cluster, mut engine, _dir) = world(false).await;
    let api = cluster.api();
    let (mut ids, mut open) = (Vec::new(), Vec::new());
    for kill in 1..=kills {
        while open.len() < TASKS {
            let id = api.submit(&counting(2)).await.expect("accepted").task_id;
            ids.push(id.clone());
            open.push(id);
        }
        for id in &open {
            running(&cluster, id).await;
        }
        engine.kill();
        engine.ready().await;
        let mut left = Vec::new();
        for id in open {
            if !api.task(&id).await.expect("the task").state.is_final() {
                left.push(id);
            }
        }
        open = left;
        // A task may fall a hundred times at most, and is to come to its own end.
        if kill.is_multiple_of(10) {
            for id in std::mem::take(&mut open) {
                api.ended(PATIENCE * 2, &id).await;
            }
        }
    }
    let (mut fallen, mut blamed) = (0, Vec::new());
    for id in &ids {
        let task = api.ended(PATIENCE * 2, id).await;
        check_log(&cluster, &task).await;
        let runs = task.attempts.iter().filter_map(|attempt| attempt.verdict.as_ref());
        fallen += runs.clone().filter(|verdict| verdict.kind() == VerdictKind::WorkerLost).count();
        let foreign = |verdict: &&Verdict| {
            **verdict != Verdict::ExitCode { exit_code: 7 } && verdict.kind() != VerdictKind::WorkerLost
        };
        if task.verdict != Some(Verdict::ExitCode { exit_code: 7 }) || runs.clone().any(|verdict| foreign(&verdict)) {
            blamed.push(task);
        }
    }
    println!("{kills} kills of the engine: {} tasks, {fallen} runs fell with it, {} blamed", ids.len(), blamed.len());
    assert!(blamed.is_empty(), "{blamed:#?}");
    assert!(fallen > 0, "a kill that hits nothing shows nothing");
}

#[tokio::test]
async fn what_outlives_the_engine_is_taken_up_again_with_its_whole_log() {
    let (cluster, mut engine, _dir) = world(true).await;
    let api = cluster.api();
    let id = api.submit(&counting(4)).await.expect("accepted").task_id;
    for _ in 0..2 {
        running(&cluster, &id).await;
        engine.kill();
        engine.ready().await;
    }
    check_undisturbed(&cluster, &id).await;
}

/// What is between the number of a line and the next one.
fn filling() -> String {
    format!(" {}\n", ".".repeat(191))
}

/// A line of the long log as `seq` writes it: what separates numbers is not behind the last one.
fn long_line(number: u64) -> String {
    let end = if number.is_multiple_of(LINES) { "\n".to_owned() } else { filling() };
    format!("{number}{end}")
}

/// Writes the parts as fast as it can, each when it gets the signal USR1, and says in /output which one it is at. At the last
/// signal it says how many bytes that were, and ends with exit code 7.
fn flooding() -> SubmitRequest {
    let line = format!(
        "trap 'go=$((go+1))' USR1; go=0; i=0; part() {{ seq -s '{}' $(($1*{LINES}+1)) $((($1+1)*{LINES})); }}; \
         while [ $i -lt {PARTS} ]; do \
         echo waits $i > /output/at; while [ $go -le $i ]; do sleep 0.05; done; \
         echo writes $i > /output/at; part $i; i=$((i+1)); done; \
         echo waits $i > /output/at; while [ $go -le $i ]; do sleep 0.05; done; \
         i=0; while [ $i -lt {PARTS} ]; do part $i; i=$((i+1)); done | wc -c > /output/written; exit 7",
        filling()
    );
    SubmitRequest { cpu_cores: Some(Quantity::Text("1".to_owned())), ..shell_task(&line) }
}

/// What the one run of a worker says in /output that it is at.
fn is_at(worker: &Worker, what: &str) -> bool {
    let runs = std::fs::read_dir(worker.data_dir().join("runs")).into_iter().flatten().flatten();
    let mut said = runs.filter_map(|run| std::fs::read_to_string(run.path().join("output/at")).ok());
    said.any(|said| said.trim() == what)
}

async fn comes_to(worker: &Worker, what: &str) {
    let wait = || async { is_at(worker, what).then_some(()) };
    eventually(PATIENCE, &format!("it is at: {what}"), wait).await;
}

/// The bytes that are missing of the long log, place by place. All else has to be there, once and in order.
fn gaps(log: &[u8]) -> Vec<u64> {
    let (mut gaps, mut next) = (Vec::new(), 1);
    let mut lines = log.split_inclusive(|byte| *byte == b'\n').peekable();
    while let Some(found) = lines.next() {
        if found == long_line(next).as_bytes() {
            next += 1;
            continue;
        }
        // The end of some line, or all of it: of which one, the line behind it says.
        let behind = String::from_utf8_lossy(lines.peek().expect("the last line is there"));
        let digits = behind.split(|c: char| !c.is_ascii_digit()).next().expect("a number");
        let number = digits.parse::<u64>().expect("a number") - 1;
        let found_text = String::from_utf8_lossy(found);
        assert!(number >= next && long_line(number).as_bytes().ends_with(found), "{found_text:?} where {next} is due");
        let written: usize = (next..=number).map(|number| long_line(number).len()).sum();
        gaps.push((written - found.len()) as u64);
        next = number + 1;
    }
    assert_eq!(next, PARTS * LINES + 1, "the last line is there");
    gaps
}

/// An engine takes with it what it has read and not yet written to its own log, which nobody else has: that is measured here.
/// What it has kept is at the master, all of it, once.
#[tokio::test]
async fn of_what_is_written_at_full_rate_all_is_there_that_the_engine_has_kept() {
    let (cluster, mut engine, _dir) = world(true).await;
    let (api, worker) = (cluster.api().for_long().await, &cluster.workers[0]);
    let id = api.submit(&flooding()).await.expect("accepted").task_id;
    let mut hit = 0;
    for part in 0..PARTS {
        comes_to(worker, &format!("waits {part}")).await;
        engine.signal("USR1").await;
        let writes = format!("writes {part}");
        comes_to(worker, &writes).await;
        if part + 1 == PARTS {
            break;
        }
        // In good order it goes on reading for a while, and may have read all when it ends.
        if part.is_multiple_of(2) {
            engine.kill();
        } else {
            engine.restart();
        }
        hit += u64::from(is_at(worker, &writes));
        engine.ready().await;
    }
    comes_to(worker, &format!("waits {PARTS}")).await;
    let last = long_line(PARTS * LINES);
    let path = format!("/api/tasks/{id}/logs?stream=stdout");
    eventually(PATIENCE * 10, "its last line is at the master", || async {
        (api.get_bytes(&format!("{path}&tail=1")).await.ok()? == last.as_bytes()).then_some(())
    })
    .await;
    let kept = engine.log();
    engine.signal("USR1").await;
    let task = api.ended(PATIENCE * 2, &id).await;
    let mut log = Vec::new();
    loop {
        let piece = api.get_bytes(&format!("{path}&offset={}&limit={}", log.len(), 32 << 20)).await.expect("a log");
        if piece.is_empty() {
            break;
        }
        log.extend(piece);
    }
    let written = api.get_bytes(&format!("/api/files/{id}/written")).await.expect("what it says that it has written");
    let written: u64 = String::from_utf8_lossy(&written).trim().parse().expect("a number");
    let gaps = gaps(&log);
    let lost: u64 = gaps.iter().sum();
    println!(
        "{} deaths of the engine, {hit} of them while a log of {written} bytes was written: {} of the {} bytes that it has kept \
         are there, {lost} were lost with it: {gaps:?}",
        PARTS - 1,
        log.len(),
        kept.len()
    );
    assert!(hit > 0, "a death that hits nothing shows nothing");
    assert_eq!((task.verdict, task.attempts.len()), (Some(Verdict::ExitCode { exit_code: 7 }), 1));
    assert!(log == kept, "{} bytes are there, the engine has {}", log.len(), kept.len());
    assert_eq!(log.len() as u64 + lost, written);
    assert!((gaps.len() as u64) < PARTS && gaps.iter().all(|gap| *gap <= HELD), "{gaps:?}");
    assert_eq!(task.usage.expect("what it used").stdout_bytes, log.len() as u64);
}

/// A program that ends as if all was well when it is asked to, or says that it was not, has not come to its own end.
#[tokio::test]
async fn what_the_engine_asks_to_end_runs_again_whatever_it_makes_of_that() {
    let (cluster, mut engine, _dir) = world(false).await;
    let api = cluster.api();
    for in_good_order in [true, false] {
        let mut ids = Vec::new();
        for code in [0, 1] {
            let line = format!("trap 'exit {code}' TERM; echo ready; for i in $(seq 1 80); do sleep 0.1; done; exit 7");
            ids.push(api.submit(&shell_task(&line)).await.expect("accepted").task_id);
        }
        for id in &ids {
            api.said(PATIENCE, id, "ready").await;
        }
        if in_good_order {
            engine.restart();
        } else {
            engine.kill();
        }
        engine.ready().await;
        for id in ids {
            let task = api.ended(PATIENCE * 2, &id).await;
            assert_eq!(task.verdict, Some(Verdict::ExitCode { exit_code: 7 }), "{in_good_order} {task:?}");
            let Some(Verdict::WorkerLost { .. }) = &task.attempts[0].verdict else {
                panic!("{in_good_order} {task:?}")
            };
        }
    }
}

/// Nobody waits for its containers then: a host that is shut down, or both are upgraded.
#[tokio::test]
async fn so_does_what_an_engine_asked_that_was_stopped_with_its_worker() {
    let (mut cluster, mut engine, _dir) = world(false).await;
    let line = "trap 'exit 0' TERM; echo ready; for i in $(seq 1 80); do sleep 0.1; done; exit 7";
    let id = cluster.api().submit(&shell_task(line)).await.expect("accepted").task_id;
    cluster.api().said(PATIENCE, &id, "ready").await;
    cluster.workers[0].kill9();
    engine.restart();
    engine.ready().await;
    cluster.workers[0].restart();
    let task = cluster.api().ended(PATIENCE * 2, &id).await;
    assert_eq!(task.verdict, Some(Verdict::ExitCode { exit_code: 7 }), "{task:?}");
    assert!(matches!(task.attempts[0].verdict, Some(Verdict::WorkerLost { .. })), "{task:?}");
}

#[tokio::test]
async fn what_ends_by_itself_soon_after_the_engine_came_back_was_not_ended_by_it() {
    let (cluster, mut engine, _dir) = world(true).await;
    let api = cluster.api();
    let id = api.submit(&until_told(143)).await.expect("accepted").task_id;
    api.said(PATIENCE, &id, "ready").await;
    engine.kill();
    engine.ready().await;
    engine.signal("USR1").await;
    let task = api.ended(PATIENCE, &id).await;
    assert_eq!(
        (task.verdict.clone(), task.attempts.len()),
        (Some(Verdict::Signal { signal: 15, by_hand: false }), 1),
        "{task:?}"
    );
}

#[tokio::test]
async fn a_worker_without_an_engine_gets_nothing_new_and_says_why() {
    let (cluster, mut engine, _dir) = world(true).await;
    let api = cluster.api();
    let running_id = api.submit(&counting(20)).await.expect("accepted").task_id;
    running(&cluster, &running_id).await;
    engine.down();
    let problem = eventually(PATIENCE, "it says that it is not well", || async {
        api.workers().await.ok()?.into_iter().next()?.problem
    })
    .await;
    assert!(problem.contains("container engine"), "{problem}");
    let waiting = api.submit(&counting(0)).await.expect("accepted").task_id;
    let why = api.why(&waiting).await.expect("a reason");
    assert_eq!(why.reasons[0].code, "worker_unhealthy", "{why:?}");
    // What runs is not given up: heartbeats go on.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(api.task(&running_id).await.expect("the task").state, TaskState::Running);
    engine.up();
    assert_eq!(api.ended(PATIENCE, &waiting).await.verdict, Some(Verdict::ExitCode { exit_code: 7 }));
    check_undisturbed(&cluster, &running_id).await;
}

#[tokio::test]
async fn a_worker_that_starts_without_an_engine_is_there_and_loses_nothing() {
    let (mut cluster, mut engine, _dir) = world(true).await;
    let running_id = cluster.api().submit(&counting(10)).await.expect("accepted").task_id;
    running(&cluster, &running_id).await;
    cluster.workers[0].kill9();
    engine.down();
    cluster.workers[0].restart();
    let api = cluster.api();
    let worker = eventually(PATIENCE, "it says what it lacks", || async {
        api.workers().await.ok()?.into_iter().find(|worker| worker.problem.is_some())
    })
    .await;
    assert!(worker.problem.as_ref().is_some_and(|problem| problem.contains("container engine")), "{worker:?}");
    assert_eq!(worker.state, WorkerState::Active, "{worker:?}");
    let waiting = api.submit(&counting(0)).await.expect("accepted").task_id;
    assert_eq!(api.why(&waiting).await.expect("a reason").reasons[0].code, "worker_unhealthy");
    assert_eq!(api.task(&running_id).await.expect("the task").state, TaskState::Running);
    engine.up();
    assert_eq!(api.ended(PATIENCE, &waiting).await.verdict, Some(Verdict::ExitCode { exit_code: 7 }));
    check_undisturbed(&cluster, &running_id).await;
}

#[tokio::test]
async fn an_engine_that_hangs_is_no_reason_to_give_anything_up() {
    let (cluster, mut engine, _dir) = world(true).await;
    let api = cluster.api();
    let running_id = api.submit(&counting(20)).await.expect("accepted").task_id;
    running(&cluster, &running_id).await;
    engine.pause();
    let problem = eventually(PATIENCE, "it says that it is not well", || async {
        api.workers().await.ok()?.into_iter().next()?.problem
    })
    .await;
    assert!(problem.contains("no answer"), "{problem}");
    let waiting = api.submit(&counting(0)).await.expect("accepted").task_id;
    assert_eq!(api.why(&waiting).await.expect("a reason").reasons[0].code, "worker_unhealthy");
    // It takes longer than three heartbeats to say so: they have not stopped.
    let worker = api.workers().await.expect("workers").remove(0);
    assert_eq!(worker.state, WorkerState::Active, "{worker:?}");
    assert_eq!(api.task(&running_id).await.expect("the task").state, TaskState::Running);
    engine.go_on();
    for id in [&waiting, &running_id] {
        check_undisturbed(&cluster, id).await;
    }
}
