//! What a worker keeps on its disk, and what it does when it cannot.

use std::fs::{self, File};

use cloudaid_core::agent::Lease;
use shared::time::BootTime;

use super::*;
use crate::config::OnStop;
use crate::worker::bad_disk::BadDisk;
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

fn cancel(index: u32) -> ToWorker {
    ToWorker::Cancel(vec![CancelOrder { key: key(index), grace: Duration::from_secs(10), time_limit: None }])
}

/// Waits until the worker says so, with that beginning.
async fn tells(talk: &mut Talk, begin: &str) -> String {
    loop {
        match talk.next().await {
            FromWorker::Heartbeat(beat) => match beat.problem {
                Some(problem) if problem.starts_with(begin) => return problem,
                Some(_) | None => {}
            },
            FromWorker::Reports(reports) => panic!("what is not durable is said: {reports:?}"),
            FromWorker::Inventory(_) | FromWorker::Hello(_) => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_has_become_read_only_ends_no_worker_and_the_next_one_finds_everything() {
    let scratch = tempfile::tempdir().expect("a directory");
    let Some(disk) = BadDisk::thin(scratch.path()).expect("a disk") else { return };
    let data_dir = disk.path().join("data");
    let runtime = Arc::new(FakeRuntime::with(|_| Behaviour::endless()));
    let mut master = Master::start().await;
    let worker = Running::start(&master, &data_dir, &runtime);
    let (mut talk, _) = master.welcome(|_| Decision::Keep).await;
    talk.say(ToWorker::Assign(vec![assignment(0), assignment(1)]));
    let both = BTreeSet::from([talk.started().await, talk.started().await]);
    assert_eq!(both, BTreeSet::from([key(0), key(1)]));

    disk.fail().expect("it has failed");
    // Before anything has to be written.
    let problem = tells(&mut talk, "nothing can be written in ").await;
    assert!(problem.contains("Read-only file system (os error 30); what runs goes on"), "{problem}");
    talk.say(ToWorker::Assign(vec![assignment(2)]));
    talk.say(cancel(0));
    let problem = tells(&mut talk, "its disk fails, and ").await;
    assert!(problem.contains("journal cannot be written: Read-only file system (os error 30)"), "{problem}");
    assert_eq!(runtime.starts().len(), 2, "nothing begins that may be forgotten");
    assert!(!worker.task.is_finished());
    worker.stop().await;
    assert_eq!(runtime.len(), 2, "the containers go on");

    disk.mount_again().expect("it is mounted");
    let worker = Running::start(&master, &data_dir, &runtime);
    let (mut talk, inventory) = master.welcome(|_| Decision::Keep).await;
    assert_eq!(inventory, [0, 1].map(|index| Held { key: key(index), phase: Phase::Running }));
    talk.say(cancel(0));
    let ended = loop {
        if let Report { key, change: AttemptChange::Finished(outcome), .. } = talk.report().await {
            break (key, outcome.verdict);
        }
    };
    assert_eq!(ended, (key(0), Verdict::Cancelled));
    assert_eq!(runtime.starts().len(), 2, "nothing was started again");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_wants_nothing_kept_is_stopped_on_a_disk_that_fails_too() {
    for on_stop in [OnStop::HandBack, OnStop::Finish] {
        let scratch = tempfile::tempdir().expect("a directory");
        let Some(disk) = BadDisk::thin(scratch.path()).expect("a disk") else { return };
        let data_dir = disk.path().join("data");
        let runtime = Arc::new(FakeRuntime::with(|_| Behaviour::endless()));
        let mut master = Master::start().await;
        let worker = Running::start_with_end(&master, &data_dir, &runtime, on_stop);
        let (mut talk, _) = master.welcome(|_| Decision::Keep).await;
        talk.say(ToWorker::Assign(vec![assignment(0), assignment(1)]));
        let both = BTreeSet::from([talk.started().await, talk.started().await]);
        assert_eq!(both, BTreeSet::from([key(0), key(1)]));
        disk.fail().expect("it has failed");
        talk.say(cancel(0));
        tells(&mut talk, "its disk fails, and ").await;
        worker.stop().await;
        assert_eq!(runtime.len(), 2, "{on_stop:?}: the containers go on");

        disk.mount_again().expect("it is mounted");
        let worker = Running::start(&master, &data_dir, &runtime);
        let (_talk, inventory) = master.welcome(|_| Decision::Keep).await;
        assert_eq!(inventory, [0, 1].map(|index| Held { key: key(index), phase: Phase::Running }));
        worker.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_wants_nothing_kept_is_stopped_on_a_full_disk_too() {
    let scratch = tempfile::tempdir().expect("a directory");
    let Some((volume, disk)) = small_disk(scratch.path()) else { return };
    let runtime = Arc::new(FakeRuntime::with(|_| Behaviour::endless()));
    let mut master = Master::start().await;
    let worker = Running::start_with_end(&master, &disk.join("data"), &runtime, OnStop::Finish);
    let (mut talk, _) = master.welcome(|_| Decision::Keep).await;
    fill(&disk);
    // Longer than what is reserved ahead.
    let env = (0..120).map(|number| (format!("V{number}"), "x".repeat(30_000))).collect();
    talk.say(ToWorker::Assign(vec![Assignment { env, ..assignment(0) }]));
    tells(&mut talk, "its disk is full, and ").await;
    worker.stop().await;
    assert_eq!(runtime.starts(), [], "nothing begins that may be forgotten");
    volume.close().expect("closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_could_not_be_synced_is_said_when_it_is_durable_and_the_worker_goes_on() {
    let scratch = tempfile::tempdir().expect("a directory");
    let Some(disk) = BadDisk::thin(scratch.path()).expect("a disk") else { return };
    let runtime = Arc::new(FakeRuntime::with(|_| Behaviour::endless()));
    let mut master = Master::start().await;
    let worker = Running::start(&master, &disk.path().join("data"), &runtime);
    let (mut talk, _) = master.welcome(|_| Decision::Keep).await;
    talk.say(ToWorker::Assign(vec![assignment(0)]));
    assert_eq!(talk.started().await, key(0));

    disk.starve().expect("it starves");
    // More than what the last block takes.
    let env = BTreeMap::from([("V".to_owned(), "x".repeat(30_000))]);
    talk.say(ToWorker::Assign(vec![Assignment { env, ..assignment(1) }]));
    // That it fails, or that it is full: kernels differ.
    tells(&mut talk, "its disk ").await;
    assert_eq!(runtime.starts(), [key(0)], "nothing begins that may be forgotten");
    disk.feed().expect("it is fed");
    assert_eq!(talk.started().await, key(1));
    let waits =
        |beat: &shared::link::Heartbeat| beat.problem.as_ref().is_some_and(|problem| problem.starts_with("its disk "));
    while !matches!(talk.next().await, FromWorker::Heartbeat(beat) if !waits(&beat)) {}
    worker.stop().await;
    disk.mount_again().expect("it is mounted");
    let worker = Running::start(&master, &disk.path().join("data"), &runtime);
    let (_talk, inventory) = master.welcome(|_| Decision::Keep).await;
    assert_eq!(inventory, [0, 1].map(|index| Held { key: key(index), phase: Phase::Running }));
    assert_eq!(runtime.starts(), [key(0), key(1)]);
    worker.stop().await;
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
