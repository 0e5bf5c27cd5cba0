//! Very many small output files.
//!
//! `./tests/torture.sh long files` makes more of them, as many as `CLOUDAI_TEST_FILES` says.
#![allow(missing_docs, clippy::panic, clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Instant;

use cloudai_tests::bench::{peak_mb, reset_peak, resident_mb};
use cloudai_tests::cluster::{Cluster, shell_task};
use cloudai_tests::wait::PATIENCE;
use shared::resources::Quantity;
use shared::task::Verdict;

#[tokio::test]
async fn many_files_of_one_run_are_all_there() {
    let count = std::env::var("CLOUDAI_TEST_FILES").map_or(500, |count| count.parse::<u64>().expect("a number"));
    let cluster = Cluster::start(1).await;
    let api = cluster.api().for_long().await;
    let first = api.submit(&shell_task("echo 1 > /output/a")).await.expect("accepted").task_id;
    assert_eq!(api.ended(PATIENCE, &first).await.verdict, Some(Verdict::Success));
    let pids = [cluster.master.process.pid(), cluster.workers[0].process.pid()];
    let before = pids.map(resident_mb);
    pids.into_iter().for_each(reset_peak);
    let begin = Instant::now();
    let line = format!(
        "cd /output; i=0; while [ $i -lt {count} ]; do [ $((i % 1000)) -ne 0 ] || {{ mkdir /output/d$i; cd /output/d$i; }}; \
         echo $i > $i; i=$((i+1)); done"
    );
    let mut task = shell_task(&line);
    task.cpu_cores = Some(Quantity::Text("1".to_owned()));
    // The kernel counts the names that it remembers.
    task.mem = Some(Quantity::Text("512MiB".to_owned()));
    // Each takes a block of the disk.
    task.storage = Some(Quantity::Text(format!("{}MiB", 64 + count / 100)));
    let id = api.submit(&task).await.expect("accepted").task_id;
    let task = api.ended(PATIENCE * 30, &id).await;
    let took = begin.elapsed();
    let rises: Vec<_> = pids.iter().zip(before).map(|(pid, before)| peak_mb(*pid) - before).collect();
    let found = task.usage.as_ref().expect("what it used").output_files;
    println!(
        "{found} of {count} files in {took:.0?}: memory rose by {:.0} MB in the master, {:.0} MB in the worker",
        rises[0], rises[1]
    );
    assert_eq!((task.verdict, found), (Some(Verdict::Success), count), "{:?}", task.output_notes);
    // Of the master's most is what SQLite remembers of its file: 64 MiB who writes, and 16 MiB each of the four that read.
    for (rise, most) in rises.iter().zip([160.0, 48.0]) {
        assert!(*rise < most, "{rises:?}");
    }
    let last = format!("d{}/{}", (count - 1) / 1000 * 1000, count - 1);
    let bytes = api.get_bytes(&format!("/api/files/{id}/{last}")).await.expect("the last");
    assert_eq!(bytes, format!("{}\n", count - 1).as_bytes());
}
