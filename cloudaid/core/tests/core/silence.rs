use std::time::Duration;

use cloudaid_core::effect::Effect;
use cloudaid_core::event::Event;
use cloudaid_core::input::Input;
use cloudaid_core::testkit::{Link, World, brief};

const SECOND: Duration = Duration::from_secs(1);

/// Past the grace after the start: workers with a running task each.
fn world(names: &[&str]) -> (World, Vec<Link>) {
    let mut world = World::default();
    world.pass(60 * SECOND);
    let links: Vec<Link> = names.iter().map(|name| world.connect(name, 1, vec![]).0).collect();
    world.submit(1, names.len() as u32);
    (world, links)
}

/// What was said of silence.
fn alarms(effects: &[Effect]) -> Vec<String> {
    let alarm = |effect: &Effect| match effect {
        Effect::Publish(Event::WorkersSilent { silent, of, .. }) => Some(format!("{silent} of {of} silent")),
        Effect::Publish(Event::MasterSlept { late }) => Some(format!("slept {} s", late.as_secs())),
        Effect::Publish(Event::WorkerLost { worker, .. }) => Some(format!("{worker} lost")),
        _ => None,
    };
    effects.iter().filter_map(alarm).collect()
}

#[test]
fn a_master_that_slept_blames_nobody() {
    let (mut world, links) = world(&["a"]);
    world.now.boot = world.now.boot + 600 * SECOND;
    let effects = world.step(Input::TimerFired);
    assert_eq!((brief(&effects), alarms(&effects)), (vec![], vec!["slept 585 s".to_owned()]));
    assert!(alarms(&world.pass(5 * SECOND)).is_empty());
    world.heard(&links[0]);
    assert!(brief(&world.pass(14 * SECOND)).is_empty(), "it is as good as before");
}

#[test]
fn who_stays_silent_after_that_is_given_up_as_after_a_start() {
    let (mut world, _) = world(&["a"]);
    world.now.boot = world.now.boot + 600 * SECOND;
    world.step(Input::TimerFired);
    assert_eq!(alarms(&world.pass(59 * SECOND)), Vec::<String>::new());
    assert_eq!(alarms(&world.pass(SECOND)), ["a lost"]);
}

#[test]
fn where_half_of_all_are_silent_at_once_nothing_is_given_up_in_haste() {
    let (mut world, links) = world(&["a", "b", "c", "d"]);
    for link in &links[..2] {
        world.disconnect(link);
    }
    let mut seen = Vec::new();
    for _ in 0..128 {
        links[2..].iter().for_each(|link| drop(world.heard(link)));
        seen.extend(alarms(&world.pass(5 * SECOND)));
    }
    assert_eq!(seen, ["2 of 4 silent"]);
    links[2..].iter().for_each(|link| drop(world.heard(link)));
    assert_eq!(alarms(&world.pass(5 * SECOND)), ["a lost", "b lost"], "but not for ever");
}

#[test]
fn when_enough_are_back_the_others_have_failed_by_themselves() {
    let (mut world, links) = world(&["a", "b", "c", "d"]);
    for link in &links[..2] {
        world.disconnect(link);
    }
    let mut seen = Vec::new();
    for _ in 0..10 {
        links[2..].iter().for_each(|link| drop(world.heard(link)));
        seen.extend(alarms(&world.pass(5 * SECOND)));
    }
    assert_eq!(seen, ["2 of 4 silent"]);
    world.connect("a", 1, vec![]);
    assert_eq!(alarms(&world.pass(SECOND)), ["b lost"]);
}

#[test]
fn two_workers_may_well_fail_together() {
    let (mut world, links) = world(&["a", "b"]);
    links.iter().for_each(|link| drop(world.disconnect(link)));
    assert_eq!(alarms(&world.pass(45 * SECOND)), ["a lost", "b lost"]);
}
