//! `cloudaid doctor` on an engine that is as people have them, and on none; and what a worker says at its start to those
//! who never ask.
#![allow(missing_docs, clippy::panic, clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use cloudai_tests::cluster::Cluster;
use cloudai_tests::docker;
use cloudai_tests::engine::Engine;
use cloudai_tests::master::MasterOptions;
use cloudai_tests::process::{Process, Recipe, program};
use cloudai_tests::wait::{PATIENCE, eventually};
use cloudai_tests::worker::WorkerOptions;
use serde::Deserialize;

/// Names and levels of the checks are for scripts.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Report {
    problems: usize,
    warnings: usize,
    findings: Vec<Finding>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Finding {
    check: String,
    level: String,
    message: String,
    advice: Option<String>,
}

/// Its exit code, and what it printed.
async fn doctor(dir: &Path, host: &str, args: &[&str]) -> (i32, String) {
    let data_dir = dir.join("data").display().to_string();
    let all = ["doctor", "--docker-host", host, "--data-dir", &data_dir];
    let recipe = Recipe {
        name: format!("doctor-{:016x}", rand::random::<u64>()),
        program: program("cloudaid"),
        args: all.iter().chain(args).map(|arg| (*arg).to_owned()).collect(),
        env: Vec::new(),
        dir: dir.to_owned(),
    };
    let mut process = Process::start(recipe);
    let status = process.ended().await;
    (status.code().unwrap_or(-1), process.log())
}

async fn levels(dir: &Path, host: &str) -> (i32, Report, BTreeMap<String, String>) {
    let (code, text) = doctor(dir, host, &["--json"]).await;
    let report: Report = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error} in {text}"));
    let levels = report.findings.iter().map(|finding| (finding.check.clone(), finding.level.clone())).collect();
    (code, report, levels)
}

#[tokio::test]
async fn a_doctor_says_of_an_engine_what_is_well_and_what_is_not() {
    let dir = tempfile::tempdir().expect("a directory");
    // Of one that was killed.
    let left = dir.path().join(".cloudai-doctor-left");
    std::fs::DirBuilder::new().mode(0o700).create(&left).expect("a directory");
    let (code, report, levels) = levels(dir.path(), &docker::host()).await;
    assert!(!left.exists(), "the next one removes it");
    let level = |check: &str| levels.get(check).map(String::as_str);
    assert_eq!((code, report.problems), (0, 0), "{report:?}");
    for check in ["socket", "engine", "engine_api", "cgroups", "engine_clock", "clock", "data_dir", "disk"] {
        assert_eq!(level(check), Some("ok"), "{check} {report:?}");
    }
    assert_eq!((level("live_restore"), level("runc")), (Some("warning"), Some("warning")), "{report:?}");
    let of = |check: &str| report.findings.iter().find(|finding| finding.check == check).expect("it was looked at");
    assert!(of("runc").message.contains("CVE-2025-31133"), "{report:?}");
    assert!(of("live_restore").advice.as_ref().is_some_and(|advice| advice.contains("daemon.json")), "{report:?}");
    let warnings = report.findings.iter().filter(|finding| finding.level == "warning").count();
    assert_eq!(report.warnings, warnings);
    assert!(!dir.path().join("data").exists(), "nothing is made");

    let (code, text) = doctor(dir.path(), &docker::host(), &[]).await;
    let line = |start: &str| text.lines().find(|line| line.starts_with(start)).map(str::to_owned);
    assert_eq!(code, 0);
    assert!(line("ok       engine        Docker ").is_some_and(|line| line.ends_with("answers")), "{text}");
    assert!(line("warning  live_restore  live-restore is off").is_some(), "{text}");
    assert!(text.ends_with(&format!("0 problems, {warnings} warnings\n")), "{text}");
}

#[tokio::test]
async fn a_doctor_says_what_is_in_the_way_of_every_task() {
    let dir = tempfile::tempdir().expect("a directory");
    let away = format!("unix://{}/docker.sock", dir.path().display());
    let (code, report, nothing) = levels(dir.path(), &away).await;
    assert_eq!((code, report.problems, nothing["engine"].as_str()), (1, 1, "problem"), "{report:?}");
    assert!(!nothing.contains_key("runc"), "what nobody said is not judged: {report:?}");
    let (code, report, open) = levels(dir.path(), "tcp://127.0.0.1:2375").await;
    assert_eq!((code, report.problems, open["socket"].as_str()), (1, 1, "problem"), "{report:?}");
    assert!(report.findings[0].message.contains("owns its machine"), "{report:?}");
}

#[tokio::test]
async fn a_worker_says_at_its_start_what_is_to_be_warned_of() {
    let dir = tempfile::tempdir().expect("a directory");
    for live_restore in [false, true] {
        let engine = Engine::start(&dir.path().join(live_restore.to_string()), live_restore).await;
        let options = WorkerOptions { docker_host: Some(engine.host()), ..WorkerOptions::default() };
        let cluster = Cluster::start_with(&MasterOptions::default(), 1, &options).await;
        // The one about runc comes behind it.
        let log = eventually(PATIENCE, "the worker warns", || async {
            let log = cluster.workers[0].process.log();
            log.lines().any(|line| line.contains("WARN") && line.contains("runc ")).then_some(log)
        })
        .await;
        assert_eq!(log.contains("live-restore is off"), !live_restore, "{log}");
        let (_, _, levels) = levels(dir.path(), &engine.host()).await;
        assert_eq!(levels["live_restore"], if live_restore { "ok" } else { "warning" });
    }
}
