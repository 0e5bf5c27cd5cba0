//! How fast a master is on MongoDB, beside SQLite, and how many commands to the server a task costs. Prints figures.
//!
//! A real master and two real workers in this process; only the containers are simulated. Tasks come 100 a batch, a batch
//! when the one before was accepted; a task counts when its end is recorded. The server is `mongod` if it is on the PATH;
//! else that of the tests, FerretDB on SQLite, which is slow: of it only the number of commands says anything of others.
//!
//! ```text
//! ./tests/run.sh -E 'binary(store_mongo)'   # builds the server
//! CLOUDAI_TEST_MONGOWIRE=$(ls -d $PWD/target/tools/mongowire-*/mongowire) cargo bench --bench stores
//! ```
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;
use std::time::Instant;

use cloudai_tests::bench::Stamped;
use cloudai_tests::embedded::{AMPLE, Embedded};
use cloudai_tests::mongo::Mongo;
use cloudaid::config::{MongoAddress, MongoSettings, Secret, StoreSettings};

/// As the daemon has it.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const WORKERS: usize = 2;
const BATCH: usize = 100;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let tasks = std::env::var("CLOUDAI_BENCH_TASKS").ok().and_then(|n| n.parse().ok()).unwrap_or(300);
        let dir = tempfile::tempdir().expect("a directory");
        let mongo = Mongo::start(dir.path()).await;
        let on_mongo = |database: &str, required| {
            let address = MongoAddress::Uri(Secret::new(&mongo.uri(database)));
            let mongodb = MongoSettings { address, database: database.to_owned(), required };
            StoreSettings { mongodb: Some(mongodb) }
        };
        measure("SQLite", StoreSettings { mongodb: None }, tasks).await;
        measure("MongoDB", on_mongo("alone", true), tasks).await;
        measure("MongoDB, followed by the embedded store", on_mongo("followed", false), tasks).await;
    });
}

async fn measure(name: &str, store: StoreSettings, tasks: usize) {
    let engine = Arc::new(Stamped::default());
    let bench = Embedded::start_on(store, WORKERS, &engine, AMPLE).await;
    let before = round_trips(&bench).await;
    let begin = Instant::now();
    for first in (0..tasks).step_by(BATCH) {
        let body: String = (first..first + BATCH)
            .map(|n| format!("{{\"image\":\"bench\",\"command\":[\"job\",\"{n}\"],\"cpu_cores\":\"10m\",\"mem\":\"6MiB\",\"storage\":0}}\n"))
            .collect();
        assert_eq!(bench.submit_ndjson(body).await, BATCH);
    }
    bench.wait_completed(tasks as u64).await;
    let recorded = begin.elapsed().as_secs_f64();
    let trips = round_trips(&bench).await - before;
    print!(
        "{name}: {tasks} tasks, {BATCH} a batch: {:.0} tasks/s from submit to recorded completion",
        tasks as f64 / recorded
    );
    if trips > 0.0 {
        print!("; {trips} round trips, {:.3} a task", trips / tasks as f64);
    }
    println!();
    bench.stop().await;
}

async fn round_trips(bench: &Embedded) -> f64 {
    let page = bench.api().get_bytes("/metrics").await.expect("metrics");
    let page = String::from_utf8_lossy(&page);
    let line = page.lines().find_map(|line| line.strip_prefix("cloudai_store_round_trips_total "));
    line.map_or(0.0, |count| count.parse().expect("a number"))
}
