//! An operator takes a worker out of use.

use std::time::Duration;

use cloudaid_core::effect::Answer;
use cloudaid_core::input::Input;
use cloudaid_core::reject::Reject;
use cloudaid_core::testkit::{Link, World, assigned, brief};
use shared::link::{Held, Phase};
use shared::task::Verdict;
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
    let (_, effects) = world.submit(1, 1);
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
        assert_eq!(brief(&effects), [format!("s{} cancel 2.0#{}", here.session.0, key.attempt)]);
        let effects = world.finished(&here, key, Verdict::Cancelled);
        key = assigned(&effects)[0].1.key;
        assert_eq!(assigned(&effects)[0].0, there.session);
        world.started(&there, key);
        set(&mut world, &name, None);
        std::mem::swap(&mut here, &mut there);
    }
    let effects = world.finished(&here, key, Verdict::Success);
    assert!(brief(&effects).contains(&"save result 2.0 success".to_owned()), "{effects:?}");
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
    assert_eq!(brief(&pass(&mut world, &[&a], 1)), ["s3 cancel 2.0#1"]);
    assert_eq!(brief(&pass(&mut world, &[&a], 60)), ["s3 cancel 2.0#1"]);
    // Who is wanted stopped by a person is cancelled all the same.
    world.cancel(key.task.into()).0.expect("cancelled");
    let effects = world.finished(&a, key, Verdict::Cancelled);
    assert!(brief(&effects).contains(&"save result 2.0 cancelled".to_owned()), "{effects:?}");
}

#[test]
fn nobody_is_refused_by_name() {
    let mut world = World::default();
    let worker = "nobody".parse().expect("a name");
    let (answer, _) = world.ask(|request| Input::CordonWorker { request, worker, cordon: None });
    assert!(matches!(answer, Err(Reject::WorkerNotFound { .. })), "{answer:?}");
}
