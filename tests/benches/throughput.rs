//! How much the master takes, and how fast it answers. Prints figures; asserts nothing about time.
//!
//! A real master (SQLite, gRPC, HTTP) and two real workers in this process; only the containers are simulated. The tasks
//! are distinct and come in one NDJSON body; a task counts when its end is recorded.
//!
//! ```text
//! cargo bench --bench throughput
//! CLOUDAI_BENCH_TASKS=100000 cargo bench --bench throughput
//! strace -f -c -e trace=fsync,fdatasync target/release/deps/throughput-*   # the syncs are real
//! ```
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;
use std::time::Instant;

use cloudai_tests::bench::{Stamped, percentile};
use cloudai_tests::embedded::{AMPLE, Embedded};

/// As the daemon has it.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const WORKERS: usize = 2;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let tasks = std::env::var("CLOUDAI_BENCH_TASKS").ok().and_then(|n| n.parse().ok()).unwrap_or(10_000);
        for round in 1..=3 {
            throughput(round, tasks).await;
        }
        latency(500).await;
    });
}

async fn throughput(round: u32, tasks: usize) {
    let engine = Arc::new(Stamped::default());
    let bench = Embedded::start(WORKERS, &engine, AMPLE).await;
    let body: String = (0..tasks)
        .map(|n| format!("{{\"image\":\"bench\",\"command\":[\"job\",\"{n}\"],\"name\":\"job-{n}\",\"cpu_cores\":\"10m\",\"mem\":\"6MiB\",\"storage\":0}}\n"))
        .collect();
    let before = bench.commits();
    let begin = Instant::now();
    let accepted = bench.submit_ndjson(body).await;
    let submitted = begin.elapsed();
    assert_eq!(accepted, tasks);
    bench.wait_completed(tasks as u64).await;
    let recorded = begin.elapsed();
    let commits = bench.commits() - before;
    println!(
        "round {round}: {tasks} distinct tasks on {WORKERS} workers: {:.0} tasks/s from submit to recorded completion \
         ({:.2} s; all accepted after {:.2} s); {commits} commits, {:.0} commits/s",
        tasks as f64 / recorded.as_secs_f64(),
        recorded.as_secs_f64(),
        submitted.as_secs_f64(),
        commits as f64 / recorded.as_secs_f64(),
    );
    bench.stop().await;
}

/// One task after the other on an idle cluster: from the moment before the request is sent to the moment in which the
/// engine is asked to start the container.
async fn latency(tasks: usize) {
    let engine = Arc::new(Stamped::default());
    let bench = Embedded::start(WORKERS, &engine, AMPLE).await;
    let mut times = Vec::with_capacity(tasks);
    for n in 0..tasks {
        let begin = Instant::now();
        let id = bench.submit(format!("{{\"image\":\"bench\",\"command\":[\"job\",\"{n}\"]}}")).await;
        let started = engine.started(id).await;
        times.push(started.saturating_duration_since(begin));
        bench.wait_completed(n as u64 + 1).await;
    }
    times.sort_unstable();
    let show = |share| percentile(&times, share).as_secs_f64() * 1e3;
    println!(
        "idle cluster, {tasks} tasks one by one: submit to container-start request p50 {:.2} ms, p90 {:.2} ms, p99 {:.2} ms, worst {:.2} ms",
        show(0.5),
        show(0.9),
        show(0.99),
        show(1.0)
    );
    bench.stop().await;
}
