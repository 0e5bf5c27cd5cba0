use cloudaid_core::effect::Effect;
use cloudaid_core::event::{Event, Findings};
use cloudaid_core::input::Input;
use cloudaid_core::testkit::{Link, World, assigned, brief};
use shared::id::{AttemptKey, Fence};
use shared::link::{Held, Inventory, Phase, ToWorker};

fn inquire(world: &mut World) -> Fence {
    let (answer, effects) = world.ask(|request| Input::FixResources { request });
    answer.expect("asked");
    let horizon = effects.iter().find_map(|effect| match effect {
        Effect::Send(_, ToWorker::Inquire { horizon }) => Some(*horizon),
        _ => None,
    });
    horizon.expect("an inquiry")
}

fn answer(world: &mut World, link: &Link, inventory: Inventory) -> (Findings, Vec<String>) {
    let (worker, session) = (link.worker.clone(), link.session);
    let effects = world.step(Input::WorkerInventoried { worker, session, inventory });
    let findings = effects.iter().find_map(|effect| match effect {
        Effect::Publish(Event::WorkerReconciled { findings, .. }) => Some(findings.clone()),
        _ => None,
    });
    (findings.unwrap_or_default(), brief(&effects))
}

fn inventory(horizon: Fence, held: &[(AttemptKey, Phase)]) -> Inventory {
    let held: Vec<_> = held.iter().map(|(key, phase)| Held { key: *key, phase: *phase }).collect();
    Inventory {
        horizon,
        containers: held.len() as u32,
        held,
        adopted: vec![],
        lost: vec![],
        leaving: vec![],
        problem: None,
    }
}

fn running(world: &mut World, link: &Link, count: u32) -> Vec<AttemptKey> {
    let (_, effects) = world.submit(1, count);
    let keys: Vec<_> = assigned(&effects).into_iter().map(|(_, order)| order.key).collect();
    for key in &keys {
        world.started(link, *key);
    }
    keys
}

#[test]
fn where_everything_is_as_it_should_be_nothing_happens() {
    let mut world = World::default();
    let (a, _) = world.connect("a", 4, vec![]);
    let (b, _) = world.connect("b", 4, vec![]);
    world.disconnect(&b);
    let keys = running(&mut world, &a, 2);
    let (_, effects) = world.ask(|request| Input::FixResources { request });
    assert_eq!(brief(&effects), ["s2 inquire", "reply asked 1, absent 1"]);
    let horizon = inquire(&mut world);
    let (findings, effects) =
        answer(&mut world, &a, inventory(horizon, &[(keys[0], Phase::Running), (keys[1], Phase::Running)]));
    assert_eq!(findings, Findings { live: 2, containers: 2, ..Findings::default() });
    assert_eq!(effects, [""; 0]);
}

#[test]
fn an_orphan_is_stopped_and_a_run_without_a_container_is_run_again() {
    let mut world = World::default();
    let (a, _) = world.connect("a", 2, vec![]);
    let keys = running(&mut world, &a, 2);
    let horizon = inquire(&mut world);
    let orphan = AttemptKey { fence: Fence(1), attempt: 7, ..keys[0] };
    let mut found = inventory(horizon, &[(keys[0], Phase::Running), (orphan, Phase::Running)]);
    found.adopted.push(orphan);
    let (findings, effects) = answer(&mut world, &a, found);
    assert_eq!((findings.orphans, findings.lost, findings.live), (vec![orphan], vec![keys[1]], 2));
    assert_eq!(
        effects,
        [
            "s2 decide Stop 2.0#7",
            "save attempt 2.1#1 on a Ended worker lost: the worker no longer has its container",
            "save attempt 2.1#2 on a Pending",
            "s2 assign 2.1#2",
            "save progress 2 running",
        ]
    );
}

#[test]
fn a_container_that_the_worker_lost_sight_of_goes_on() {
    let mut world = World::default();
    let (a, _) = world.connect("a", 2, vec![]);
    let keys = running(&mut world, &a, 1);
    let horizon = inquire(&mut world);
    let mut found = inventory(horizon, &[(keys[0], Phase::Running)]);
    found.adopted.push(keys[0]);
    let (findings, effects) = answer(&mut world, &a, found);
    assert_eq!((findings.adopted, findings.orphans), (keys, vec![]));
    assert_eq!(effects, ["s2 decide Keep 2.0#1"]);
}

#[test]
fn what_was_given_out_after_the_question_is_not_missed() {
    let mut world = World::default();
    let (a, _) = world.connect("a", 4, vec![]);
    let (_, effects) = world.submit(1, 1);
    let early = assigned(&effects)[0].1.key;
    let horizon = inquire(&mut world);
    let late = running(&mut world, &a, 1)[0];
    assert!(late.fence > horizon && early.fence <= horizon);
    let (findings, effects) = answer(&mut world, &a, inventory(horizon, &[]));
    assert_eq!(findings.sent_again, [early], "it never arrived");
    assert_eq!((findings.lost, effects), (vec![], vec!["s2 assign 2.0#1".to_owned()]));
}

#[test]
fn an_answer_counts_once() {
    let mut world = World::default();
    let (a, _) = world.connect("a", 4, vec![]);
    let (_, effects) = world.submit(1, 1);
    let key = assigned(&effects)[0].1.key;
    let horizon = inquire(&mut world);
    let stale = inventory(horizon, &[]);
    answer(&mut world, &a, stale.clone());
    // What was sent again has arrived; the old answer comes once more.
    world.started(&a, key);
    let (_, effects) = answer(&mut world, &a, stale);
    assert_eq!(effects, [""; 0]);
}

#[test]
fn the_answer_of_an_older_connection_changes_nothing() {
    let mut world = World::default();
    let (old, _) = world.connect("a", 4, vec![]);
    let keys = running(&mut world, &old, 1);
    let horizon = inquire(&mut world);
    world.connect("a", 4, vec![Held { key: keys[0], phase: Phase::Running }]);
    let (_, effects) = answer(&mut world, &old, inventory(horizon, &[]));
    assert_eq!(effects, [""; 0]);
}
