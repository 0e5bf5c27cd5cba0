//! Uploads of outputs that break off in the middle go on there.
#![allow(missing_docs, clippy::panic, clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

use cloudai_tests::cluster::{Cluster, shell_task};
use cloudai_tests::wait::{PATIENCE, eventually};
use reqwest::Method;
use shared::resources::Quantity;
use shared::task::Verdict;

/// Bytes of a piece of the master's files.
const PIECE: u64 = 8 << 20;
const LARGE: usize = 192 << 20;
const SMALL: usize = 1500;

/// Whole pieces that stand somewhere below.
fn pieces(below: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(below) else { return 0 };
    let of = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(found) if found.is_dir() => pieces(&entry.path()),
        Ok(found) => usize::from(found.len() == PIECE && !entry.file_name().to_string_lossy().contains('#')),
        Err(_) => 0,
    };
    entries.flatten().map(of).sum()
}

/// What `yes 0123456789abcdef` writes.
fn large() -> Vec<u8> {
    b"0123456789abcdef\n".iter().copied().cycle().take(LARGE).collect()
}

#[tokio::test]
async fn an_upload_goes_on_after_master_and_worker_have_died_in_it() {
    let mut cluster = Cluster::start(1).await;
    let api = cluster.api();
    let line = format!(
        "cd /output; mkdir d; i=0; while [ $i -lt {SMALL} ]; do echo $i > d/$i; i=$((i+1)); done; \
         yes 0123456789abcdef | head -c {LARGE} > large; echo end > z"
    );
    let mut task = shell_task(&line);
    (task.cpu_cores, task.storage) = (Some(Quantity::Text("1".to_owned())), Some(Quantity::Text("1GiB".to_owned())));
    let id = api.submit(&task).await.expect("accepted").task_id;
    let files = cluster.dir().join("master/data/files");
    let arrived = async |count: usize| {
        let what = format!("{count} pieces have arrived");
        eventually(PATIENCE * 3, &what, || async { (pieces(&files) >= count).then_some(()) }).await;
    };
    arrived(2).await;
    cluster.master.kill9();
    let before = pieces(&files);
    assert!((2..20).contains(&before), "{before} pieces: it was killed in the middle");
    // Nobody sees a part of it.
    cluster.master.restart().await;
    let api = cluster.api();
    assert_eq!(api.files(&id).await.expect("a list").files.len(), 0, "not yet");
    arrived(before + 3).await;
    cluster.workers[0].process.kill9();
    let then = pieces(&files);
    assert!((before + 3..24).contains(&then), "{then} pieces: it was killed in the middle");
    cluster.workers[0].process.start_again();
    let task = api.ended(PATIENCE * 2, &id).await;
    let found = task.usage.as_ref().expect("what it used").output_files;
    assert_eq!((task.verdict, found), (Some(Verdict::Success), SMALL as u64 + 2), "{:?}", task.output_notes);
    assert_eq!(task.attempts.len(), 1, "it ran once");
    let log = cluster.master.process.log();
    let goes_on: Vec<_> = log.lines().filter(|line| line.contains("goes on after")).collect();
    assert!(goes_on.len() >= 2, "{log}");
    assert!(goes_on.iter().any(|line| !line.contains("and 0 bytes")), "in the middle of the large file: {goes_on:?}");
    assert!(api.get_bytes(&format!("/api/files/{id}/large")).await.expect("it") == large());
    for number in [0, 7, 999, 1000, SMALL - 1] {
        let bytes = api.get_bytes(&format!("/api/files/{id}/d/{number}")).await.expect("a small one");
        assert_eq!(bytes, format!("{number}\n").as_bytes());
    }
    assert_eq!(api.files(&id).await.expect("a list").files.len(), SMALL + 2);
    // All of it goes.
    api.send(api.request(Method::DELETE, &format!("/api/files/{id}"))).await.expect("deleted");
    eventually(PATIENCE, "its bytes are gone", || async { (pieces(&files) == 0).then_some(()) }).await;
}

#[tokio::test]
async fn bytes_of_small_files_go_with_the_last_of_them() {
    let cluster = Cluster::start(1).await;
    let api = cluster.api();
    let id =
        api.submit(&shell_task("cd /output; for i in 1 2 3; do echo $i > $i; done")).await.expect("accepted").task_id;
    assert_eq!(api.ended(PATIENCE, &id).await.verdict, Some(Verdict::Success));
    let objects = || {
        let run = cluster.dir().join(format!("master/data/files/{id}/0-1"));
        std::fs::read_dir(run).map_or(0, |entries| entries.count())
    };
    assert_eq!(objects(), 1, "they are kept together");
    for (name, left) in [("1", 2), ("2", 1), ("3", 0)] {
        api.send(api.request(Method::DELETE, &format!("/api/files/{id}/{name}"))).await.expect("deleted");
        assert_eq!(api.files(&id).await.expect("a list").files.len(), left);
        for other in ["1", "2", "3"].into_iter().filter(|other| *other > name) {
            let bytes = api.get_bytes(&format!("/api/files/{id}/{other}")).await.expect("it is there");
            assert_eq!(bytes, format!("{other}\n").as_bytes());
        }
    }
    eventually(PATIENCE, "their bytes are gone", || async { (objects() == 0).then_some(()) }).await;
}
