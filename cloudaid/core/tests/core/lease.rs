use std::time::Duration;

use cloudaid_core::input::Input;
use cloudaid_core::testkit::{World, assigned, brief};
use shared::link::Heartbeat;
use shared::task::Verdict;

const SECOND: Duration = Duration::from_secs(1);

/// Past the grace after the start, with a worker that was heard of just now.
fn world() -> (World, cloudaid_core::testkit::Link) {
    let mut world = World::default();
    world.pass(60 * SECOND);
    let (a, _) = world.connect("a", 4, vec![]);
    (world, a)
}

#[test]
fn heartbeats_keep_a_worker_for_ever() {
    let (mut world, a) = world();
    for _ in 0..100 {
        assert_eq!(brief(&world.pass(5 * SECOND)), Vec::<String>::new());
        world.heard(&a);
    }
}

#[test]
fn a_suspect_gets_no_new_work_until_it_is_heard_of() {
    let (mut world, a) = world();
    world.pass(15 * SECOND);
    let (_, effects) = world.submit(1, 1);
    assert_eq!(brief(&effects), ["save task 2 x1", "reply submitted", "save progress 2 queued"]);
    let effects = world.heard(&a);
    assert_eq!(brief(&effects), ["save attempt 2.0#1 on a Pending", "s2 assign 2.0#1", "save progress 2 pending"]);
}

#[test]
fn silence_ends_the_lease_then_the_runs_are_given_to_others() {
    let (mut world, a) = world();
    let (_, effects) = world.submit(1, 1);
    let key = assigned(&effects)[0].1.key;
    world.started(&a, key);
    assert_eq!(brief(&world.pass(29 * SECOND)), Vec::<String>::new());
    assert_eq!(brief(&world.pass(SECOND)), ["close s2: LeaseExpired(WorkerId(\"a\"))"]);
    let (b, _) = world.connect("b", 4, vec![]);
    assert_eq!(brief(&world.pass(14 * SECOND)), Vec::<String>::new());
    world.heard(&b);
    assert_eq!(
        brief(&world.pass(SECOND)),
        [
            "save attempt 2.0#1 on a Ended worker lost: a was not heard of for longer than its lease",
            "save attempt 2.0#2 on b Pending",
            "s3 assign 2.0#2",
            "save progress 2 pending",
        ]
    );
    // The first worker comes back: what it holds is stopped, what it says is refused.
    let held = shared::link::Held { key, phase: shared::link::Phase::Running };
    let (a, effects) = world.connect("a", 4, vec![held]);
    assert_eq!(brief(&effects), ["save worker a", "s4 welcome Stop 2.0#1"]);
    let effects = world.finished(&a, key, Verdict::Success);
    assert_eq!(brief(&effects), [&format!("save audit report {key}: conflict"), "s4 ack 1"]);
    let second = shared::id::AttemptKey { attempt: 2, fence: shared::id::Fence(key.fence.0 + 1), ..key };
    let effects = world.finished(&b, second, Verdict::Success);
    assert!(brief(&effects).contains(&"save result 2.0 success".to_owned()));
}

#[test]
fn the_infrastructure_may_end_three_runs_and_no_more() {
    let (mut world, mut holder) = world();
    world.submit(1, 1);
    for (attempt, other) in (1..).zip(["b", "a", "b"]) {
        world.heard(&holder);
        world.disconnect(&holder);
        world.pass(44 * SECOND);
        // Who could take it: else it were kept for the one that is away.
        let (other, _) = world.connect(other, 4, vec![]);
        let lines = brief(&world.pass(SECOND));
        let over = lines.iter().any(|line| line.ends_with("over"));
        assert_eq!(over, attempt == 3, "{lines:?}");
        holder = other;
    }
}

#[test]
fn nothing_is_lost_in_the_first_minute_of_a_master() {
    let (mut world, a) = world();
    let (_, effects) = world.submit(1, 1);
    let key = assigned(&effects)[0].1.key;
    world.started(&a, key);
    world.restart();
    assert_eq!(brief(&world.pass(59 * SECOND)), Vec::<String>::new());
    let held = shared::link::Held { key, phase: shared::link::Phase::Running };
    let (a, effects) = world.connect("a", 4, vec![held]);
    assert_eq!(brief(&effects), ["save worker a", "s3 welcome Keep 2.0#1"]);
    world.heard(&a);
    assert_eq!(brief(&world.pass(5 * SECOND)), Vec::<String>::new());
}

#[test]
fn a_heartbeat_counts_from_its_arrival_and_not_from_its_turn() {
    let (mut world, a) = world();
    let arrived = world.now.boot + 10 * SECOND;
    // The master was busy for 20 s; the heartbeat waited, but it had arrived in time.
    world.now.boot = world.now.boot + 20 * SECOND;
    world.step(Input::WorkerHeard { worker: a.worker.clone(), session: a.session, at: arrived, heartbeat: None });
    world.step(Input::TimerFired);
    let (_, effects) = world.submit(1, 1);
    assert!(brief(&effects).contains(&"s2 assign 2.0#1".to_owned()), "{:?}", brief(&effects));
}

#[test]
fn heartbeats_of_an_older_connection_change_nothing() {
    let (mut world, a) = world();
    let (_newer, effects) = world.connect("a", 4, vec![]);
    assert_eq!(brief(&effects)[0], "close s2: Replaced(WorkerId(\"a\"))");
    world.pass(14 * SECOND);
    world.heard(&a);
    world.disconnect(&a);
    world.pass(SECOND);
    let (_, effects) = world.submit(1, 1);
    assert!(!brief(&effects).iter().any(|line| line.contains("assign")), "it is suspect, whatever the old one says");
}

#[test]
fn a_worker_that_is_not_well_keeps_what_it_has_and_gets_nothing_new() {
    let (mut world, a) = world();
    let beat = |world: &mut World, problem: Option<&str>| {
        let heartbeat = Some(Heartbeat { problem: problem.map(str::to_owned), ..Heartbeat::default() });
        let (worker, session, at) = (a.worker.clone(), a.session, world.now.boot);
        world.step(Input::WorkerHeard { worker, session, at, heartbeat })
    };
    let (_, effects) = world.submit(1, 1);
    let first = assigned(&effects)[0].1.key;
    world.started(&a, first);
    assert_eq!(brief(&beat(&mut world, Some("no answer within 10 s"))), Vec::<String>::new());
    let (second, effects) = world.submit(1, 1);
    assert_eq!(brief(&effects), ["save task 3 x1", "reply submitted", "save progress 3 queued"]);
    let why = world.cluster.why(second.into()).expect("it waits");
    assert_eq!(why.reasons[0].code, "worker_unhealthy");
    assert_eq!(world.cluster.worker_views()[0].problem.as_deref(), Some("no answer within 10 s"));
    // Heartbeats count as before: it is not lost.
    for _ in 0..20 {
        assert_eq!(brief(&world.pass(5 * SECOND)), Vec::<String>::new());
        beat(&mut world, Some("no answer within 10 s"));
    }
    let effects = beat(&mut world, None);
    assert_eq!(brief(&effects), ["save attempt 3.0#1 on a Pending", "s2 assign 3.0#1", "save progress 3 pending"]);
}
