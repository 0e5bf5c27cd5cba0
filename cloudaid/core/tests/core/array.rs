use std::sync::Arc;

use cloudaid_core::effect::Effect;
use cloudaid_core::input::Submission;
use cloudaid_core::testkit::{World, assigned, brief};
use shared::id::{Elements, TaskId, TaskRef};
use shared::task::{TaskState, Verdict};

fn submit(world: &mut World, array: &str) -> (TaskId, Vec<Effect>) {
    let submission = world.submission(1, 1);
    world.submit_this(Submission { array: Some(Arc::new(array.parse().expect("an array"))), ..submission })
}

fn indices(effects: &[Effect]) -> Vec<u32> {
    assigned(effects).into_iter().map(|(_, order)| order.key.index).collect()
}

#[test]
fn each_element_is_told_its_index_and_how_many_there_are() {
    let mut world = World::default();
    world.connect("a", 9, vec![]);
    let (_, effects) = submit(&mut world, "3-9:3,20");
    let told: Vec<_> = assigned(&effects)
        .into_iter()
        .map(|(_, order)| (order.env["CLOUDAI_ARRAY_INDEX"].clone(), order.env["CLOUDAI_ARRAY_COUNT"].clone()))
        .collect();
    assert_eq!(told, ["3", "6", "9", "20"].map(|index| (index.to_owned(), "4".to_owned())));
    let (_, effects) = world.submit(1, 1);
    assert!(assigned(&effects)[0].1.env.is_empty(), "a plain task is no array");
}

#[test]
fn an_array_of_one_is_an_array() {
    let mut world = World::default();
    world.connect("a", 9, vec![]);
    let (_, effects) = submit(&mut world, "0");
    assert_eq!(assigned(&effects)[0].1.env["CLOUDAI_ARRAY_INDEX"], "0");
}

#[test]
fn no_more_elements_are_with_workers_than_the_limit_allows() {
    let mut world = World::default();
    let (a, _) = world.connect("a", 9, vec![]);
    let (id, effects) = submit(&mut world, "0-9%2");
    assert_eq!(indices(&effects), [0, 1]);
    let why = world.cluster.why(TaskRef { task: id, elements: Elements::One(5) }).expect("it waits");
    assert_eq!(why.reasons[0].code, "array_limit");
    assert!(why.summary.contains("2 of its elements"), "{}", why.summary);
    let row = &world.cluster.queue_view(9).tasks[0];
    assert!(row.reason.contains("2 of its elements"), "{}", row.reason);

    let (_, effects) = world.submit(1, 1);
    assert_eq!(indices(&effects), [0], "others do not wait for it");
    let key = world.cluster.live_runs().map(|(key, _)| key).find(|key| key.task == id).expect("a run");
    let effects = world.finished(&a, key, Verdict::Success);
    assert_eq!(indices(&effects), [2]);
}

#[test]
fn a_range_of_elements_is_cancelled() {
    let mut world = World::default();
    let (a, _) = world.connect("a", 2, vec![]);
    let (task, effects) = submit(&mut world, "0-18:2");
    let keys: Vec<_> = assigned(&effects).into_iter().map(|(_, order)| order.key).collect();
    let range = |first, last| TaskRef { task, elements: Elements::Range(first, last) };
    let (_, effects) = world.cancel(range(1, 5));
    assert_eq!(
        brief(&effects),
        ["save result 2.4 cancelled", "s2 cancel 2.2#1", "reply pending, cancelling", "save progress 2 pending"]
    );
    let (answer, _) = world.cancel(range(19, 99));
    assert!(answer.is_err(), "there are none of these");
    world.finished(&a, keys[0], Verdict::Success);
    let (answer, _) = world.cancel(range(0, 1));
    let ended = cloudaid_core::reject::Reject::TaskEnded(range(0, 1), TaskState::Completed);
    assert_eq!(answer, Err(ended));
}

#[test]
fn what_ended_stays_a_range_and_survives_a_restart() {
    let mut world = World::default();
    let (a, _) = world.connect("a", 3, vec![]);
    let (id, mut effects) = submit(&mut world, "0-999999:10");
    for _ in 0..30 {
        let keys: Vec<_> = assigned(&effects).into_iter().map(|(_, order)| order.key).collect();
        effects.clear();
        for key in keys {
            effects.extend(world.finished(&a, key, Verdict::Success));
        }
    }
    let ended = |world: &World| world.saved.tasks[&id].1.ended.values().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(ended(&world), ["0-890:10"]);
    world.restart();
    assert_eq!(ended(&world), ["0-890:10"]);
    assert_eq!(world.saved.tasks[&id].1.untouched.to_string(), "930-999990:10");
}
