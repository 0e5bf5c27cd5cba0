use cloudaid_core::Cluster;
use cloudaid_core::record::Snapshot;
use cloudaid_core::recover::RecoverError;
use cloudaid_core::scheduler::round_robin::RoundRobin;
use cloudaid_core::settings::Settings;
use cloudaid_core::testkit::{World, assigned, brief};
use shared::id::ClusterId;
use shared::task::Verdict;
use shared::time::Now;
use ulid::Ulid;

fn recover(snapshot: Snapshot) -> Result<(), RecoverError> {
    let policy = Box::new(RoundRobin::default());
    Cluster::recover(Settings::default(), policy, snapshot, ClusterId(Ulid(1)), Now::default()).map(|_| ())
}

#[test]
fn the_queue_keeps_its_order_over_a_restart() {
    let mut world = World::default();
    for _ in 0..3 {
        world.submit(1, 2);
    }
    world.restart();
    let (_, effects) = world.connect("a", 5, vec![]);
    assert_eq!(brief(&effects)[7], "s2 assign 2.0#1 2.1#1 3.0#1 3.1#1 4.0#1");
}

#[test]
fn every_start_raises_the_epoch_and_with_it_every_fence() {
    let mut world = World::default();
    let (a, _) = world.connect("a", 4, vec![]);
    let (_, effects) = world.submit(1, 1);
    let first = assigned(&effects)[0].1.key;
    world.finished(&a, first, Verdict::Success);
    world.restart();
    world.connect("a", 4, vec![]);
    let (_, effects) = world.submit(1, 1);
    let second = assigned(&effects)[0].1.key;
    assert!(second.fence > first.fence);
    assert_eq!(world.cluster.identity().epoch.0, 2);
}

#[test]
fn what_ran_goes_on_and_what_is_over_stays_over() {
    let mut world = World::default();
    let (a, _) = world.connect("a", 4, vec![]);
    let (id, effects) = world.submit(1, 3);
    let keys: Vec<_> = assigned(&effects).into_iter().map(|(_, order)| order.key).collect();
    world.started(&a, keys[0]);
    world.finished(&a, keys[1], Verdict::Success);
    world.restart();
    let running = shared::link::Held { key: keys[0], phase: shared::link::Phase::Running };
    let (a, effects) = world.connect("a", 4, vec![running]);
    assert_eq!(brief(&effects), ["save worker a", "s3 welcome Keep 2.0#1", "s3 assign 2.2#1"]);
    world.finished(&a, keys[0], Verdict::Success);
    let effects = world.finished(&a, keys[2], Verdict::Success);
    assert!(brief(&effects).contains(&"save progress 2 completed, over".to_owned()));
    assert_eq!(world.saved.results.len(), 3);
    assert!(world.saved.tasks[&id].1.finished_at.is_some());
}

#[test]
fn contradictions_are_refused() {
    let mut world = World::default();
    world.connect("a", 4, vec![]);
    world.submit(1, 2);
    let good = world.saved.load();
    assert_eq!(recover(good.clone()), Ok(()));
    let mut no_task = good.clone();
    no_task.tasks.clear();
    assert!(matches!(recover(no_task), Err(RecoverError::OrphanAttempt(_))));
    let mut twice = good.clone();
    twice.attempts.push(good.attempts[0].clone());
    assert!(matches!(recover(twice), Err(RecoverError::Contradiction(_))));
    let mut waits_too = good.clone();
    waits_too.tasks[0].1.untouched.insert(0);
    assert!(matches!(recover(waits_too), Err(RecoverError::Contradiction(_))));
    let mut gone = good;
    gone.attempts.pop();
    assert!(matches!(recover(gone), Err(RecoverError::Elements { found: 1, expected: 2, .. })));
}
