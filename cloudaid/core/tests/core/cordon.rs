//! An operator takes a worker out of use.

use std::sync::Arc;
use std::time::Duration;

use cloudaid_core::effect::Answer;
use cloudaid_core::input::{Input, Submission};
use cloudaid_core::reject::Reject;
use cloudaid_core::testkit::{Link, World, assigned, brief};
use shared::id::TaskId;
use shared::link::{AttemptChange, Held, Outcome, Phase};
use shared::policy::RunPolicy;
use shared::task::{TaskSpec, Verdict};
use shared::worker::Cordon;

const SECOND: Duration = Duration::from_secs(1);

/// With a deadline in so many seconds; none: it may run to its end.
fn cordon(world: &World, draining: bool, deadline: Option<u64>) -> Cordon {
    let deadline = deadline.map(|seconds| world.now.wall + Duration::from_secs(seconds));
    Cordon { since: world.now.wall, by: "ada".parse().expect("a name"), reason: None, draining, deadline }
}

fn set(world: &mut World, worker: &str, cordon: Option<Cordon>) -> Vec<cloudaid_core::effect::Effect> {
    let worker = worker.parse().expect("a name");
    let (answer, effects) = world.ask(|request| Input::CordonWorker { request, worker, cordon });
    assert!(matches!(answer, Ok(Answer::Done)), "{answer:?}");
    effects
}

fn submit(world: &mut World, policy: RunPolicy) -> (TaskId, Vec<cloudaid_core::effect::Effect>) {
    let submission = world.submission(1, 1);
    let spec = Arc::new(TaskSpec { policy, ..(*submission.spec).clone() });
    world.submit_this(Submission { spec, ..submission })
}

fn pass(world: &mut World, links: &[&Link], seconds: u64) -> Vec<cloudaid_core::effect::Effect> {
    let mut effects = Vec::new();
    for _ in 0..seconds {
        effects.extend(world.pass(SECOND));
        links.iter().for_each(|link| effects.extend(world.heard(link)));
    }
    effects
}

#[test]
fn a_cordoned_worker_keeps_what_it_has_and_gets_nothing_new() {
    let mut world = World::default();
    let (a, _) = world.connect("a", 4, vec![]);
    let (_, effects) = world.submit(1, 1);
    let key = assigned(&effects)[0].1.key;
    let wanted = cordon(&world, false, None);
    set(&mut world, "a", Some(wanted.clone()));
    let (task, effects) = world.submit(1, 1);
    assert_eq!(assigned(&effects), []);
    assert_eq!(world.cluster.why(task.into()).expect("it waits").reasons[0].code, "worker_cordoned");
    assert_eq!(world.cluster.worker_view(&a.worker).expect("it is there").cordon, Some(wanted));
    // It stays so over a start of the master and a new session.
    world.restart();
    let (a, effects) = world.connect("a", 4, vec![Held { key, phase: Phase::Running }]);
    assert_eq!(assigned(&effects), []);
    let effects = world.finished(&a, key, Verdict::Success);
    assert!(brief(&effects).contains(&"save result 2.0 success".to_owned()), "{effects:?}");
    let effects = set(&mut world, "a", None);
    assert_eq!(assigned(&effects).len(), 1);
}

#[test]
fn what_still_runs_at_the_deadline_is_stopped_and_runs_elsewhere_and_that_costs_it_nothing() {
    let mut world = World::default();
    let (a, _) = world.connect("a", 4, vec![]);
    let (_, effects) = submit(&mut world, RunPolicy { retries: 1, ..RunPolicy::default() });
    let mut key = assigned(&effects)[0].1.key;
    world.started(&a, key);
    let (mut here, mut there) = (a, world.connect("b", 4, vec![]).0);
    // More often than the infrastructure may end a run.
    for _ in 0..5 {
        let name = here.worker.to_string();
        let wanted = cordon(&world, true, Some(100));
        set(&mut world, &name, Some(wanted));
        assert_eq!(brief(&pass(&mut world, &[&here, &there], 99)), Vec::<String>::new());
        let effects = pass(&mut world, &[&here, &there], 1);
        let cancel = format!("s{} cancel 2.0#{}", here.session.0, key.attempt);
        assert_eq!(brief(&effects), [cancel, "save progress 2 running".to_owned()]);
        // That it gets work again in the meantime does not make it a cancel.
        set(&mut world, &name, None);
        let effects = world.finished(&here, key, Verdict::Cancelled);
        key = assigned(&effects)[0].1.key;
        assert_eq!(assigned(&effects)[0].0, there.session);
        world.started(&there, key);
        std::mem::swap(&mut here, &mut there);
    }
    // It has its retry still, and no more.
    let failed = Verdict::ExitCode { exit_code: 3 };
    world.finished(&here, key, failed.clone());
    let key = assigned(&pass(&mut world, &[&here, &there], 10))[0].1.key;
    let link = if world.cluster.worker_view(&here.worker).expect("it is there").running_tasks.is_empty() {
        there
    } else {
        here
    };
    let effects = world.finished(&link, key, failed);
    assert!(brief(&effects).contains(&"save result 2.0 exit code 3".to_owned()), "{effects:?}");
}

#[test]
fn without_a_deadline_it_may_run_to_its_end() {
    let mut world = World::default();
    let (a, _) = world.connect("a", 4, vec![]);
    let (_, effects) = world.submit(1, 1);
    let key = assigned(&effects)[0].1.key;
    let wanted = cordon(&world, true, None);
    set(&mut world, "a", Some(wanted));
    assert_eq!(brief(&pass(&mut world, &[&a], 10_000)), Vec::<String>::new());
    let effects = world.finished(&a, key, Verdict::Success);
    assert!(brief(&effects).contains(&"save result 2.0 success".to_owned()), "{effects:?}");
}

#[test]
fn the_deadline_outlives_the_master_and_is_told_again() {
    let mut world = World::default();
    let (a, _) = world.connect("a", 4, vec![]);
    let (_, effects) = world.submit(1, 1);
    let key = assigned(&effects)[0].1.key;
    world.started(&a, key);
    let wanted = cordon(&world, true, Some(50));
    set(&mut world, "a", Some(wanted));
    world.restart();
    let (a, _) = world.connect("a", 4, vec![Held { key, phase: Phase::Running }]);
    assert_eq!(brief(&pass(&mut world, &[&a], 49)), Vec::<String>::new());
    assert_eq!(brief(&pass(&mut world, &[&a], 1)), ["s3 cancel 2.0#1", "save progress 2 running"]);
    assert_eq!(brief(&pass(&mut world, &[&a], 60)), ["s3 cancel 2.0#1"]);
    world.disconnect(&a);
    let (a, effects) = world.connect("a", 4, vec![Held { key, phase: Phase::Running }]);
    assert!(brief(&effects).contains(&"s4 cancel 2.0#1".to_owned()), "{effects:?}");
    // Who is wanted stopped by a person is cancelled all the same.
    world.cancel(key.task.into()).0.expect("cancelled");
    let effects = world.finished(&a, key, Verdict::Cancelled);
    assert!(brief(&effects).contains(&"save result 2.0 cancelled".to_owned()), "{effects:?}");
}

#[test]
fn what_may_run_once_is_left_alone_if_it_has_begun_and_moved_if_not() {
    let mut world = World::default();
    let (a, _) = world.connect("a", 2, vec![]);
    let once = RunPolicy { at_most_once: true, ..RunPolicy::default() };
    let (_, effects) = submit(&mut world, once.clone());
    let begun = assigned(&effects)[0].1.key;
    world.started(&a, begun);
    let (_, effects) = submit(&mut world, once);
    let pending = assigned(&effects)[0].1.key;
    let (b, _) = world.connect("b", 2, vec![]);
    let wanted = cordon(&world, true, Some(0));
    set(&mut world, "a", Some(wanted));
    let effects = world.pass(SECOND);
    assert_eq!(brief(&effects), ["s2 cancel 3.0#1", "save progress 3 pending"]);
    let change = AttemptChange::Finished(Outcome { started_at: None, ..world.outcome(Verdict::Cancelled) });
    world.report(&a, pending, change);
    let effects = pass(&mut world, &[&a, &b], 10);
    assert_eq!(assigned(&effects).iter().map(|(session, _)| *session).collect::<Vec<_>>(), [b.session]);
    let effects = world.finished(&a, begun, Verdict::Success);
    assert!(brief(&effects).contains(&"save result 2.0 success".to_owned()), "{effects:?}");
}

#[test]
fn what_is_handed_back_in_good_order_is_held_against_nobody() {
    let mut world = World::default();
    let (a, _) = world.connect("a", 4, vec![]);
    let (_, effects) = world.submit(1, 1);
    let mut key = assigned(&effects)[0].1.key;
    for _ in 0..10 {
        world.started(&a, key);
        let lost = world.outcome(Verdict::WorkerLost { message: "handed back".to_owned() });
        let effects = world.report(&a, key, AttemptChange::Finished(Outcome { handed_back: true, ..lost }));
        key = assigned(&effects)[0].1.key;
    }
}

#[test]
fn the_deadline_goes_with_the_worker() {
    let mut world = World::default();
    let (_a, _) = world.connect("a", 4, vec![]);
    let wanted = cordon(&world, true, Some(50));
    set(&mut world, "a", Some(wanted));
    world.ask(|request| Input::UnregisterWorker { request, worker: "a".parse().expect("a name") }).0.expect("gone");
    let (a, _) = world.connect("a", 4, vec![]);
    let (_, effects) = world.submit(1, 1);
    world.started(&a, assigned(&effects)[0].1.key);
    assert_eq!(brief(&pass(&mut world, &[&a], 200)), Vec::<String>::new());
}

#[test]
fn nobody_is_refused_by_name() {
    let mut world = World::default();
    let worker = "nobody".parse().expect("a name");
    let (answer, _) = world.ask(|request| Input::CordonWorker { request, worker, cordon: None });
    assert!(matches!(answer, Err(Reject::WorkerNotFound { .. })), "{answer:?}");
}
