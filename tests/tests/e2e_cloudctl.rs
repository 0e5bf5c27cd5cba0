//! `cloudctl` where the world is not kind: networks that break, logins that run out, output that nobody reads, Ctrl-C.
#![allow(missing_docs, clippy::panic, clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::Stdio;

use cloudai_tests::cluster::{Cluster, shell_task};
use cloudai_tests::ctl::Ctl;
use cloudai_tests::docker::image;
use cloudai_tests::master::{ADMIN_PASSWORD, MasterOptions};
use cloudai_tests::proxy::{Cut, Proxy};
use cloudai_tests::wait::{PATIENCE, eventually};
use cloudai_tests::worker::WorkerOptions;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use shared::task::TaskState;
use tokio::io::AsyncReadExt;
use tokio::process::Child;

const MIB: u64 = 1 << 20;

async fn completed(cluster: &Cluster, line: &str) -> String {
    let api = cluster.api();
    let task = api.submit(&shell_task(line)).await.expect("accepted").task_id;
    assert_eq!(api.ended(PATIENCE, &task).await.state, TaskState::Completed);
    task
}

async fn running(cluster: &Cluster, line: &str) -> String {
    let task = cluster.api().submit(&shell_task(line)).await.expect("accepted").task_id;
    is_running(cluster, &task).await;
    task
}

async fn is_running(cluster: &Cluster, task: &str) {
    eventually(PATIENCE, "it runs", || async {
        let state = cluster.api().task(task).await.ok()?.state;
        (state == TaskState::Running).then_some(())
    })
    .await;
}

/// Files below a directory, hidden ones too.
fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).expect("the directory");
    let mut names: Vec<_> = entries.map(|entry| entry.expect("an entry").file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_download_goes_on_over_connections_that_break() {
    let cluster = Cluster::start(1).await;
    let task = completed(&cluster, "head -c 3000000 /dev/urandom > /output/big; sha256sum < /output/big").await;
    let proxy = Proxy::start(&cluster.master.url(), Cut::Each(MIB)).await;
    let ctl = cluster.ctl().with_env("CLOUDCTL_SERVER", &proxy.url());
    let output = ctl.run(&["download", &task, "out"]).await;
    assert_eq!(output.code, 0, "{output:?}");
    assert!(output.stderr.contains("trying again"), "{output:?}");
    let sum = ctl.shell("sha256sum < out/big").await.ok();
    assert_eq!(sum.as_bytes(), cluster.api().get_bytes(&format!("/api/tasks/{task}/logs")).await.expect("the log"));
    assert_eq!(names(&ctl.dir().join("out")), ["big"]);
    // Each byte of it came once.
    assert!(proxy.passed() < 3_000_000 + 64 * 1024, "{} bytes came", proxy.passed());
}

#[tokio::test]
async fn a_download_that_was_interrupted_leaves_nothing_half_written_and_is_resumed() {
    let cluster = Cluster::start(1).await;
    let task = completed(&cluster, "echo 1 > /output/a; head -c 4000000 /dev/urandom > /output/big").await;
    let broken = Proxy::start(&cluster.master.url(), Cut::FirstAndLast(3 * MIB)).await;
    let ctl = cluster.ctl();
    let out = ctl.dir().join("out");
    let output = ctl.clone().with_env("CLOUDCTL_SERVER", &broken.url()).run(&["download", &task, "out"]).await;
    assert_eq!(output.code, 69, "{output:?}");
    assert!(output.stderr.contains("--resume"), "{output:?}");
    let left = names(&out);
    assert!(left.iter().all(|name| name == "a" || name.starts_with(".cloudctl-")), "{left:?}");
    assert_eq!(left.len(), 2, "{left:?}");

    let whole = Proxy::start(&cluster.master.url(), Cut::Never).await;
    let ctl = ctl.with_env("CLOUDCTL_SERVER", &whole.url());
    let output = ctl.run(&["download", &task, "out", "--resume"]).await;
    assert_eq!(output.code, 0, "{output:?}");
    assert_eq!(names(&out), ["a", "big"]);
    assert!(whole.passed() < 4_000_000 - 2 * MIB, "{} bytes came again", whole.passed());
    // What is whole is not brought again.
    let brought = whole.passed();
    ctl.run(&["download", &task, "out"]).await.ok();
    assert!(whole.passed() - brought < 64 * 1024, "{} bytes", whole.passed() - brought);
}

#[tokio::test]
async fn a_line_of_ten_megabytes_arrives_as_it_was_written() {
    let cluster = Cluster::start(1).await;
    // As many bytes as that without the end of a line.
    let task = completed(&cluster, "yes 0123456789abcde | head -c 10485760 | tr '\\n' '-'; echo; echo after").await;
    let ctl = cluster.ctl();
    let line = "0123456789abcde-".repeat(10_485_760 / 16) + "\n";
    for command in ["logs", "monitor"] {
        let output = ctl.run(&[command, &task]).await.ok();
        assert_eq!(output.len(), line.len() + 6, "{command}");
        assert!(output.starts_with(&line) && output.ends_with("-\nafter\n"), "{command}");
    }
    assert_eq!(ctl.run(&["logs", &task, "--tail", "1"]).await.ok(), "after\n");
    // As lines of JSON it comes in pieces, whose offsets say where each belongs.
    let mut bytes = String::new();
    for record in ctl.run(&["logs", &task, "-o", "jsonl"]).await.ok().lines() {
        let record: Value = serde_json::from_str(record).expect("json");
        if let Some(text) = record["text"].as_str() {
            assert_eq!(record["offset"].as_u64(), Some(bytes.len() as u64));
            bytes += text;
            // The newline is between the items.
            bytes += if record["partial"] == true { "" } else { "\n" };
        }
    }
    assert!(bytes == format!("{line}after\n"), "{} bytes", bytes.len());
    // Nobody reads on after the first bytes.
    let head = bash(&ctl, &format!("cloudctl logs {task} | head -c 5")).await;
    assert_eq!(head, (0, "01234".to_owned()));
}

/// What a script with `set -euo pipefail` makes of a line.
async fn bash(ctl: &Ctl, line: &str) -> (i32, String) {
    let output = ctl.command("bash").args(["-euo", "pipefail", "-c", line]).output().await.expect("bash");
    (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&output.stdout).into_owned())
}

#[tokio::test]
async fn output_that_nobody_reads_is_no_failure() {
    let cluster = Cluster::start_with(&MasterOptions::default(), 0, &WorkerOptions::default()).await;
    let body = (0..3000).map(|n| format!("{{\"image\":\"none\",\"name\":\"n-{n}\"}}\n")).collect::<String>();
    let ctl = cluster.ctl();
    std::fs::write(ctl.dir().join("tasks.jsonl"), body).expect("written");
    assert_eq!(bash(&ctl, "cloudctl task --file tasks.jsonl -q | wc -l").await, (0, "3000\n".to_owned()));
    for arguments in [
        "list-tasks --all",
        "list-tasks --all -o json",
        "list-tasks --all -o jsonl",
        "list-tasks --all -o yaml",
        "list-tasks --all --format '{{.task_id}}'",
        "queue -o json",
        "internal-state",
        "completions bash",
        "help",
    ] {
        let (code, head) = bash(&ctl, &format!("cloudctl {arguments} | head -n 1")).await;
        assert_eq!((code, head.lines().count()), (0, 1), "{arguments}: {head}");
    }
}

#[tokio::test]
async fn a_login_renews_itself_and_one_that_has_ended_says_what_to_do() {
    let options = MasterOptions { env: vec![("CLOUDAI_AUTH_TOKEN_TTL".into(), "3s".into())], ..Default::default() };
    let cluster = Cluster::start_with(&options, 0, &WorkerOptions::default()).await;
    let ctl = cluster.ctl().with_env("CLOUDCTL_TOKEN", "");
    ctl.shell(&format!("echo '{ADMIN_PASSWORD}' | cloudctl login --username admin --password-stdin -q")).await.ok();
    let ctl = ctl.with_env("CLOUDCTL_SERVER", "");
    let file = ctl.dir().join("config/cloudctl/contexts.toml");
    let token = || {
        let text = std::fs::read_to_string(&file).expect("the context file");
        text.lines().find_map(|line| line.strip_prefix("token = \"")?.strip_suffix('"').map(str::to_owned))
    };
    let first = token().expect("a token");
    // Who goes on working never logs in again.
    for _ in 0..2 {
        let before = token();
        eventually(PATIENCE, "a fresh token", || async {
            ctl.run(&["whoami"]).await.ok();
            (token() != before).then_some(())
        })
        .await;
    }
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&file).expect("the file").permissions());
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(names(file.parent().expect("its directory")), [".contexts.lock", ".renewal.lock", "contexts.toml"]);

    let stale = ctl.clone().with_env("CLOUDCTL_SERVER", &cluster.master.url()).with_env("CLOUDCTL_TOKEN", &first);
    // No call of ours renews the last one in the meantime, so both have run out when this one has.
    let last = stale.clone().with_env("CLOUDCTL_TOKEN", &token().expect("a token"));
    for tokens in [stale, last] {
        eventually(PATIENCE, "it runs out", || async { (tokens.run(&["whoami"]).await.code == 67).then_some(()) })
            .await;
    }
    ctl.run(&["whoami"]).await.ok();
    let copy = std::fs::read(&file).expect("the context file");
    ctl.run(&["logout"]).await.ok();
    assert_eq!(token(), None);
    std::fs::write(&file, copy).expect("as if it were stolen");
    let output = ctl.run(&["whoami"]).await;
    assert_eq!(output.code, 67, "{output:?}");
    assert!(output.stderr.contains("the login has ended") && output.stderr.contains("cloudctl login"), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
}

/// `cloudctl` in the background, with nobody to ask.
fn background(ctl: &Ctl, args: &[&str]) -> Child {
    let mut command = ctl.command("cloudctl");
    command.args(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts")
}

fn interrupt(child: &Child) {
    let pid = child.id().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?)).expect("it runs");
    kill_process(pid, Signal::INT).expect("the signal");
}

async fn reads_until(child: &mut Child, text: &str) {
    let mut stdout = child.stdout.take().expect("stdout");
    let mut seen = Vec::new();
    while !String::from_utf8_lossy(&seen).contains(text) {
        assert_ne!(stdout.read_buf(&mut seen).await.expect("stdout"), 0, "the end, before {text:?}: {seen:?}");
    }
    child.stdout = Some(stdout);
}

#[tokio::test]
async fn ctrl_c_where_nobody_can_be_asked_cancels_what_was_submitted_and_the_second_one_leaves_it() {
    let cluster = Cluster::start(1).await;
    let (api, ctl) = (cluster.api(), cluster.ctl());
    let task = |line: &'static str| {
        ["task", "--cpu-cores", "0.1", "--mem", "32MiB", "--wait", "--command", line].map(str::to_owned)
    };
    let image = image();
    let submit = |line| {
        let mut args: Vec<String> = task(line).into();
        args.insert(1, image.clone());
        background(&ctl, &args.iter().map(String::as_str).collect::<Vec<_>>())
    };

    let mut child = submit("echo up; exec sleep 600");
    reads_until(&mut child, "up\n").await;
    interrupt(&child);
    let output = child.wait_with_output().await.expect("it ends");
    assert_eq!(output.status.code(), Some(130), "{output:?}");
    let tasks = api.tasks().await.expect("the tasks");
    assert_eq!(tasks[0].state, TaskState::Cancelled);

    // One that takes its time to end, and a person who does not have it.
    let mut child = submit("trap 'sleep 600' TERM; echo up; while :; do sleep 0.1; done");
    reads_until(&mut child, "up\n").await;
    interrupt(&child);
    let mut stderr = child.stderr.take().expect("stderr");
    let mut said = Vec::new();
    while !String::from_utf8_lossy(&said).contains("Ctrl-C again detaches") {
        assert_ne!(stderr.read_buf(&mut said).await.expect("stderr"), 0, "{}", String::from_utf8_lossy(&said));
    }
    interrupt(&child);
    stderr.read_to_end(&mut said).await.expect("stderr");
    let said = String::from_utf8_lossy(&said).into_owned();
    assert_eq!(child.wait().await.expect("it ends").code(), Some(130), "{said}");
    assert!(said.contains("cloudctl show task-"), "{said}");
}

#[tokio::test]
async fn waiting_goes_on_when_the_master_is_killed_and_comes_back() {
    let mut cluster = Cluster::start(1).await;
    let ctl = cluster.ctl();
    let line = "trap 'echo two; exit 7' USR1; echo one; while :; do sleep 0.1; done";
    let task = running(&cluster, line).await;
    let mut follower = background(&ctl, &["monitor", &task]);
    let waiter = background(&ctl, &["wait", &task, "-q"]);
    reads_until(&mut follower, "one\n").await;
    cluster.master.kill9();
    cluster.master.restart().await;
    cluster.containers.as_ref().expect("containers").signal("USR1").await;
    let followed = follower.wait_with_output().await.expect("it ends");
    assert_eq!((followed.status.code(), String::from_utf8_lossy(&followed.stdout).as_ref()), (Some(0), "two\n"));
    let waited = waiter.wait_with_output().await.expect("it ends");
    assert_eq!(waited.status.code(), Some(7), "{waited:?}");
    assert_eq!(String::from_utf8_lossy(&waited.stdout), format!("{task}\n"));
}

#[tokio::test]
async fn waiting_lasts_longer_than_a_login() {
    let options = MasterOptions { env: vec![("CLOUDAI_AUTH_TOKEN_TTL".into(), "3s".into())], ..Default::default() };
    let cluster = Cluster::start_with(&options, 1, &WorkerOptions::default()).await;
    let ctl = cluster.ctl().with_env("CLOUDCTL_TOKEN", "");
    ctl.shell(&format!("echo '{ADMIN_PASSWORD}' | cloudctl login --username admin --password-stdin -q")).await.ok();
    let ctl = ctl.with_env("CLOUDCTL_SERVER", "");
    let file = ctl.dir().join("config/cloudctl/contexts.toml");
    let line = "trap 'exit 7' USR1; echo up; while :; do sleep 0.1; done";
    let task = ctl.run(&["task", &image(), "--cpu-cores", "0.1", "--mem", "32MiB", "-q", "--command", line]).await.ok();
    let task = task.trim().to_owned();
    let waiter = background(&ctl, &["wait", &task, "-q"]);
    let mut follower = background(&ctl, &["monitor", &task]);
    reads_until(&mut follower, "up\n").await;
    // Each round is a renewal; five of them are longer than any token of before is good.
    for _ in 0..5 {
        let before = std::fs::read(&file).expect("the context file");
        eventually(PATIENCE, "a fresh token", || async {
            (std::fs::read(&file).expect("the context file") != before).then_some(())
        })
        .await;
    }
    cluster.containers.as_ref().expect("containers").signal("USR1").await;
    let waited = waiter.wait_with_output().await.expect("it ends");
    assert_eq!(waited.status.code(), Some(7), "{waited:?}");
    let followed = follower.wait_with_output().await.expect("it ends");
    assert_eq!(followed.status.code(), Some(0), "{followed:?}");
}

#[tokio::test]
async fn who_is_shut_out_reads_no_log_any_more() {
    let cluster = Cluster::start(1).await;
    let (admin, server) = (cluster.ctl(), cluster.master.url());
    let line = format!("echo '{ADMIN_PASSWORD}' | cloudctl users create ann --password-stdin -q");
    admin.shell(&line).await.ok();
    let ann = Ctl::new(cluster.dir().join("ann"), server, String::new());
    ann.shell(&format!("echo '{ADMIN_PASSWORD}' | cloudctl login --username ann --password-stdin -q")).await.ok();
    let line = "echo up; exec sleep 600";
    let task = ["task", &image(), "--cpu-cores", "0.1", "--mem", "32MiB", "-q", "--command", line];
    let task = ann.run(&task).await.ok().trim().to_owned();
    let mut follower = background(&ann, &["monitor", &task]);
    reads_until(&mut follower, "up\n").await;
    admin.run(&["users", "disable", "ann", "-q"]).await.ok();
    // The master looks every 30 s, and whenever there is something to send.
    let ended = tokio::time::timeout(2 * PATIENCE, follower.wait_with_output()).await.expect("in time");
    let output = ended.expect("it ends");
    assert_eq!(output.status.code(), Some(67), "{output:?}");
}

#[tokio::test]
async fn ctrl_c_ends_a_script_that_was_told_to_go_on() {
    let cluster = Cluster::start(1).await;
    let task = running(&cluster, "exec sleep 600").await;
    let ctl = cluster.ctl();
    std::fs::write(ctl.dir().join("script"), format!("show {task} -q\nwait {task}\nwait {task}\n")).expect("written");
    let script = std::fs::File::open(ctl.dir().join("script")).expect("the script");
    let mut command = ctl.command("cloudctl");
    command.args(["shell", "--keep-going"]).stdin(script).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it starts");
    reads_until(&mut child, &task).await;
    // It may not have come to the next line yet; a script that waits for its next line ends as well.
    interrupt(&child);
    let output = tokio::time::timeout(PATIENCE, child.wait_with_output()).await.expect("in time").expect("it ends");
    assert_eq!(output.status.code(), Some(130), "{output:?}");
}

/// The script of the README, as it stands there.
fn readme_script() -> String {
    let readme = include_str!("../../README.md");
    let from = readme.find("    #!/usr/bin/env bash").expect("the script in the README");
    let block = readme[from..].lines().take_while(|line| line.starts_with("    ") || line.is_empty());
    block.map(|line| format!("{}\n", line.strip_prefix("    ").unwrap_or_default())).collect()
}

#[tokio::test]
async fn the_script_in_the_readme_works() {
    let cluster = Cluster::start(2).await;
    let ctl = cluster.ctl();
    let script = readme_script();
    assert!(script.contains("set -euo pipefail") && script.contains("alpine"), "{script}");
    std::fs::write(ctl.dir().join("sweep.sh"), script.replace("alpine", &image())).expect("written");
    let output = ctl.command("bash").arg("sweep.sh").output().await.expect("bash");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let tasks = cluster.api().tasks().await.expect("the tasks");
    let failed: Vec<_> = tasks.iter().filter(|task| task.state == TaskState::Failed).collect();
    assert_eq!((tasks.len(), failed.len()), (20, 3));
    let mut ids: Vec<_> = failed.iter().map(|task| task.task_id.clone()).collect();
    ids.sort();
    assert_eq!(names(&ctl.dir().join("failed")), ids);
    for id in ids {
        let report = std::fs::read_to_string(ctl.dir().join("failed").join(&id).join("report.txt")).expect("a report");
        assert!(report.starts_with("step "), "{report}");
    }
}
