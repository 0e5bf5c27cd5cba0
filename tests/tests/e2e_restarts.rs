//! Processes die at the worst time: nothing is lost, doubled or forgotten.
#![allow(missing_docs, clippy::panic, clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use cloudai_tests::cluster::{Cluster, shell_task, until_told};
use cloudai_tests::master::MasterOptions;
use cloudai_tests::process::Process;
use cloudai_tests::wait::{PATIENCE, eventually};
use cloudai_tests::worker::WorkerOptions;
use cloudaid::master::STOP_GRACE;
use shared::resources::Quantity;
use shared::submit::SubmitRequest;
use shared::task::{TaskState, Verdict};
use shared::view::{CancelView, SubmitLineResult};
use shared::worker::WorkerState;

const TASKS: usize = 100;
const THREE_MINUTES: Duration = Duration::from_secs(180);

/// Writes its witness: one line per start of the container, and a log whose every byte is known.
fn witness(number: usize) -> SubmitRequest {
    let line = format!(
        "echo start >> /output/witness; for i in $(seq 1 20); do echo {number}-$i; echo {number}-err-$i >&2; sleep 0.02; done; \
         echo end >> /output/witness; : > /output/empty"
    );
    let mut task = shell_task(&line);
    task.cpu_cores = Some(Quantity::Text("200m".to_owned()));
    task.mem = Some(Quantity::Text("16MiB".to_owned()));
    task
}

async fn check_witness(cluster: &Cluster, number: usize, id: &str) {
    let api = cluster.api();
    let task = api.ended(THREE_MINUTES, id).await;
    assert_eq!(task.verdict, Some(Verdict::Success), "{task:?}");
    assert_eq!(task.attempts.len(), 1, "no container was given up: {task:?}");
    let file = |name: &str| format!("/api/files/{id}/{name}");
    let seen = api.get_bytes(&file("witness")).await.expect("the witness");
    assert_eq!(String::from_utf8_lossy(&seen), "start\nend\n", "{id} ran once");
    assert_eq!(api.get_bytes(&file("empty")).await.expect("the empty file"), b"");
    for (stream, mark) in [("stdout", ""), ("stderr", "err-")] {
        let expected: String = (1..=20).map(|line| format!("{number}-{mark}{line}\n")).collect();
        let log = api.get_bytes(&format!("/api/tasks/{id}/logs?stream={stream}")).await.expect("a log");
        assert_eq!(String::from_utf8_lossy(&log), expected, "{stream} of {id}");
    }
}

#[tokio::test]
async fn a_hundred_tasks_survive_kill_9_of_the_master_and_of_a_worker() {
    let mut cluster = Cluster::start(2).await;
    let api = cluster.api();
    let tasks: Vec<_> = (0..TASKS).map(witness).collect();
    let accepted = api.submit_many(&tasks).await.expect("accepted");
    let ids: Vec<String> = accepted
        .into_iter()
        .map(|line| match line.result {
            SubmitLineResult::Accepted(view) => view.task_id,
            SubmitLineResult::Refused(error) => panic!("{error:?}"),
        })
        .collect();
    let some_done = |share: u64| {
        let api = api.clone();
        async move {
            eventually(THREE_MINUTES, "some tasks are done", || async {
                api.status().await.ok().filter(|status| status.tasks.completed >= share)
            })
            .await
        }
    };
    some_done(10).await;
    cluster.master.kill9();
    // Long enough for some containers to end meanwhile.
    tokio::time::sleep(Duration::from_millis(700)).await;
    cluster.master.restart().await;
    some_done(40).await;
    cluster.workers[0].kill9();
    tokio::time::sleep(Duration::from_millis(700)).await;
    cluster.workers[0].restart();
    for (number, id) in ids.iter().enumerate() {
        check_witness(&cluster, number, id).await;
    }
    let distinct: BTreeSet<_> = ids.iter().collect();
    assert_eq!(distinct.len(), TASKS);
    let containers = cluster.containers.as_ref().expect("containers");
    eventually(PATIENCE, "all containers are removed", || async { containers.list().await.is_empty().then_some(()) })
        .await;
}

/// The same order of deadlines as in production, shorter.
fn short_leases() -> MasterOptions {
    let env = [("HEARTBEAT", "300ms"), ("SUSPECT", "1s"), ("LEASE", "2s"), ("REASSIGN", "4s"), ("START_GRACE", "1s")];
    let env = env.map(|(name, value)| (format!("CLOUDAI_LEASES_{name}"), value.to_owned()));
    MasterOptions { env: env.to_vec(), ..MasterOptions::default() }
}

#[tokio::test]
async fn a_worker_killed_for_good_is_replaced_and_its_late_word_refused() {
    let mut cluster = Cluster::start_with(&short_leases(), 1, &WorkerOptions::default()).await;
    let api = cluster.api();
    // The first run ends while its worker is away; the second one is told from it by what it finds.
    let task = api.submit(&shell_task("echo run; sleep 3; echo done > /output/done")).await.expect("accepted").task_id;
    eventually(PATIENCE, "it runs", || async {
        api.task(&task).await.ok().filter(|task| task.state == TaskState::Running)
    })
    .await;
    cluster.workers[0].kill9();
    cluster.add_worker("worker-2", &WorkerOptions::default()).await;
    let ended = api.ended(THREE_MINUTES, &task).await;
    assert_eq!(ended.verdict, Some(Verdict::Success), "{ended:?}");
    let runs: Vec<_> = ended.attempts.iter().map(|run| (run.attempt, run.worker_id.as_str())).collect();
    assert_eq!(runs, [(1, "worker-1"), (2, "worker-2")]);
    assert!(matches!(ended.attempts[0].verdict, Some(Verdict::WorkerLost { .. })), "{ended:?}");
    // The dead one comes back with its finished container: nothing of it counts, and it is put away.
    cluster.workers[0].restart();
    api.worker_is(PATIENCE, "worker-1", WorkerState::Active).await;
    let containers = cluster.containers.as_ref().expect("containers");
    eventually(PATIENCE, "what it held is removed", || async { containers.list().await.is_empty().then_some(()) })
        .await;
    let after = api.task(&task).await.expect("the task");
    assert_eq!(after, ended, "the late word changed nothing");
}

#[tokio::test]
async fn what_nobody_else_could_run_keeps_its_end_though_its_worker_was_away_for_longer_than_its_lease() {
    let mut cluster = Cluster::start_with(&short_leases(), 1, &WorkerOptions::default()).await;
    let api = cluster.api();
    let task = api.submit(&until_told(7)).await.expect("accepted").task_id;
    api.said(PATIENCE, &task, "ready").await;
    cluster.workers[0].kill9();
    let away = eventually(PATIENCE, "its worker is lost", || async {
        api.task(&task).await.ok().filter(|task| task.unreachable)
    })
    .await;
    assert_eq!((away.state, away.attempts.len()), (TaskState::Running, 1), "{away:?}");
    let why = api.why(&task).await.expect("a reason");
    assert!(why.reasons[0].code == "unreachable" && why.summary.contains("no other worker could take it"), "{why:?}");
    let containers = cluster.containers.as_ref().expect("containers");
    containers.signal("USR1").await;
    containers.have_ended().await;
    cluster.workers[0].restart();
    let ended = api.ended(THREE_MINUTES, &task).await;
    assert_eq!(ended.verdict, Some(Verdict::ExitCode { exit_code: 7 }), "{ended:?}");
    assert_eq!((ended.attempts.len(), ended.unreachable), (1, false), "{ended:?}");
    let log = api.get_bytes(&format!("/api/tasks/{task}/logs?stream=stdout")).await.expect("a log");
    assert_eq!(String::from_utf8_lossy(&log), "ready\n");
}

#[tokio::test]
async fn a_worker_that_is_stopped_in_good_order_leaves_its_containers_running() {
    let mut cluster = Cluster::start(1).await;
    let api = cluster.api();
    let task = api.submit(&shell_task("echo start >> /output/witness; sleep 3; echo end >> /output/witness")).await;
    let task = task.expect("accepted").task_id;
    eventually(PATIENCE, "it runs", || async {
        api.task(&task).await.ok().filter(|task| task.state == TaskState::Running)
    })
    .await;
    assert!(cluster.workers[0].term().await.success());
    assert!(cluster.master.term().await.success());
    cluster.master.restart().await;
    cluster.workers[0].restart();
    let ended = api.ended(THREE_MINUTES, &task).await;
    assert_eq!((ended.verdict, ended.attempts.len()), (Some(Verdict::Success), 1));
    let seen = api.get_bytes(&format!("/api/files/{task}/witness")).await.expect("the witness");
    assert_eq!(String::from_utf8_lossy(&seen), "start\nend\n");
}

#[tokio::test]
async fn a_worker_that_lost_its_journal_finds_its_containers_by_their_labels() {
    let mut cluster = Cluster::start(1).await;
    let api = cluster.api();
    let task = api.submit(&shell_task("echo one; sleep 3; echo two")).await.expect("accepted").task_id;
    eventually(PATIENCE, "it runs", || async {
        api.task(&task).await.ok().filter(|task| task.state == TaskState::Running)
    })
    .await;
    cluster.workers[0].kill9();
    std::fs::remove_file(cluster.workers[0].data_dir().join("journal")).expect("the journal");
    cluster.workers[0].restart();
    let ended = api.ended(THREE_MINUTES, &task).await;
    assert_eq!((ended.verdict, ended.attempts.len()), (Some(Verdict::Success), 1));
    let log = api.get_bytes(&format!("/api/tasks/{task}/logs?stream=stdout")).await.expect("a log");
    assert_eq!(String::from_utf8_lossy(&log), "one\ntwo\n");
    let said = cluster.workers[0].process.log();
    let taken_up = format!("Taken up: {task}.0 attempt 1: found by its labels, without a journal");
    assert!(said.contains(&taken_up), "{said}");
}

#[tokio::test]
async fn a_journal_with_a_torn_tail_is_mended_and_the_worker_says_so() {
    let mut cluster = Cluster::start(1).await;
    let api = cluster.api();
    let task = api.submit(&shell_task("echo one; sleep 3; exit 5")).await.expect("accepted").task_id;
    api.said(PATIENCE, &task, "one").await;
    cluster.workers[0].kill9();
    let journal = cluster.workers[0].data_dir().join("journal");
    let mut file = std::fs::File::options().append(true).open(journal).expect("the journal");
    file.write_all(&[7; 33]).expect("half a record");
    cluster.workers[0].restart();
    let ended = api.ended(THREE_MINUTES, &task).await;
    assert_eq!((ended.verdict, ended.attempts.len()), (Some(Verdict::ExitCode { exit_code: 5 }), 1));
    let said = cluster.workers[0].process.log();
    assert!(said.contains("The end of the journal cannot be read"), "{said}");
    assert!(said.contains(&format!("Taken up: {task}.0 attempt 1: ")), "{said}");
}

#[tokio::test]
async fn what_was_cancelled_is_cancelled_though_its_worker_lost_its_journal_before_it_ended() {
    let mut cluster = Cluster::start(1).await;
    let api = cluster.api();
    let line = "trap 'exit 143' USR1; trap 'echo told' TERM; echo ready; while :; do sleep 0.1; done";
    let task = api.submit(&shell_task(line)).await.expect("accepted").task_id;
    api.said(PATIENCE, &task, "ready").await;
    let cancel = format!("/api/tasks/{task}/cancel");
    api.post::<CancelView>(&cancel, &serde_json::json!({})).await.expect("accepted");
    api.said(PATIENCE, &task, "told").await;
    cluster.workers[0].kill9();
    std::fs::remove_file(cluster.workers[0].data_dir().join("journal")).expect("the journal");
    let containers = cluster.containers.as_ref().expect("containers");
    containers.signal("USR1").await;
    containers.have_ended().await;
    cluster.workers[0].restart();
    let ended = api.ended(THREE_MINUTES, &task).await;
    assert_eq!((ended.state, ended.verdict), (TaskState::Cancelled, Some(Verdict::Cancelled)));
}

#[tokio::test]
async fn following_goes_on_over_a_restart_of_the_master_and_repeats_nothing() {
    let mut cluster = Cluster::start(1).await;
    let ctl = cluster.ctl();
    let image = cloudai_tests::docker::image();
    let line = "for i in $(seq 1 40); do echo line $i; sleep 0.1; done; exit 5";
    let run = tokio::spawn(async move { ctl.run(&["task", &image, "--wait", "--", "sh", "-c", line]).await });
    let api = cluster.api();
    eventually(PATIENCE, "some of it is printed", || async {
        let tasks: shared::view::TaskListView = api.get("/api/tasks").await.ok()?;
        let log = api.get_bytes(&format!("/api/tasks/{}/logs", tasks.tasks.first()?.task_id)).await.ok()?;
        log.windows(7).any(|line| line == b"line 10").then_some(())
    })
    .await;
    cluster.master.kill9();
    cluster.master.restart().await;
    let run = run.await.expect("cloudctl ends");
    let expected: String = (1..=40).map(|line| format!("line {line}\n")).collect();
    assert_eq!((run.code, run.stdout), (5, expected));
}

/// The soft and the hard limit of open files.
fn open_files(pid: u32) -> Option<[String; 2]> {
    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    let mut words = line.split_whitespace().map(str::to_owned);
    Some([words.next()?, words.next()?])
}

#[tokio::test]
async fn a_worker_has_as_many_files_open_as_it_may_however_it_was_started() {
    let mut cluster = Cluster::start(1).await;
    let worker = &mut cluster.workers[0];
    worker.kill9();
    let recipe = worker.process.recipe_mut();
    let program = std::mem::replace(&mut recipe.program, "/bin/sh".into()).display().to_string();
    let few = ["-c", "ulimit -Sn 256 && exec \"$@\"", "sh", &program].map(str::to_owned);
    drop(recipe.args.splice(..0, few));
    worker.restart();
    let pid = worker.process.pid();
    // The shell becomes it, with few.
    eventually(PATIENCE, "a worker with as many files as it may have", || async {
        let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
        let [soft, hard] = open_files(pid)?;
        (name.trim_end() == "cloudaid" && soft == hard).then_some(())
    })
    .await;
}

/// What logs all the time, and what has said one line and is silent since.
async fn two_that_log(cluster: &Cluster) -> [String; 2] {
    let api = cluster.api();
    let lines = ["while :; do echo x; sleep 0.05; done", "echo x; while :; do sleep 1; done"];
    let mut ids = Vec::new();
    for line in lines {
        let id = api.submit(&shell_task(line)).await.expect("accepted").task_id;
        eventually(PATIENCE, "its log comes", || async {
            api.get_bytes(&format!("/api/tasks/{id}/logs")).await.ok().filter(|log| !log.is_empty())
        })
        .await;
        ids.push(id);
    }
    ids.try_into().expect("two")
}

#[tokio::test]
async fn a_master_stops_at_once_whatever_its_worker_has_open() {
    let mut cluster = Cluster::start(1).await;
    let ids = two_that_log(&cluster).await;
    for stop in 1..=10 {
        let begin = Instant::now();
        assert!(cluster.master.term().await.success(), "stop {stop}");
        // What it would not end by itself is cut off after the grace.
        assert!(begin.elapsed() < STOP_GRACE / 2, "stop {stop} took {:?}", begin.elapsed());
        cluster.master.restart().await;
        let api = cluster.api();
        api.worker_is(PATIENCE, "worker-1", WorkerState::Active).await;
        // The log stream is open again.
        let size =
            || async { api.get_bytes(&format!("/api/tasks/{}/logs", ids[0])).await.as_deref().map_or(0, <[u8]>::len) };
        let before = size().await;
        eventually(PATIENCE, "its log goes on", || async { (size().await > before).then_some(()) }).await;
    }
    let said = cluster.master.process.log();
    assert!(!said.contains("cut off"), "{said}");
    for id in ids {
        let task = cluster.api().task(&id).await.expect("a task");
        assert_eq!((task.state, task.attempts.len()), (TaskState::Running, 1), "{task:?}");
    }
}

#[tokio::test]
async fn who_is_started_while_the_one_before_still_ends_waits_for_its_directory() {
    let mut cluster = Cluster::start(1).await;
    let hold = |dir: &Path| {
        let lock = std::fs::File::options().append(true).open(dir.join("lock")).expect("the lock");
        lock.lock().expect("ours");
        lock
    };
    let waits = async |process: &Process| {
        eventually(PATIENCE, "it waits", || async { process.log().contains("it is waited for").then_some(()) }).await;
    };
    cluster.workers[0].kill9();
    let lock = hold(cluster.workers[0].data_dir());
    cluster.workers[0].restart();
    waits(&cluster.workers[0].process).await;
    drop(lock);
    cluster.master.kill9();
    let lock = hold(cluster.master.data_dir());
    cluster.master.process.start_again();
    waits(&cluster.master.process).await;
    drop(lock);
    cluster.master.ready().await;
    cluster.api().worker_is(PATIENCE, "worker-1", WorkerState::Active).await;
    cluster.workers[0].process.assert_runs();
    // And somebody who stays is no reason to wait for ever.
    cluster.workers[0].kill9();
    let _kept = hold(cluster.workers[0].data_dir());
    cluster.workers[0].restart();
    assert_eq!(cluster.workers[0].process.ended().await.code(), Some(6));
    assert!(cluster.workers[0].process.log().contains("in use by another worker"));
}
