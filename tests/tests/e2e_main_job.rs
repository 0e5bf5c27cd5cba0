//! The main job: submit a container, watch its log, get its output, whatever its end.
#![allow(missing_docs, clippy::panic, clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use cloudai_tests::cluster::{Cluster, shell_task};
use cloudai_tests::docker::image;
use cloudai_tests::wait::PATIENCE;
use serde_json::Value;
use shared::task::{TaskState, Verdict};

const MINUTE: Duration = Duration::from_secs(60);

/// The id in `cloudctl task --output quiet`.
fn id(stdout: &str) -> String {
    stdout.lines().next().expect("an id").to_owned()
}

#[tokio::test]
async fn a_task_is_followed_its_code_returned_and_its_output_downloaded() {
    let cluster = Cluster::start(1).await;
    let ctl = cluster.ctl();
    let line = "echo hi; echo oops >&2; echo data > /output/r.txt; exit 3";
    let run = ctl.run(&["task", &image(), "--wait", "--", "sh", "-c", line]).await;
    assert_eq!((run.code, run.stdout.as_str()), (3, "hi\n"), "{run:?}");
    assert!(run.stderr.lines().any(|line| line == "oops"), "{run:?}");

    let tasks: Value = serde_json::from_str(&ctl.run(&["list-tasks", "--output", "json"]).await.ok()).expect("json");
    let id = tasks["tasks"][0]["task_id"].as_str().expect("an id").to_owned();
    let shown: Value = serde_json::from_str(&ctl.run(&["show", &id, "--output", "json"]).await.ok()).expect("json");
    assert_eq!(shown["state"], "failed");
    assert_eq!(shown["exit_code"], 3);
    assert_eq!(shown["verdict"]["kind"], "exit_code");
    assert_eq!(shown["attempts"][0]["attempt"], 1);
    assert_eq!(shown["attempts"][0]["worker_id"], "worker-1");
    for time in ["submitted_at", "started_at", "finished_at"] {
        assert!(shown[time].as_str().is_some_and(|time| time.ends_with('Z')), "{time}: {shown}");
    }

    ctl.run(&["download", &id]).await.ok();
    let path = ctl.dir().join(&id).join("r.txt");
    assert_eq!(std::fs::read(&path).expect("the file"), b"data\n");
}

#[tokio::test]
async fn logs_are_exact_bytes_and_the_streams_are_kept_apart() {
    let cluster = Cluster::start(1).await;
    let api = cluster.api();
    let line = r"printf '\000\377\033[31mred\r\n'; printf 'no end of line'; printf 'e\376' >&2";
    let task = api.submit(&shell_task(line)).await.expect("accepted");
    let ended = api.ended(MINUTE, &task.task_id).await;
    assert_eq!(ended.state, TaskState::Completed, "{ended:?}");
    let log = |stream: &str| format!("/api/tasks/{}/logs?stream={stream}", task.task_id);
    let stdout = api.get_bytes(&log("stdout")).await.expect("a log");
    assert_eq!(stdout, b"\0\xff\x1b[31mred\r\nno end of line");
    assert_eq!(api.get_bytes(&log("stderr")).await.expect("a log"), b"e\xfe");
}

#[tokio::test]
async fn a_large_log_arrives_whole() {
    let cluster = Cluster::start(1).await;
    let api = cluster.api();
    let task = api.submit(&shell_task("seq 1 300000")).await.expect("accepted");
    assert_eq!(api.ended(MINUTE, &task.task_id).await.state, TaskState::Completed);
    let mut log = Vec::new();
    loop {
        let path = format!("/api/tasks/{}/logs?stream=stdout&offset={}", task.task_id, log.len());
        let more = api.get_bytes(&path).await.expect("a log");
        if more.is_empty() {
            break;
        }
        log.extend(more);
    }
    let expected: String = (1..=300_000).map(|n| format!("{n}\n")).collect();
    assert!(log == expected.as_bytes(), "{} of {} bytes, or others", log.len(), expected.len());
}

#[tokio::test]
async fn the_ways_to_end() {
    let cluster = Cluster::start(1).await;
    let api = cluster.api();
    type Case = (&'static str, TaskState, fn(&Verdict) -> bool);
    let cases: [Case; 5] = [
        ("true", TaskState::Completed, |verdict| matches!(verdict, Verdict::Success)),
        ("exit 7", TaskState::Failed, |verdict| matches!(verdict, Verdict::ExitCode { exit_code: 7 })),
        ("kill -SEGV $$", TaskState::Failed, |verdict| {
            matches!(verdict, Verdict::Signal { signal: 11, by_hand: false })
        }),
        ("exec tail /dev/zero", TaskState::Failed, |verdict| matches!(verdict, Verdict::Oom { .. })),
        ("exec /no/such/program", TaskState::Failed, |verdict| matches!(verdict, Verdict::ExitCode { exit_code: 127 })),
    ];
    for (line, state, fits) in cases {
        let task = api.submit(&shell_task(line)).await.expect("accepted");
        let ended = api.ended(MINUTE, &task.task_id).await;
        assert_eq!(ended.state, state, "{line}: {ended:?}");
        assert!(ended.verdict.as_ref().is_some_and(fits), "{line}: {:?}", ended.verdict);
    }
}

#[tokio::test]
async fn a_missing_program_is_a_setup_failure_and_a_missing_image_an_image_failure() {
    let cluster = Cluster::start(1).await;
    let ctl = cluster.ctl();
    let run = ctl.run(&["task", &image(), "--wait", "--", "/no/such/program"]).await;
    assert_eq!(run.code, 125, "{run:?}");
    assert!(run.stderr.contains("/no/such/program"), "{run:?}");
    let run = ctl.run(&["task", "cloudai-test/no-such-image:1", "--wait"]).await;
    assert_eq!(run.code, 125, "{run:?}");
    assert!(run.stderr.contains("image"), "{run:?}");
    let queued = cluster.api().status().await.expect("a status").tasks;
    assert_eq!((queued.failed, queued.queued, queued.running), (2, 0, 0));
}

#[tokio::test]
async fn the_image_decides_where_no_command_is_given_and_env_arrives() {
    let cluster = Cluster::start(1).await;
    let ctl = cluster.ctl();
    let run = ctl.run(&["task", &image(), "--wait"]).await;
    assert_eq!((run.code, run.stdout.as_str()), (0, "the command of the image\n"), "{run:?}");
    let run =
        ctl.run(&["task", &image(), "--env", "WHO=me and you", "--wait", "--command", "echo $WHO | tr a-z A-Z"]).await;
    assert_eq!((run.code, run.stdout.as_str()), (0, "ME AND YOU\n"), "{run:?}");
}

#[tokio::test]
async fn cancel_stops_a_running_container_and_one_that_waits() {
    let cluster = Cluster::start(1).await;
    let (api, ctl) = (cluster.api(), cluster.ctl());
    let running = api.submit(&shell_task("echo up; sleep 600")).await.expect("accepted").task_id;
    cloudai_tests::wait::eventually(PATIENCE, "the first line", || async {
        let log = api.get_bytes(&format!("/api/tasks/{running}/logs")).await.ok()?;
        (log == b"up\n").then_some(())
    })
    .await;
    let mut large = shell_task("true");
    large.cpu_cores = Some(shared::resources::Quantity::Number(2.0));
    let waiting = api.submit(&large).await.expect("accepted").task_id;
    ctl.run(&["cancel", &running, &waiting]).await.ok();
    for id in [&running, &waiting] {
        let ended = api.ended(MINUTE, id).await;
        assert_eq!((ended.state, ended.verdict), (TaskState::Cancelled, Some(Verdict::Cancelled)), "{id}");
    }
    ctl.run(&["cancel", &running]).await.ok();
    let done = api.submit(&shell_task("true")).await.expect("accepted").task_id;
    api.ended(MINUTE, &done).await;
    assert_eq!(ctl.run(&["cancel", &done]).await.code, 79);
}

#[tokio::test]
async fn an_array_runs_every_element_once_and_keeps_their_outputs_apart() {
    let cluster = Cluster::start(2).await;
    let (api, ctl) = (cluster.api(), cluster.ctl());
    let mut array = shell_task("echo one line; echo $$ > /output/pid.txt");
    array.count = Some(6);
    let task = api.submit(&array).await.expect("accepted").task_id;
    let ended = api.ended(MINUTE, &task).await;
    assert_eq!(ended.elements.map(|tally| tally.completed), Some(6), "{ended:?}");
    let files = api.files(&task).await.expect("files").files;
    assert_eq!(files.iter().map(|file| file.index).collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5]);
    let element: Value =
        serde_json::from_str(&ctl.run(&["show", &format!("{task}.5"), "-o", "json"]).await.ok()).expect("json");
    assert_eq!(element["state"], "completed");
    assert_eq!(element["attempts"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn quiet_prints_ids_only() {
    let cluster = Cluster::start(1).await;
    let ctl = cluster.ctl();
    let task = id(&ctl.run(&["task", &image(), "-o", "quiet", "--", "true"]).await.ok());
    cluster.api().ended(MINUTE, &task).await;
    assert_eq!(ctl.run(&["list-tasks", "-o", "quiet"]).await.ok(), format!("{task}\n"));
    assert_eq!(ctl.run(&["workers", "-o", "quiet"]).await.ok(), "worker-1\n");
}
