use cloudaid_core::reject::Reject;
use cloudaid_core::testkit::{World, assigned, brief};
use shared::id::{Elements, TaskRef};
use shared::task::{TaskState, Verdict};

#[test]
fn what_waits_is_cancelled_at_once() {
    let mut world = World::default();
    let (id, _) = world.submit(1, 1);
    let (_, effects) = world.cancel(id.into());
    assert_eq!(brief(&effects), ["save result 2.0 cancelled", "reply cancelled", "save progress 2 cancelled, over"]);
    let (answer, _) = world.cancel(id.into());
    assert_eq!(answer, Err(Reject::TaskNotFound(id.into())), "the shell asks the store for those that are over");
}

#[test]
fn what_a_worker_holds_is_cancelled_when_the_worker_says_so() {
    let mut world = World::default();
    let (a, _) = world.connect("a", 4, vec![]);
    let (id, effects) = world.submit(1, 1);
    let key = assigned(&effects)[0].1.key;
    let (_, effects) = world.cancel(id.into());
    assert_eq!(brief(&effects), ["s2 cancel 2.0#1", "reply pending, cancelling", "save progress 2 pending"]);
    world.started(&a, key);
    let (_, effects) = world.cancel(id.into());
    assert_eq!(brief(&effects), ["s2 cancel 2.0#1", "reply running, cancelling", "save progress 2 running"]);
    let effects = world.finished(&a, key, Verdict::Cancelled);
    assert_eq!(
        brief(&effects),
        [
            "save attempt 2.0#1 on a Ended cancelled",
            "save result 2.0 cancelled",
            "s2 ack 1",
            "save progress 2 cancelled, over",
        ]
    );
}

#[test]
fn a_task_that_ends_by_itself_first_keeps_its_own_end() {
    let mut world = World::default();
    let (a, _) = world.connect("a", 4, vec![]);
    let (id, effects) = world.submit(1, 1);
    let key = assigned(&effects)[0].1.key;
    world.cancel(id.into()).0.expect("accepted");
    let effects = world.finished(&a, key, Verdict::Success);
    assert!(brief(&effects).contains(&"save progress 2 completed, over".to_owned()));
}

#[test]
fn one_element_of_an_array() {
    let mut world = World::default();
    let (a, _) = world.connect("a", 1, vec![]);
    let (id, effects) = world.submit(1, 3);
    let key = assigned(&effects)[0].1.key;
    let element = |index| TaskRef { task: id, elements: Elements::One(index) };
    let (_, effects) = world.cancel(element(1));
    assert_eq!(brief(&effects), ["save result 2.1 cancelled", "reply cancelled", "save progress 2 pending"]);
    let (_, effects) = world.cancel(element(1));
    assert_eq!(brief(&effects), ["reply cancelled"], "again is no error");
    assert_eq!(world.cancel(element(3)).0, Err(Reject::TaskNotFound(element(3))));
    world.finished(&a, key, Verdict::Success);
    assert_eq!(world.cancel(element(0)).0, Err(Reject::TaskEnded(element(0), TaskState::Completed)));
}

#[test]
fn a_whole_array_in_every_state_at_once() {
    let mut world = World::default();
    let (a, _) = world.connect("a", 2, vec![]);
    let (id, effects) = world.submit(1, 4);
    let keys: Vec<_> = assigned(&effects).into_iter().map(|(_, order)| order.key).collect();
    world.started(&a, keys[0]);
    let (_, effects) = world.cancel(id.into());
    assert_eq!(
        brief(&effects),
        [
            "save result 2.2 cancelled",
            "save result 2.3 cancelled",
            "s2 cancel 2.0#1 2.1#1",
            "reply running, cancelling",
            "save progress 2 running",
        ]
    );
}

#[test]
fn a_wish_to_cancel_survives_the_masters_death_and_the_workers_absence() {
    let mut world = World::default();
    let (a, _) = world.connect("a", 4, vec![]);
    let (id, effects) = world.submit(1, 1);
    let key = assigned(&effects)[0].1.key;
    world.started(&a, key);
    world.disconnect(&a);
    let (_, effects) = world.cancel(id.into());
    assert_eq!(brief(&effects), ["reply running, cancelling", "save progress 2 running"]);
    world.restart();
    let held = shared::link::Held { key, phase: shared::link::Phase::Running };
    let (_, effects) = world.connect("a", 4, vec![held]);
    assert_eq!(brief(&effects), ["save worker a", "s3 welcome Keep 2.0#1", "s3 cancel 2.0#1"]);
}

#[test]
fn a_cancelled_task_whose_worker_is_lost_is_cancelled_and_not_run_again() {
    let mut world = World::default();
    let (a, _) = world.connect("a", 4, vec![]);
    let (id, _) = world.submit(1, 1);
    world.disconnect(&a);
    world.cancel(id.into()).0.expect("accepted");
    let effects = world.pass(std::time::Duration::from_secs(120));
    let lines = brief(&effects);
    assert!(lines.contains(&"save result 2.0 cancelled".to_owned()), "{lines:?}");
}
