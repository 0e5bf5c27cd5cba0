//! How fast `cloudctl` starts and answers, and what a long list costs it. Prints figures; asserts nothing about time.
//!
//! A real master with tasks that nobody runs, and `cloudctl` as a process of its own for each call, on loopback.
//!
//! ```text
//! cargo build --release --workspace --bins && cargo bench --bench cloudctl
//! CLOUDAI_BENCH_TASKS=1000000 cargo bench --bench cloudctl
//! ```
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cloudai_tests::api::Api;
use cloudai_tests::bench::{Stamped, percentile};
use cloudai_tests::ctl::Ctl;
use cloudai_tests::embedded::{AMPLE, Embedded};
use tokio::io::AsyncReadExt;

/// As the daemon has it.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Calls that are timed.
const CALLS: usize = 200;
/// What is read of a list between two looks at the memory.
const PART: usize = 256 * 1024;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let tasks = std::env::var("CLOUDAI_BENCH_TASKS").ok().and_then(|n| n.parse().ok()).unwrap_or(100_000);
        let cluster = Embedded::start(0, &Arc::new(Stamped::default()), AMPLE).await;
        let ctl = cluster.ctl();
        calls("cloudctl --version", &ctl, &["--version"]).await;
        requests(&cluster.api()).await;
        calls("cloudctl status", &ctl, &["status"]).await;

        let line = |n| format!("{{\"image\":\"bench\",\"command\":[\"job\",\"{n}\"],\"name\":\"job-{n}\"}}\n");
        assert_eq!(cluster.submit_ndjson((0..tasks).map(line).collect()).await, tasks);
        for format in ["table", "json", "jsonl", "yaml", "quiet"] {
            for limit in [1_000, 10_000, tasks] {
                list(&ctl, format, limit).await;
            }
        }
        cluster.stop().await;
    });
}

async fn calls(what: &str, ctl: &Ctl, args: &[&str]) {
    let mut times = Vec::new();
    for _ in 0..CALLS {
        let mut command = ctl.command("cloudctl");
        command.args(args).stdout(Stdio::null());
        let begin = Instant::now();
        assert!(command.status().await.expect("it starts").success(), "{what}");
        times.push(begin.elapsed());
    }
    print(what, times);
}

/// What of a call is the master's part.
async fn requests(api: &Api) {
    let mut times = Vec::new();
    for _ in 0..CALLS {
        let begin = Instant::now();
        api.status().await.expect("a status");
        times.push(begin.elapsed());
    }
    print("the request alone that `cloudctl status` makes", times);
}

fn print(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |share| percentile(&times, share).as_secs_f64() * 1000.0;
    println!("{what}: {:.1} ms (median), {:.1} ms (99 %), of {CALLS} calls", at(0.5), at(0.99));
}

async fn list(ctl: &Ctl, format: &str, limit: usize) {
    let limit = limit.to_string();
    let mut command = ctl.command("cloudctl");
    command.args(["list-tasks", "--output", format, "--limit", &limit]).stdout(Stdio::piped());
    let begin = Instant::now();
    let mut child = command.spawn().expect("it starts");
    let pid = child.id().expect("it runs");
    let mut stdout = child.stdout.take().expect("stdout");
    let (mut part, mut first, mut peak, mut bytes) = (vec![0; PART], None, 0, 0);
    loop {
        let count = stdout.read(&mut part).await.expect("stdout");
        if count == 0 {
            break;
        }
        first.get_or_insert_with(|| begin.elapsed());
        bytes += count;
        // The kernel's own high-water mark.
        peak = high_water(pid).unwrap_or(peak).max(peak);
    }
    assert!(child.wait().await.expect("it ends").success());
    println!(
        "list-tasks --output {format} --limit {limit}: first bytes after {:.0} ms, all {:.1} MB after {:.0} ms, at most {:.1} MB of memory",
        first.unwrap_or_default().as_secs_f64() * 1000.0,
        bytes as f64 / 1e6,
        begin.elapsed().as_secs_f64() * 1000.0,
        peak as f64 / 1e3,
    );
}

/// The most memory that a process has had, in kilobytes.
fn high_water(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse().ok())
}
