//! Programs that behave badly, or oddly: each has an end of its own, and what it wrote is there to the byte.
//!
//! `./tests/torture.sh long line` makes the long line longer: `CLOUDAI_TEST_LINE_MIB` says how long it is.
#![allow(missing_docs, clippy::panic, clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Instant;

use bollard::models::ContainerConfig;
use cloudai_tests::api::Api;
use cloudai_tests::cluster::{Cluster, shell_task};
use cloudai_tests::docker;
use cloudai_tests::wait::PATIENCE;
use cloudai_tests::worker::WorkerOptions;
use shared::resources::Quantity;
use shared::submit::SubmitRequest;
use shared::task::{TaskState, Verdict};

/// MiB.
const LINE: u64 = 64;

fn large(line: &str) -> SubmitRequest {
    let text = |text: &str| Some(Quantity::Text(text.to_owned()));
    SubmitRequest { cpu_cores: text("2"), mem: text("2GiB"), ..shell_task(line) }
}

async fn log(api: &Api, id: &str, stream: &str) -> Vec<u8> {
    api.get_bytes(&format!("/api/tasks/{id}/logs?stream={stream}")).await.expect("a log")
}

/// Whether a worker of this user may: it says who was killed.
fn reads_kernel_log() -> bool {
    std::fs::File::open("/dev/kmsg").is_ok()
}

async fn start() -> (Cluster, Api) {
    let options = WorkerOptions { cpu: "4".to_owned(), memory: "6GiB".to_owned(), ..WorkerOptions::default() };
    let cluster = Cluster::start_with(&Default::default(), 1, &options).await;
    let api = cluster.api();
    (cluster, api)
}

#[tokio::test]
async fn a_bomb_of_processes_ends_at_its_own_limit_and_nobody_else_feels_it() {
    let (cluster, api) = start().await;
    let bomb = large("i=0; while true; do sleep 300 & i=$((i+1)); [ $((i % 1000)) -ne 0 ] || echo $i; done");
    let bomb = api.submit(&bomb).await.expect("accepted").task_id;
    for _ in 0..3 {
        let neighbour = api.submit(&shell_task("sleep 0.1; echo fine")).await.expect("accepted").task_id;
        assert_eq!(api.ended(PATIENCE, &neighbour).await.verdict, Some(Verdict::Success));
    }
    let task = api.ended(PATIENCE * 2, &bomb).await;
    assert!(matches!(task.verdict, Some(Verdict::ExitCode { exit_code: 1..=2 })), "{task:?}");
    let (out, err) = (log(&api, &bomb, "stdout").await, log(&api, &bomb, "stderr").await);
    assert_eq!(String::from_utf8_lossy(&out), "1000\n2000\n3000\n4000\n", "it got as far as its limit of 4096");
    assert!(String::from_utf8_lossy(&err).contains("can't fork"), "{}", String::from_utf8_lossy(&err));
    let refused = task.usage.and_then(|usage| usage.forks_refused);
    assert!(refused.is_some_and(|refused| refused > 0), "{task:?}");
    let shown = cluster.ctl().run(&["show", &bomb]).await;
    let expected = "more processes or threads: it may have 4096 at a time";
    assert!(shown.stdout.contains(expected), "{shown:?}");
}

/// A program may outlive one of its processes that needed too much memory: how it ends says what that was worth.
#[tokio::test]
async fn a_process_that_is_out_of_memory_is_told_from_the_command_itself() {
    let (cluster, api) = start().await;
    // What the kernel counts is looked at every second.
    let killed = "sh -c 'exec tail /dev/zero'; echo \"its code is $?\"; sleep 2";
    let mut ids = Vec::new();
    for end in ["", "; exit 3"] {
        ids.push(api.submit(&shell_task(&format!("{killed}{end}"))).await.expect("accepted").task_id);
    }
    for (id, code) in ids.iter().zip([0, 3]) {
        let task = api.ended(PATIENCE, id).await;
        assert_eq!(log(&api, id, "stdout").await, b"its code is 137\n");
        let usage = task.usage.expect("what it used");
        assert!(usage.oom_kills.is_some_and(|kills| kills > 0), "{task:?}");
        match (&task.verdict, code) {
            (Some(Verdict::Success), 0) => {}
            (Some(Verdict::Oom { limit_bytes, exit_code, killed_process, killed_process_bytes, .. }), _) => {
                assert_eq!(*exit_code, Some(code), "{task:?}");
                let expected = reads_kernel_log().then_some("tail");
                assert_eq!(killed_process.as_deref(), expected, "{task:?}");
                let had = killed_process_bytes.is_some_and(|bytes| (1 << 20..=*limit_bytes).contains(&bytes));
                assert_eq!(had, expected.is_some(), "{task:?}");
            }
            _ => panic!("{task:?}"),
        }
        let shown = cluster.ctl().run(&["show", id]).await;
        assert!(shown.stdout.contains("for want of memory\n"), "{shown:?}");
        let says_who = shown.stdout.contains(": a process of it was killed, tail (");
        assert_eq!(says_who, code != 0 && reads_kernel_log(), "{shown:?}");
    }
}

#[tokio::test]
async fn what_ends_at_once_or_says_nothing_loses_nothing() {
    let (_cluster, api) = start().await;
    let mut ids = Vec::new();
    for number in 0..16 {
        let (line, expected) = match number % 4 {
            0 => ("exec true".to_owned(), String::new()),
            1 => (format!("printf {number}"), number.to_string()),
            2 => (format!("exit {number}"), String::new()),
            _ => (format!("echo {number}; exit {number}"), format!("{number}\n")),
        };
        ids.push((number, expected, api.submit(&shell_task(&line)).await.expect("accepted").task_id));
    }
    for (number, expected, id) in ids {
        let task = api.ended(PATIENCE, &id).await;
        let verdict = if number % 4 > 1 { Verdict::ExitCode { exit_code: number } } else { Verdict::Success };
        assert_eq!(task.verdict, Some(verdict), "{number}");
        assert_eq!(String::from_utf8_lossy(&log(&api, &id, "stdout").await), expected);
        let usage = task.usage.expect("what it used");
        assert_eq!((usage.stdout_bytes, usage.stderr_bytes), (expected.len() as u64, 0));
    }
}

#[tokio::test]
async fn a_line_without_an_end_is_kept_to_the_byte() {
    let (_cluster, api) = start().await;
    let mib = std::env::var("CLOUDAI_TEST_LINE_MIB").ok().and_then(|mib| mib.parse().ok()).unwrap_or(LINE);
    let bytes = mib << 20;
    let begin = Instant::now();
    let id = api.submit(&large(&format!("head -c {bytes} /dev/zero | tr '\\0' x"))).await.expect("accepted").task_id;
    let task = api.ended(PATIENCE * 4, &id).await;
    assert_eq!((task.verdict, task.usage.expect("what it used").stdout_bytes), (Some(Verdict::Success), bytes));
    let (mut offset, mut right, step) = (0, 0, 32 << 20);
    while offset < bytes {
        let path = format!("/api/tasks/{id}/logs?stream=stdout&offset={offset}&limit={step}");
        let part = api.get_bytes(&path).await.expect("a part of the log");
        if part.is_empty() {
            break;
        }
        offset += part.len() as u64;
        right += if part.iter().all(|byte| *byte == b'x') { part.len() as u64 } else { 0 };
    }
    println!("{right} of {bytes} bytes of one line are there as they were written, {:.0?}", begin.elapsed());
    assert_eq!((offset, right), (bytes, bytes));
}

/// Whoever stores more than they asked for is ended, wherever it is, and their neighbours feel nothing.
#[tokio::test]
async fn who_fills_the_disk_is_ended_for_it() {
    let (cluster, api) = start().await;
    let limited = |line: &str| SubmitRequest { storage: Some(Quantity::Text("8MiB".to_owned())), ..shell_task(line) };
    let fill = |path: &str| limited(&format!("echo begun; dd if=/dev/zero of={path} bs=1M count=24; exec sleep 300"));
    let output = api.submit(&fill("/output/large")).await.expect("accepted").task_id;
    let layer = api.submit(&fill("/tmp/large")).await.expect("accepted").task_id;
    let hole = limited("dd if=/dev/zero of=/output/hole bs=1 count=1 seek=1G; sleep 3; rm /output/hole; echo fine");
    let hole = api.submit(&hole).await.expect("accepted").task_id;
    // Of the 1 GiB that is reserved where nothing is said, more may be stored: the disk has room.
    let reserved = shell_task("fallocate -l 1200M /output/large && sleep 8 && rm /output/large && echo fine");
    let reserved = api.submit(&SubmitRequest { storage: None, ..reserved }).await.expect("accepted").task_id;
    // Whose layers nobody can look into, of those it is only known how large they are.
    let sees = rustix::process::geteuid().is_root() && docker::keeps_layers_in_directories().await;
    for (id, path) in [(output, "/output/large"), (layer, if sees { "/tmp/large" } else { "/" })] {
        let task = api.ended(PATIENCE, &id).await;
        let Some(Verdict::Disk { limit_bytes, used_bytes: Some(used), largest }) = &task.verdict else {
            panic!("{task:?}")
        };
        assert_eq!((task.state, *limit_bytes), (TaskState::Failed, 8 << 20));
        assert!(used > limit_bytes, "{used}");
        assert!(largest[0].path == path && largest[0].bytes > *limit_bytes, "{largest:?}");
        let shown = cluster.ctl().run(&["show", &id]).await;
        assert!(shown.stdout.contains(&format!("; largest: {path} (")), "{shown:?}");
        assert_eq!(log(&api, &id, "stdout").await, b"begun\n");
        let notes = task.output_notes.clone();
        // How much of the 24 MiB there was when it was seen is a matter of luck.
        assert!(
            notes.iter().any(|note| note.starts_with("it stored ") && note.contains(" may store 8 MiB: ")),
            "{notes:?}"
        );
    }
    assert_eq!(api.ended(PATIENCE, &hole).await.verdict, Some(Verdict::Success), "a hole stores nothing");
    assert_eq!(api.ended(PATIENCE, &reserved).await.verdict, Some(Verdict::Success), "it had asked for nothing");
}

/// The same where neither a walk over /output nor the engine would find it.
#[tokio::test]
async fn who_fills_a_volume_or_files_without_a_name_is_ended_for_it() {
    let (cluster, api) = start().await;
    // Docker's directories and the processes of others are for root.
    let sees = rustix::process::geteuid().is_root();
    let log = cluster.workers[0].process.log();
    assert!(log.contains("What a standard task stores is measured: in /output, its own layer"), "{log}");
    assert_eq!(log.contains("that takes root"), !sees, "{log}");
    let image = "cloudai-test/volume:1";
    let config = ContainerConfig { volumes: Some(vec!["/data".to_owned()]), ..ContainerConfig::default() };
    docker::build(image, "mkdir /data; head -c 24m /dev/zero > /large", config).await;
    let task = |line: &str| {
        let storage = Some(Quantity::Text("8MiB".to_owned()));
        SubmitRequest { image: image.to_owned(), storage, ..shell_task(line) }
    };
    let nameless = |path: &str| format!("exec 3>{path}; rm {path}; dd if=/dev/zero bs=1M count=24 >&3; sleep 40");
    let too_much = [
        ("dd if=/dev/zero of=/data/large bs=1M count=24; sleep 40".to_owned(), "/data/large"),
        (nameless("/tmp/gone"), "(deleted)"),
        (nameless("/output/gone"), "(deleted)"),
        (nameless("/data/gone"), "(deleted)"),
    ];
    let nothing = [
        // What the image has is no less when it is hidden.
        "exec 3</large; rm /large; sleep 12; echo fine",
        // What is in memory is not on the disk.
        "exec 3>/dev/shm/gone; rm /dev/shm/gone; head -c 16m /dev/zero >&3; sleep 12; echo fine",
    ];
    let (mut ended, mut fine) = (Vec::new(), Vec::new());
    for (line, path) in &too_much {
        ended.push((line, *path, api.submit(&task(line)).await.expect("accepted").task_id));
    }
    for line in nothing {
        fine.push((line, api.submit(&task(line)).await.expect("accepted").task_id));
    }
    for (line, path, id) in ended {
        let task = api.ended(PATIENCE, &id).await;
        match task.verdict {
            Some(Verdict::Disk { limit_bytes, used_bytes: Some(used), largest }) if sees => {
                assert!(limit_bytes == 8 << 20 && used > limit_bytes, "{line}: {used}");
                assert!(largest[0].path == path && largest[0].bytes > limit_bytes, "{line}: {largest:?}");
            }
            Some(Verdict::Success) if !sees => {}
            other => panic!("{line}: {other:?}"),
        }
    }
    for (line, id) in fine {
        assert_eq!(api.ended(PATIENCE, &id).await.verdict, Some(Verdict::Success), "{line}");
    }
}

/// What the engine was told to send is told from what the program, or another one in its container, has sent.
#[tokio::test]
async fn who_was_killed_by_hand_is_known() {
    let (cluster, api) = start().await;
    let id = api.submit(&shell_task("echo ready; exec sleep 600")).await.expect("accepted").task_id;
    api.said(PATIENCE, &id, "ready").await;
    cluster.containers.as_ref().expect("containers").signal("KILL").await;
    assert_eq!(api.ended(PATIENCE, &id).await.verdict, Some(Verdict::Signal { signal: 9, by_hand: true }));
    let shown = cluster.ctl().run(&["show", &id]).await;
    assert!(shown.stdout.contains("killed by signal 9, which somebody had the container engine send"), "{shown:?}");
    let id = api.submit(&shell_task("kill -9 $$")).await.expect("accepted").task_id;
    assert_eq!(api.ended(PATIENCE, &id).await.verdict, Some(Verdict::Signal { signal: 9, by_hand: false }));
}

/// What was lost of an earlier run is told of that run, also when a later one goes well.
#[tokio::test]
async fn a_container_that_is_removed_by_hand_leaves_a_note_with_its_run() {
    let (cluster, api) = start().await;
    let line = "echo ready; [ $CLOUDAI_ATTEMPT -gt 1 ] || exec sleep 600";
    // With retries a program is told which run it is.
    let task = SubmitRequest { retries: Some(1), ..shell_task(line) };
    let id = api.submit(&task).await.expect("accepted").task_id;
    api.said(PATIENCE, &id, "ready").await;
    for container in cluster.containers.as_ref().expect("containers").list().await {
        docker::remove(&container.id.unwrap_or_default()).await;
    }
    let task = api.ended(PATIENCE, &id).await;
    assert_eq!((&task.verdict, task.attempts.len()), (&Some(Verdict::Success), 2), "{task:?}");
    let note = "the log may lack its end";
    assert!(task.attempts[0].notes.iter().any(|said| said.contains(note)), "{task:?}");
    assert_eq!(task.attempts[1].notes, [""; 0], "{task:?}");
    let shown = cluster.ctl().run(&["show", &id]).await;
    assert!(shown.stdout.contains(&format!("Attempt 1: {note}")), "{shown:?}");
}
