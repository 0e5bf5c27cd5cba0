//! What a worker keeps on its disk, and what it does when it cannot.

use std::fs::{self, File};

use cloudaid_core::agent::Lease;
use shared::time::BootTime;

use super::*;
use crate::worker::lease::LeaseFile;
use crate::worker::volume::testkit::{fill, small_disk};

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_lets_new_tasks_wait_and_nothing_else() {
    let scratch = tempfile::tempdir().expect("a directory");
    let Some((volume, disk)) = small_disk(scratch.path()) else { return };
    let runtime = Arc::new(FakeRuntime::with(|_| Behaviour::endless()));
    let mut master = Master::start().await;
    let worker = Running::start(&master, &disk.join("data"), &runtime);
    let (mut talk, _) = master.welcome(|_| Decision::Keep).await;
    talk.say(ToWorker::Assign(vec![assignment(0)]));
    assert_eq!(talk.started().await, key(0));

    let filler = fill(&disk);
    // Longer than what is reserved ahead.
    let env = (0..120).map(|number| (format!("V{number}"), "x".repeat(30_000))).collect();
    talk.say(ToWorker::Assign(vec![Assignment { env, ..assignment(1) }, assignment(2)]));
    let is_told = |beat: &shared::link::Heartbeat| {
        beat.problem.as_ref().is_some_and(|problem| problem.starts_with("its disk is full, and "))
    };
    while !matches!(talk.next().await, FromWorker::Heartbeat(beat) if is_told(&beat)) {}
    // One that waits is to end too, which nobody else waits for.
    let cancel = |index| {
        ToWorker::Cancel(vec![CancelOrder { key: key(index), grace: Duration::from_secs(10), time_limit: None }])
    };
    talk.say(cancel(1));
    // What is here already can still be stopped, and its end is remembered.
    talk.say(cancel(0));
    let Report { sequence, key: ended, change: AttemptChange::Finished(outcome) } = talk.report().await else {
        panic!("no end")
    };
    assert_eq!((ended, outcome.verdict), (key(0), Verdict::Cancelled));
    assert_eq!(runtime.starts(), [key(0)], "nothing begins that may be forgotten");
    talk.say(ToWorker::Ack { through: sequence });
    wait_for("removal", || runtime.is_empty()).await;

    fs::remove_file(filler).expect("removed");
    rustix::fs::syncfs(File::open(&disk).expect("the disk")).expect("the room is free");
    assert_eq!(talk.finished().await.1.verdict, Verdict::Cancelled);
    assert_eq!(talk.started().await, key(2));
    worker.stop().await;
    volume.close().expect("closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_is_no_new_lease() {
    let scratch = tempfile::tempdir().expect("a directory");
    let runtime = Arc::new(FakeRuntime::with(|_| Behaviour::endless()));
    let mut master = Master::start().await;
    let worker = Running::start(&master, scratch.path(), &runtime);
    let (mut talk, _) = master.welcome(|_| Decision::Keep).await;
    talk.say(ToWorker::Assign(vec![Assignment { at_most_once: true, ..assignment(0) }, assignment(1)]));
    let both = BTreeSet::from([talk.started().await, talk.started().await]);
    worker.stop().await;

    // It is not over yet.
    let worker = Running::start(&master, scratch.path(), &runtime);
    let (mut talk, inventory) = master.welcome(|_| Decision::Keep).await;
    assert_eq!(inventory, [0, 1].map(|index| Held { key: key(index), phase: Phase::Running }));
    assert_eq!(BTreeSet::from([talk.started().await, talk.started().await]), both);
    worker.stop().await;

    // The master was heard long ago, by somebody who started again and again since.
    let file = LeaseFile::at(scratch.path().join("lease"));
    let kept = file.load().expect("it is kept");
    assert_eq!(kept.length, Duration::from_secs(30), "as the master has said");
    file.save(Lease { since: BootTime(0), ..kept });
    let worker = Running::start(&master, scratch.path(), &runtime);
    let (mut talk, _) = master.welcome(|_| Decision::Keep).await;
    let (ended, verdict) = loop {
        if let Report { key, change: AttemptChange::Finished(outcome), .. } = talk.report().await {
            break (key, outcome.verdict);
        }
    };
    assert_eq!(ended, key(0));
    assert!(matches!(verdict, Verdict::WorkerLost { .. }), "{verdict}");
    worker.stop().await;
}
