use cloudaid_core::settings::Settings;
use cloudaid_core::testkit::{World, assigned, brief};
use shared::id::{AttemptKey, Fence};
use shared::link::{Held, Phase};
use shared::task::Verdict;
use shared::worker::WorkerFacts;

fn held(key: AttemptKey, phase: Phase) -> Held {
    Held { key, phase }
}

#[test]
fn what_a_reboot_has_taken_is_said_to_be_that() {
    let boot =
        |id: &str| WorkerFacts { capacity: World::capacity(4), boot_id: id.to_owned(), ..WorkerFacts::default() };
    let mut world = World::default();
    let lost_on = |world: &mut World, first: &str, second: &str| {
        let (a, _) = world.connect_as("a", boot(first), vec![]);
        let key = assigned(&world.submit(1, 1).1)[0].1.key;
        world.started(&a, key);
        world.restart();
        let said = brief(&world.connect_as("a", boot(second), vec![]).1);
        let end = said.into_iter().find(|line| line.starts_with("save attempt")).expect("it is lost");
        world.cluster.why(key.task.into()).expect("it runs again");
        end.contains("host was restarted")
    };
    assert!(lost_on(&mut world, "one", "two"));
    assert!(!lost_on(&mut world, "two", "two"));
    assert!(!lost_on(&mut world, "", "two"), "nobody knows");
}

#[test]
fn an_assignment_that_never_arrived_is_sent_again_and_not_made_anew() {
    let mut world = World::default();
    let (a, _) = world.connect("a", 4, vec![]);
    world.submit(1, 1);
    world.disconnect(&a);
    let (_, effects) = world.connect("a", 4, vec![]);
    assert_eq!(brief(&effects), ["save worker a", "s3 welcome", "s3 assign 2.0#1"]);
}

#[test]
fn what_the_worker_still_holds_goes_on() {
    let mut world = World::default();
    let (a, _) = world.connect("a", 4, vec![]);
    let (_, effects) = world.submit(1, 1);
    let key = assigned(&effects)[0].1.key;
    world.started(&a, key);
    for phase in [Phase::Accepted, Phase::Running, Phase::Finished] {
        let (_, effects) = world.connect("a", 4, vec![held(key, phase)]);
        assert!(brief(&effects).iter().any(|line| line.ends_with("welcome Keep 2.0#1")), "{phase:?}");
    }
}

#[test]
fn a_container_that_vanished_is_lost_and_run_again() {
    let mut world = World::default();
    let (a, _) = world.connect("a", 4, vec![]);
    let (_, effects) = world.submit(1, 1);
    world.started(&a, assigned(&effects)[0].1.key);
    let (_, effects) = world.connect("a", 4, vec![]);
    assert_eq!(
        brief(&effects),
        [
            "close s2: Replaced(WorkerId(\"a\"))",
            "save worker a",
            "save attempt 2.0#1 on a Ended worker lost: the worker no longer has its container",
            "s3 welcome",
            "save attempt 2.0#2 on a Pending",
            "s3 assign 2.0#2",
            "save progress 2 pending",
        ]
    );
}

#[test]
fn what_is_over_is_forgotten_and_what_is_unknown_is_stopped() {
    let mut world = World::default();
    let (a, _) = world.connect("a", 4, vec![]);
    let (_, effects) = world.submit(1, 1);
    let key = assigned(&effects)[0].1.key;
    world.finished(&a, key, Verdict::Success);
    let (_, effects) = world.connect("a", 4, vec![held(key, Phase::Finished)]);
    assert!(brief(&effects).contains(&"s3 welcome Forget 2.0#1".to_owned()));
    let stranger = AttemptKey { fence: Fence(99), ..key };
    let (_, effects) = world.connect("a", 4, vec![held(stranger, Phase::Running)]);
    assert!(brief(&effects).contains(&"s4 welcome Stop 2.0#1".to_owned()));
}

#[test]
fn another_workers_run_is_not_kept() {
    let mut world = World::default();
    world.connect("a", 4, vec![]);
    let (_, effects) = world.submit(1, 1);
    let key = assigned(&effects)[0].1.key;
    let (_, effects) = world.connect("b", 4, vec![held(key, Phase::Running)]);
    assert_eq!(brief(&effects), ["save worker b", "s3 welcome Stop 2.0#1"]);
}

#[test]
fn a_worker_that_comes_back_smaller_keeps_its_runs_and_gets_no_more() {
    let mut world = World::default();
    world.connect("a", 4, vec![]);
    let (_, effects) = world.submit(4, 1);
    let key = assigned(&effects)[0].1.key;
    let (a, effects) = world.connect("a", 2, vec![held(key, Phase::Running)]);
    assert!(brief(&effects).contains(&"s3 welcome Keep 2.0#1".to_owned()));
    let (_, effects) = world.submit(1, 1);
    assert!(!brief(&effects).iter().any(|line| line.contains("assign")));
    let effects = world.finished(&a, key, Verdict::Success);
    assert!(brief(&effects).contains(&"s3 assign 3.0#1".to_owned()));
}

#[test]
fn what_another_store_may_know_is_kept_and_not_acknowledged() {
    let key = AttemptKey {
        task: "task-01m8de95f6d9apmfdex2tg2dzw".parse().expect("an id"),
        index: 0,
        attempt: 1,
        fence: Fence(7),
    };
    for (keep_unknown, decision, answer) in [(true, "Keep", vec![]), (false, "Stop", vec!["s2 ack 1"])] {
        let mut world = World::new(Settings { keep_unknown, ..Settings::default() });
        let (a, effects) = world.connect("a", 4, vec![held(key, Phase::Running)]);
        let welcome = brief(&effects).pop().expect("a welcome");
        assert!(welcome.contains(&format!("welcome {decision} ")), "{welcome}");
        assert_eq!(brief(&world.finished(&a, key, Verdict::Success)), answer);
    }
}
