//! What a task writes while the master is away is brought to it later, also when its container is removed by hand meanwhile.
#![allow(missing_docs, clippy::panic, clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};

use cloudai_tests::cluster::{Cluster, shell_task};
use cloudai_tests::docker::remove;
use cloudai_tests::wait::{PATIENCE, eventually};
use shared::task::Verdict;

/// About 20 MB, far more than waits in memory; few and long, because the engine hands them out one by one.
const LINES: u64 = 20_000;

/// The one log that waits at a worker.
fn spool(data_dir: &Path) -> Option<PathBuf> {
    let mut runs = std::fs::read_dir(data_dir.join("runs")).ok()?;
    runs.find_map(|run| Some(run.ok()?.path().join("log-spool")).filter(|path| path.exists()))
}

/// Up to where it is on the disk, in bytes of stdout, if it is at least of that length.
fn kept_until(data_dir: &Path, length: u64) -> Option<u64> {
    let path = spool(data_dir)?;
    // Most looks are at one that is too short: they shall take no time from who writes it.
    if std::fs::metadata(&path).ok()?.len() < length {
        return None;
    }
    let file = std::fs::read(path).ok()?;
    let (mut frames, mut end) = (file.get(28..)?, None);
    while let Some((length, rest)) = frames.split_first_chunk::<4>() {
        let length = u32::from_le_bytes(*length) as usize;
        let Some(body) = rest.get(4..4 + length) else { break };
        let offset = u64::from_le_bytes(body[1..9].try_into().expect("a place"));
        end = Some(offset + body[9..].len() as u64);
        frames = &rest[4 + length..];
    }
    end
}

async fn removed_by_hand(with_worker: bool) {
    let mut cluster = Cluster::start(1).await;
    let api = cluster.api();
    let lines = format!(r#"i=0; while [ $i -lt {LINES} ]; do i=$((i+1)); printf "%0999d\n" $i; done"#);
    let line = format!("trap '{lines}; exec sleep 600' USR1; echo ready; while :; do sleep 0.1; done");
    let id = api.submit(&shell_task(&line)).await.expect("accepted").task_id;
    api.said(PATIENCE, &id, "ready").await;
    let expected: String =
        std::iter::once("ready\n".to_owned()).chain((1..=LINES).map(|line| format!("{line:0>999}\n"))).collect();
    let length = expected.len() as u64;

    cluster.master.kill9();
    let containers = cluster.containers.as_ref().expect("a worker");
    containers.signal("SIGUSR1").await;
    let data_dir = cluster.workers[0].data_dir().to_owned();
    eventually(PATIENCE, "all that it has written is at its worker", || async {
        // `ready` is at the master.
        (kept_until(&data_dir, length - 6)? == length).then_some(())
    })
    .await;
    let container = containers.list().await.pop().and_then(|container| container.id).expect("its container");
    if with_worker {
        cluster.workers[0].kill9();
    }
    remove(&container).await;
    cluster.master.restart().await;
    if with_worker {
        cluster.workers[0].restart();
    }

    let api = cluster.api();
    let verdict = eventually(PATIENCE, "the first run has ended", || async {
        api.task(&id).await.ok()?.attempts.first()?.verdict.clone()
    })
    .await;
    assert!(matches!(verdict, Verdict::WorkerLost { .. }), "{verdict:?}");
    let log = api.get_bytes(&format!("/api/tasks/{id}/logs?stream=stdout&attempt=1")).await.expect("a log");
    assert!(log == expected.as_bytes(), "{} of {} bytes", log.len(), expected.len());
    eventually(PATIENCE, "nothing of it waits any more", || async { spool(&data_dir).is_none().then_some(()) }).await;
}

#[tokio::test]
async fn a_container_removed_by_hand_while_the_master_is_away_takes_no_log_with_it() {
    removed_by_hand(false).await;
}

#[tokio::test]
async fn and_none_when_its_worker_is_killed_too() {
    removed_by_hand(true).await;
}
