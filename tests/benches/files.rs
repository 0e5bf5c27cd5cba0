//! A large file to the master and back with `cloudctl`, beside what `cp` and `sha256sum` take for it on the same disk. Prints
//! times and rates, the rise of the master's memory, and what a download that was cut off and resumed has fetched again.
//!
//! ```text
//! cargo build --release --workspace --bins && cargo bench --bench files
//! CLOUDAI_BENCH_MIB=512 CLOUDAI_BENCH_ROUNDS=1 cargo bench --bench files
//! ```
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use cloudai_tests::bench::{peak_mb, reset_peak, resident_mb};
use cloudai_tests::ctl::Ctl;
use cloudai_tests::master::Master;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(default)
}

/// Bytes that no disk or network makes smaller.
fn write_random(path: &Path, size: u64) {
    let mut bytes = blake3::Hasher::new().finalize_xof();
    let mut file = BufWriter::new(File::create(path).expect("a file"));
    let mut piece = vec![0; 1 << 20];
    for _ in 0..size >> 20 {
        bytes.fill(&mut piece);
        file.write_all(&piece).expect("written");
    }
    file.into_inner().expect("written").sync_all().expect("synced");
}

fn timed(program: &str, args: &[&Path]) -> Duration {
    let start = Instant::now();
    let output = Command::new(program).args(args).output().expect("it runs");
    assert!(output.status.success(), "{program} failed");
    start.elapsed()
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let (size, rounds) = (setting("CLOUDAI_BENCH_MIB", 2048) << 20, setting("CLOUDAI_BENCH_ROUNDS", 3));
        let directory = tempfile::tempdir().expect("a directory");
        let master = Master::start(directory.path(), &Default::default()).await;
        let ctl = Ctl::new(directory.path().join("ctl"), master.url(), master.token().to_owned());
        let source = ctl.dir().join("large");
        write_random(&source, size);
        println!("{} MiB, {rounds} rounds", size >> 20);
        for _ in 0..rounds {
            round(&master, &ctl, &source, size).await;
        }
    });
}

async fn round(master: &Master, ctl: &Ctl, source: &Path, size: u64) {
    let rate = |time: Duration| size as f64 / 1e6 / time.as_secs_f64();
    let pid = master.process.pid();
    let copy = ctl.dir().join("copy");
    let cp = timed("cp", &[source, &copy]);
    let sum = timed("sha256sum", &[&copy]);
    fs::remove_file(&copy).expect("removed");
    let both = cp + sum;
    println!("cp {:.2} s + sha256sum {:.2} s: {:.0} MB/s", cp.as_secs_f64(), sum.as_secs_f64(), rate(both));

    let before = resident_mb(pid);
    reset_peak(pid);
    let start = Instant::now();
    let id = ctl.run(&["files", "upload", "large", "-q"]).await.ok();
    let id = id.trim();
    report("upload", start.elapsed(), both, rate(start.elapsed()), peak_mb(pid) - before);

    let before = resident_mb(pid);
    reset_peak(pid);
    let start = Instant::now();
    ctl.run(&["files", "download", id, "back"]).await.ok();
    report("download", start.elapsed(), both, rate(start.elapsed()), peak_mb(pid) - before);
    assert!(same(source, &ctl.dir().join("back/large")), "it came back as it was");
    fs::remove_dir_all(ctl.dir().join("back")).expect("removed");

    // Killed in the middle; the next one brings only the rest.
    let mut cut = ctl.command("cloudctl").args(["files", "download", id, "cut", "--resume"]).spawn().expect("it runs");
    let arrived = loop {
        let arrived = size_of(&ctl.dir().join("cut"));
        if arrived > size / 2 {
            break arrived;
        }
        assert!(cut.try_wait().expect("known").is_none(), "it was too quick to be cut off");
        tokio::time::sleep(Duration::from_millis(2)).await;
    };
    cut.kill().await.expect("killed");
    let start = Instant::now();
    ctl.run(&["files", "download", id, "cut", "--resume"]).await.ok();
    let left = (size - arrived) as f64 / 1e6;
    println!("  download cut off with {left:.0} MB to come: resumed in {:.2} s", start.elapsed().as_secs_f64());
    assert!(same(source, &ctl.dir().join("cut/large")), "it came as it was");
    fs::remove_dir_all(ctl.dir().join("cut")).expect("removed");
    ctl.run(&["files", "delete", id, "--yes"]).await.ok();
}

fn report(what: &str, time: Duration, both: Duration, rate: f64, rise: f64) {
    let share = both.as_secs_f64() / time.as_secs_f64();
    println!(
        "  {what} {:.2} s: {rate:.0} MB/s, {share:.2} of cp and sha256sum; the master's memory rose by {rise:.1} MB",
        time.as_secs_f64()
    );
}

fn same(one: &Path, other: &Path) -> bool {
    Command::new("cmp").args([one, other]).status().is_ok_and(|status| status.success())
}

/// Of all files in a directory.
fn size_of(directory: &Path) -> u64 {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.metadata().ok()).map(|metadata| metadata.len()).sum()
}
