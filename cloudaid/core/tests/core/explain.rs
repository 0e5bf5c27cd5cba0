use std::time::Duration;

use cloudaid_core::input::Input;
use cloudaid_core::testkit::{World, assigned};
use shared::link::Heartbeat;
use shared::pull::{PullFailure, PullProgress, Pulling};

#[test]
fn a_pull_is_shown_as_far_as_it_is() {
    let mut world = World::default();
    world.pass(Duration::from_secs(60));
    let (link, _) = world.connect("a", 4, vec![]);
    let (task, effects) = world.submit(1, 1);
    let key = assigned(&effects)[0].1.key;
    let mut says = |done_bytes, total_bytes, failure| {
        let progress = PullProgress { done_bytes, total_bytes, failure };
        let other = Pulling { image: "other".to_owned(), progress: PullProgress::default() };
        let pulling = vec![other, Pulling { image: "busybox".to_owned(), progress }];
        let (worker, session, at) = (link.worker.clone(), link.session, world.now.boot);
        let heartbeat = Some(Heartbeat { pulling, ..Heartbeat::default() });
        world.step(Input::WorkerHeard { worker, session, at, heartbeat });
        (world.cluster.pull_of(key.element()), world.cluster.why(task.into()).expect("it is here"))
    };
    let (_, why) = says(7, 0, None);
    assert!(why.summary.ends_with("its image is being fetched, 7 B so far"), "{why:?}");
    let (pull, why) = says(512, 2048, None);
    assert_eq!((why.reasons[0].code.as_str(), pull.map(|pull| pull.done_bytes)), ("pulling", Some(512)));
    assert!(why.summary.ends_with("512 B of 2 KiB are there"), "{why:?}");
    assert_eq!(why.hint, "it starts by itself as soon as its image is there", "there is no log to look at");
    let failure = Some(PullFailure::new("toomanyrequests", 3));
    let (pull, why) = says(0, 0, failure.clone());
    assert_eq!((why.reasons[0].code.as_str(), pull.and_then(|pull| pull.failure)), ("pulling", failure.clone()));
    let said = "not there yet, and is tried again by itself; 3 tries failed, the last with: toomanyrequests";
    assert!(why.summary.ends_with(said) && why.hint.contains("when its registry gives the image"), "{why:?}");
    let (_, why) = says(512, 2048, failure);
    assert!(why.summary.contains("of 2 KiB are there; 3 tries failed"), "{why:?}");
    let progress = PullProgress { done_bytes: 1, total_bytes: 2, failure: None };
    let image = "index.docker.io/library/busybox:latest".to_owned();
    let pulling = vec![Pulling { image, progress: progress.clone() }];
    let heartbeat = Some(Heartbeat { pulling, ..Heartbeat::default() });
    let (worker, session, at) = (link.worker.clone(), link.session, world.now.boot);
    world.step(Input::WorkerHeard { worker, session, at, heartbeat });
    assert_eq!(world.cluster.pull_of(key.element()), Some(progress), "another task of that image writes it so");
    world.started(&link, key);
    assert_eq!(world.cluster.pull_of(key.element()), None);
}

#[test]
fn each_reason_comes_from_the_filter_that_the_scheduler_uses() {
    let mut world = World::default();
    let (first, _) = world.submit(1, 1);
    let why = world.cluster.why(first.into()).expect("it waits");
    assert_eq!((why.summary.as_str(), why.position), ("no worker has registered yet", Some(1)));

    let (a, effects) = world.connect("a", 2, vec![]);
    let key = assigned(&effects)[0].1.key;
    let why = world.cluster.why(first.into()).expect("it is held");
    assert_eq!(why.reasons[0].code, "pending");
    assert!(!why.hint.contains("monitor"), "{why:?}");

    let (busy, _) = world.submit(2, 1);
    let why = world.cluster.why(busy.into()).expect("it waits");
    assert_eq!(why.reasons[0].code, "insufficient_cpu");
    assert_eq!(why.summary, "1 worker has at most 1 CPU of 2 CPU free");

    let (large, _) = world.submit(3, 1);
    let why = world.cluster.why(large.into()).expect("it waits");
    assert!(why.can_never_run);
    assert_eq!(why.summary, "can never run on the present workers: 1 worker has at most 2 CPU of 3 CPU in all");
    assert_eq!(why.position, Some(2));

    world.started(&a, key);
    let why = world.cluster.why(first.into()).expect("it runs");
    assert_eq!(why.reasons[0].code, "running");
    assert!(why.hint.contains("cloudctl monitor"), "{why:?}");
    world.pass(Duration::from_secs(16));
    let why = world.cluster.why(busy.into()).expect("it waits");
    let codes: Vec<_> = why.reasons.iter().map(|reason| reason.code.as_str()).collect();
    assert_eq!(codes, ["insufficient_cpu", "worker_suspect"]);
    world.disconnect(&a);
    let why = world.cluster.why(large.into()).expect("it waits");
    assert!(!why.can_never_run, "nobody is present who could tell");

    world.ask(|request| Input::Drain { request }).0.expect("accepted");
    let why = world.cluster.why(busy.into()).expect("it waits");
    assert_eq!(why.reasons[0].code, "draining");
}

#[test]
fn the_queue_shows_the_same_reasons_in_the_order_of_submission() {
    let mut world = World::default();
    world.connect("a", 2, vec![]);
    world.submit(2, 1);
    world.submit(2, 3);
    world.submit(8, 1);
    let queue = world.cluster.queue_view(10);
    assert_eq!(queue.waiting, 4);
    let rows: Vec<_> = queue.tasks.iter().map(|row| (row.position, row.waiting, row.reason.as_str())).collect();
    assert_eq!(
        rows,
        [(1, 3, "1 worker has at most 0 CPU of 2 CPU free"), (4, 1, "1 worker has at most 2 CPU of 8 CPU in all"),]
    );
    assert_eq!(world.cluster.queue_view(1).tasks.len(), 1);
}
