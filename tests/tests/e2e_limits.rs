//! How long a task may wait and run, whether it runs again, and what may run once at most: with real containers.
#![allow(missing_docs, clippy::panic, clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::{Duration, Instant};

use cloudai_tests::cluster::{Cluster, shell_task};
use cloudai_tests::docker::Containers;
use cloudai_tests::master::MasterOptions;
use cloudai_tests::wait::{PATIENCE, eventually};
use cloudai_tests::worker::WorkerOptions;
use rustix::process::Signal;
use shared::resources::Quantity;
use shared::span::Span;
use shared::submit::SubmitRequest;
use shared::task::{TaskState, Verdict, VerdictKind};
use shared::view::TaskView;

async fn log(cluster: &Cluster, task: &TaskView) -> String {
    let log = cluster.api().get_bytes(&format!("/api/tasks/{}/logs?stream=stdout", task.task_id)).await;
    String::from_utf8(log.expect("a log")).expect("text")
}

#[tokio::test]
async fn a_time_limit_ends_a_run_that_listens_and_one_that_does_not() {
    let cluster = Cluster::start(1).await;
    let api = cluster.api();
    let limited = |line: &str| SubmitRequest {
        time_limit: Some(Span::seconds(2)),
        stop_grace: Some(Span::seconds(1)),
        ..shell_task(line)
    };
    let begin = Instant::now();
    let polite = api.submit(&limited("echo begun; echo kept > /output/f; exec sleep 600")).await.expect("accepted");
    let stubborn =
        api.submit(&limited("trap '' TERM; echo begun; while true; do sleep 1; done")).await.expect("accepted");
    let quick = api.submit(&limited("echo begun")).await.expect("accepted");
    for (id, code) in [(&polite.task_id, 143), (&stubborn.task_id, 137)] {
        let task = api.ended(PATIENCE, id).await;
        let expected = Verdict::Timeout { limit_seconds: 2, exit_code: Some(code) };
        assert_eq!(task.verdict, Some(expected), "{task:?}");
        assert_eq!((task.state, task.attempts.len()), (TaskState::Failed, 1));
        assert_eq!(log(&cluster, &task).await, "begun\n", "its log is kept");
    }
    assert!(begin.elapsed() < Duration::from_secs(30), "it took {:?}", begin.elapsed());
    assert_eq!(api.get_bytes(&format!("/api/files/{}/f", polite.task_id)).await.expect("its output"), b"kept\n");
    assert_eq!(api.ended(PATIENCE, &quick.task_id).await.verdict, Some(Verdict::Success));
}

#[tokio::test]
async fn the_time_limit_goes_on_while_the_worker_is_away() {
    let mut cluster = Cluster::start(1).await;
    let api = cluster.api();
    let task = SubmitRequest { time_limit: Some(Span::seconds(3)), ..shell_task("exec sleep 600") };
    let id = api.submit(&task).await.expect("accepted").task_id;
    eventually(PATIENCE, "it runs", || async {
        api.task(&id).await.ok().filter(|task| task.state == TaskState::Running)
    })
    .await;
    cluster.workers[0].kill9();
    let begin = Instant::now();
    eventually(PATIENCE, "its time is up", || async { (begin.elapsed() > Duration::from_secs(3)).then_some(()) }).await;
    cluster.workers[0].restart();
    let task = api.ended(PATIENCE, &id).await;
    assert_eq!(task.verdict, Some(Verdict::Timeout { limit_seconds: 3, exit_code: Some(143) }), "{task:?}");
}

#[tokio::test]
async fn a_failure_is_retried_as_the_task_says() {
    let cluster = Cluster::start(1).await;
    let api = cluster.api();
    let retried = |line: &str, on: &[&str]| SubmitRequest {
        retries: Some(2),
        retry_on: Some(on.iter().map(|on| on.parse().expect("a failure")).collect()),
        backoff: "100ms".parse().ok(),
        ..shell_task(line)
    };
    let third =
        api.submit(&retried("echo run $CLOUDAI_ATTEMPT; [ $CLOUDAI_ATTEMPT = 3 ] || exit 7", &["exit:7"])).await;
    let never = api.submit(&retried("exit 7", &["signal"])).await.expect("accepted");
    let always = api.submit(&retried("kill -9 $$", &["exit:137"])).await.expect("accepted");
    let oom = api.submit(&retried("head -c 64m /dev/zero | tail", &["oom"])).await.expect("accepted");
    let task = api.ended(PATIENCE, &third.expect("accepted").task_id).await;
    let kinds: Vec<_> = task.attempts.iter().filter_map(|run| Some(run.verdict.as_ref()?.kind())).collect();
    assert_eq!(kinds, [VerdictKind::ExitCode, VerdictKind::ExitCode, VerdictKind::Success], "{task:?}");
    assert_eq!(log(&cluster, &task).await, "run 3\n", "the log is that of the last run");
    let task = api.ended(PATIENCE, &never.task_id).await;
    assert_eq!((task.verdict, task.attempts.len()), (Some(Verdict::ExitCode { exit_code: 7 }), 1));
    let task = api.ended(PATIENCE, &always.task_id).await;
    assert_eq!((task.verdict, task.attempts.len()), (Some(Verdict::Signal { signal: 9, by_hand: false }), 3));
    let task = api.ended(PATIENCE, &oom.task_id).await;
    assert_eq!((task.verdict.map(|verdict| verdict.kind()), task.attempts.len()), (Some(VerdictKind::Oom), 3));
    let peak = task.usage.and_then(|usage| usage.memory_peak_bytes).expect("what it used");
    assert!((30 << 20..33 << 20).contains(&peak), "close to its limit: {peak}");
}

#[tokio::test]
async fn what_is_out_of_memory_runs_again_with_more() {
    let cluster = Cluster::start(1).await;
    let api = cluster.api();
    let task = SubmitRequest {
        retries: Some(5),
        mem_max: Some(Quantity::Text("256MiB".to_owned())),
        backoff: "100ms".parse().ok(),
        ..shell_task("head -c 48m /dev/zero | tail -c 48m > /dev/null")
    };
    let id = api.submit(&task).await.expect("accepted").task_id;
    let task = api.ended(PATIENCE, &id).await;
    let runs: Vec<_> = task.attempts.iter().map(|run| (run.verdict.clone(), run.memory_bytes)).collect();
    let limits = [32_u64 << 20, 64 << 20];
    for (run, limit) in runs.iter().zip(limits).take(runs.len() - 1) {
        let Some(Verdict::Oom { limit_bytes, peak_bytes: Some(peak), .. }) = run.0 else { panic!("{task:?}") };
        assert!(limit_bytes == limit && (limit * 9 / 10..=limit).contains(&peak), "close to its limit: {task:?}");
    }
    let (last, memory) = runs.last().expect("a run");
    assert_eq!(*last, Some(Verdict::Success), "{task:?}");
    assert_eq!(*memory, Some(32 << 20 << (runs.len() - 1)), "twice as much each time: {task:?}");
    let shown = cluster.ctl().run(&["show", &id]).await;
    assert!(shown.stdout.contains("up to 256 MiB"), "{shown:?}");
}

#[tokio::test]
async fn what_finds_no_worker_in_time_fails_and_says_so() {
    let cluster = Cluster::start(0).await;
    let api = cluster.api();
    let task = SubmitRequest { queue_time_limit: Some(Span::seconds(1)), ..shell_task("true") };
    let id = api.submit(&task).await.expect("accepted").task_id;
    let task = api.ended(PATIENCE, &id).await;
    assert_eq!((task.state, task.verdict), (TaskState::Failed, Some(Verdict::QueueTimeout { limit_seconds: 1 })));
    let waited = cluster.ctl().run(&["wait", &id]).await;
    assert_eq!(waited.code, 125, "{waited:?}");
}

/// Leases ten times as short as usual.
fn short_leases() -> MasterOptions {
    let env = [
        ("HEARTBEAT", "500ms"),
        ("SUSPECT", "1500ms"),
        ("LEASE", "3s"),
        ("REASSIGN", "5s"),
        ("START_GRACE", "6s"),
        ("MASS_LOSS_HOLD", "1s"),
    ];
    let env = env.map(|(name, value)| (format!("CLOUDAI_LEASES_{name}"), value.to_owned()));
    MasterOptions { env: env.into(), ..MasterOptions::default() }
}

fn once(line: &str) -> SubmitRequest {
    SubmitRequest { at_most_once: Some(true), stop_grace: Some(Span::seconds(1)), ..shell_task(line) }
}

async fn running(containers: &Containers) -> usize {
    containers.list().await.into_iter().filter(|of| format!("{:?}", of.state).contains("RUNNING")).count()
}

#[tokio::test]
async fn what_may_run_once_stops_itself_when_its_worker_is_cut_off_and_other_work_goes_on() {
    let cluster = Cluster::start_with(&short_leases(), 1, &WorkerOptions::default()).await;
    let api = cluster.api();
    let one = api.submit(&once("echo begun; exec sleep 600")).await.expect("accepted").task_id;
    let other =
        api.submit(&shell_task("for i in $(seq 1 80); do sleep 0.1; done; exit 9")).await.expect("accepted").task_id;
    for id in [&one, &other] {
        eventually(PATIENCE, "it runs", || async {
            api.task(id).await.ok().filter(|task| task.state == TaskState::Running)
        })
        .await;
    }
    let containers = cluster.containers.as_ref().expect("containers");
    // A master that stands still is as good as a network that is cut: nothing arrives, and nothing says so.
    cluster.master.process.signal(Signal::STOP);
    eventually(PATIENCE, "only the other one runs", || async { (running(containers).await == 1).then_some(()) }).await;
    cluster.master.process.signal(Signal::CONT);
    let task = api.ended(PATIENCE, &one).await;
    assert!(
        matches!(&task.verdict, Some(Verdict::WorkerLost { message }) if message.contains("once at most")),
        "{task:?}"
    );
    assert_eq!(task.attempts.len(), 1, "it is not run again: {task:?}");
    assert_eq!(log(&cluster, &task).await, "begun\n");
    let task = api.ended(PATIENCE, &other).await;
    assert_eq!((task.verdict, task.attempts.len()), (Some(Verdict::ExitCode { exit_code: 9 }), 1));
}

#[tokio::test]
async fn what_may_run_once_waits_for_a_worker_that_is_gone_until_somebody_forces_its_end() {
    let mut cluster = Cluster::start_with(&short_leases(), 1, &WorkerOptions::default()).await;
    let api = cluster.api();
    let ids = [once("exec sleep 600"), once("sleep 4; exit 3")].map(|task| {
        let api = api.clone();
        async move { api.submit(&task).await.expect("accepted").task_id }
    });
    let [forced, waited] = ids;
    let (forced, waited) = (forced.await, waited.await);
    for id in [&forced, &waited] {
        eventually(PATIENCE, "it runs", || async {
            api.task(id).await.ok().filter(|task| task.state == TaskState::Running)
        })
        .await;
    }
    cluster.workers[0].kill9();
    cluster.add_worker("worker-2", &WorkerOptions::default()).await;
    for id in [&forced, &waited] {
        let task = eventually(PATIENCE, "it is unreachable", || async {
            api.task(id).await.ok().filter(|task| task.unreachable)
        })
        .await;
        assert_eq!((task.state, task.attempts.len()), (TaskState::Running, 1), "{task:?}");
        assert_eq!(api.why(id).await.expect("a reason").reasons[0].code, "unreachable");
    }
    let ended = cluster.ctl().run(&["cancel", "--force", &forced]).await.ok();
    assert!(ended.contains("cancelled"), "{ended}");
    assert_eq!(api.task(&forced).await.expect("the task").verdict, Some(Verdict::Cancelled));
    // Nobody is there to stop it, so it ends by itself, and that is its end although the lease was over.
    let containers = cluster.containers.as_ref().expect("containers");
    eventually(PATIENCE, "only the other one runs", || async { (running(containers).await == 1).then_some(()) }).await;
    cluster.workers[0].restart();
    let task = api.ended(PATIENCE, &waited).await;
    assert_eq!((task.verdict, task.attempts.len()), (Some(Verdict::ExitCode { exit_code: 3 }), 1));
    eventually(PATIENCE, "all containers are removed", || async { containers.list().await.is_empty().then_some(()) })
        .await;
}

#[tokio::test]
async fn what_may_run_once_is_stopped_by_a_worker_that_starts_too_late_and_finds_no_master() {
    let mut cluster = Cluster::start_with(&short_leases(), 1, &WorkerOptions::default()).await;
    let api = cluster.api();
    let one = api.submit(&once("exec sleep 600")).await.expect("accepted").task_id;
    eventually(PATIENCE, "it runs", || async {
        api.task(&one).await.ok().filter(|task| task.state == TaskState::Running)
    })
    .await;
    cluster.workers[0].kill9();
    // Its silence is longer than the lease: the master says so.
    eventually(PATIENCE, "it is unreachable", || async { api.task(&one).await.ok().filter(|task| task.unreachable) })
        .await;
    cluster.master.process.signal(Signal::STOP);
    cluster.workers[0].restart();
    let containers = cluster.containers.as_ref().expect("containers");
    eventually(PATIENCE, "it is stopped", || async { (running(containers).await == 0).then_some(()) }).await;
    cluster.master.process.signal(Signal::CONT);
    let task = api.ended(PATIENCE, &one).await;
    let Some(Verdict::WorkerLost { message }) = &task.verdict else { panic!("{task:?}") };
    assert!(message.contains("once at most") && task.attempts.len() == 1, "{task:?}");
}

#[tokio::test]
async fn cloudctl_takes_and_shows_them_and_says_what_is_wrong() {
    let cluster = Cluster::start(1).await;
    let ctl = cluster.ctl();
    let image = cloudai_tests::docker::image();
    let small = ["--cpu-cores", "100m", "--mem", "32MiB", "--storage", "64MiB"];
    let task = |flags: &[&str], command: &str| {
        let ctl = ctl.clone();
        let line: Vec<String> = ["task", &image]
            .iter()
            .chain(flags)
            .chain(&small)
            .chain(&["--command", command])
            .map(|word| (*word).to_owned())
            .collect();
        async move { ctl.run(&line.iter().map(String::as_str).collect::<Vec<_>>()).await }
    };
    let timed_out = task(&["--time-limit", "1s", "--stop-grace", "1s", "--wait"], "exec sleep 60").await;
    assert_eq!(timed_out.code, 124, "{timed_out:?}");
    let id = task(&["--retries", "1", "--retry-on", "oom,exit:3", "--backoff", "1s..2s", "-q"], "exit 3").await.ok();
    let shown = ctl.run(&["show", id.trim()]).await.ok();
    assert!(shown.contains("Retries:    1 after oom,exit:3, pause 1s..2s"), "{shown}");
    for (flags, complaint) in [
        (["--retry-on", "never"], "is no failure to retry on"),
        (["--retry-on", "exit:300"], "is no failure to retry on"),
        (["--time-limit", "soon"], "give a time such as"),
        (["--backoff", "5m..1s"], "is no pause"),
        (["--retry-on", "oom"], "says nothing without retries"),
        (["--time-limit", "0s"], "is out of range"),
    ] {
        let refused = task(&flags, "true").await;
        assert!(refused.code != 0 && refused.stderr.contains(complaint), "{flags:?}: {refused:?}");
    }
    let quantity = Quantity::Number(1.0);
    let both = SubmitRequest {
        retries: Some(1),
        at_most_once: Some(true),
        gpu_cores: None,
        mem: Some(quantity),
        ..shell_task("true")
    };
    let refused = cluster.api().submit(&both).await.expect_err("refused");
    assert!(format!("{refused:?}").contains("at_most_once: does not go with retries"), "{refused:?}");
}
