//! Forty containers that do nothing, 0.05 CPU each, four at a time: through a worker, submitted at once, until all ends
//! are recorded with their logs; and through `xargs -P4 docker run --rm`. In turns, in one run. Prints figures.
//!
//! `docker run` is measured twice: on the engine's default bridge, and on the network that tasks are on. Only there are
//! containers kept apart, but the engine serves names on every network but its default one, and to set that up takes it
//! a dozen more processes for each container.
//!
//! ```text
//! CLOUDAI_TEST_DOCKER=unix:///var/run/docker.sock CLOUDAI_TEST_IMAGE=busybox cargo bench --bench docker
//! ```
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cloudai_tests::embedded::Embedded;
use cloudaid::config::CapacityOverrides;
use cloudaid::runtime::docker::DockerRuntime;
use shared::resources::GIB;

const CONTAINERS: usize = 40;
const ROUNDS: usize = 5;
/// Between two measurements: the kernel takes down the networks of the last containers in the background.
const SETTLE: Duration = Duration::from_secs(3);
/// Four times 0.05 CPU: the worker's own capacity keeps it at four at a time.
const FOUR_AT_A_TIME: CapacityOverrides = CapacityOverrides {
    cpu_millis: Some(200),
    memory_bytes: Some(64 * GIB),
    storage_bytes: Some(64 * GIB),
    gpu_millis: Some(0),
};

fn main() {
    let (Ok(host), Ok(image)) = (std::env::var("CLOUDAI_TEST_DOCKER"), std::env::var("CLOUDAI_TEST_IMAGE")) else {
        println!("docker: set CLOUDAI_TEST_DOCKER and CLOUDAI_TEST_IMAGE to run this bench (see its first lines)");
        return;
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    for round in 1..=ROUNDS {
        std::thread::sleep(SETTLE);
        let ours = runtime.block_on(through_a_worker(&host, &image)).as_secs_f64();
        std::thread::sleep(SETTLE);
        let plain = docker_run(&host, "bridge", &image).as_secs_f64();
        std::thread::sleep(SETTLE);
        let isolated = docker_run(&host, "cloudai", &image).as_secs_f64();
        println!(
            "round {round}: {CONTAINERS} containers, 4 at a time: cloudaid {ours:.2} s; docker run --rm {plain:.2} s ({:.0} %), \
             on the network of tasks {isolated:.2} s ({:.0} %)",
            100.0 * ours / plain,
            100.0 * ours / isolated,
        );
    }
}

fn docker_run(host: &str, network: &str, image: &str) -> Duration {
    let run = format!("docker -H {host} run --rm --network {network} --cpus 0.05 {image} true");
    let line = format!("seq {CONTAINERS} | xargs -P4 -I{{}} {run}");
    let begin = Instant::now();
    let status = Command::new("sh").args(["-c", &line]).stdout(Stdio::null()).status().expect("sh");
    assert!(status.success(), "{line}");
    begin.elapsed()
}

async fn through_a_worker(host: &str, image: &str) -> Duration {
    let engine = Arc::new(DockerRuntime::connect(Some(host)).expect("an engine"));
    let bench = Embedded::start(1, &engine, FOUR_AT_A_TIME).await;
    let line = format!("{{\"image\":\"{image}\",\"command\":[\"true\"],\"cpu_cores\":0.05,\"mem\":\"64MiB\"}}\n");
    let begin = Instant::now();
    assert_eq!(bench.submit_ndjson(line.repeat(CONTAINERS)).await, CONTAINERS);
    bench.wait_completed(CONTAINERS as u64).await;
    let time = begin.elapsed();
    // What is tidied up afterwards must not slow the next round down.
    while containers(host) > 0 {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    bench.stop().await;
    time
}

/// Containers on the engine, whatever their state.
fn containers(host: &str) -> usize {
    let listed = Command::new("docker").args(["-H", host, "ps", "-aq", "--filter", "label=cloudai.worker"]).output();
    listed.expect("docker").stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).count()
}
