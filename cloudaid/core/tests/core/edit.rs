use std::collections::BTreeMap;

use cloudaid_core::effect::Answer;
use cloudaid_core::files::{FileUsage, Leftover};
use cloudaid_core::input::Input;
use cloudaid_core::reject::Reject;
use cloudaid_core::testkit::{World, assigned, brief};
use shared::id::TaskId;
use shared::submit::TaskEdit;
use shared::task::{TaskState, Verdict};

fn rename(name: Option<&str>) -> TaskEdit {
    TaskEdit { name: Some(name.map(str::to_owned)), labels: BTreeMap::new() }
}

fn edit(world: &mut World, task: TaskId, edit: TaskEdit) -> (Result<Answer, Reject>, Vec<String>) {
    let (answer, effects) = world.ask(|request| Input::EditTask { request, task, edit });
    (answer, brief(&effects))
}

fn delete(world: &mut World, task: TaskId) -> (Result<Answer, Reject>, Vec<String>) {
    let (answer, effects) = world.ask(|request| Input::DeleteTask {
        request,
        task,
        user: "ada".parse().expect("a name"),
        files: FileUsage::default(),
    });
    (answer, brief(&effects))
}

#[test]
fn what_waits_gets_another_name_and_labels_and_keeps_them() {
    let mut world = World::default();
    let (id, _) = world.submit(1, 1);
    let (answer, lines) = edit(&mut world, id, rename(Some("nightly")));
    assert_eq!((answer, lines), (Ok(Answer::Done), vec!["save spec 2 Some(\"nightly\")".into(), "reply done".into()]));
    assert_eq!(edit(&mut world, id, rename(Some("nightly"))).1, ["reply done"], "as it is already");
    let labels = BTreeMap::from([("run".to_owned(), Some("7".to_owned())), ("draft".to_owned(), None)]);
    edit(&mut world, id, TaskEdit { name: None, labels }).0.expect("labelled");
    world.restart();
    let (_, effects) = world.connect("a", 4, vec![]);
    let order = &assigned(&effects)[0].1;
    assert_eq!(order.name.as_deref(), Some("nightly"));
    assert_eq!(world.saved.tasks[&id].0.spec.labels.get("run").map(String::as_str), Some("7"));
}

#[test]
fn what_a_worker_holds_or_has_ended_is_not_changed() {
    let mut world = World::default();
    let (a, _) = world.connect("a", 1, vec![]);
    let (id, effects) = world.submit(1, 2);
    let (answer, lines) = edit(&mut world, id, rename(None));
    let refused = Err(Reject::NotQueued(id.into(), TaskState::Pending));
    assert_eq!((answer, lines.len()), (refused, 1), "half of it waits, half does not");
    let key = assigned(&effects)[0].1.key;
    let effects = world.finished(&a, key, Verdict::Success);
    world.finished(&a, assigned(&effects)[0].1.key, Verdict::Success);
    let (answer, _) = edit(&mut world, id, rename(None));
    assert_eq!(answer, Err(Reject::TaskNotFound(id.into())), "the shell asks the store for those that are over");
}

#[test]
fn only_what_has_ended_is_deleted() {
    let mut world = World::default();
    let (id, _) = world.submit(1, 1);
    assert_eq!(delete(&mut world, id).0, Err(Reject::NotEnded(id.into(), TaskState::Queued)));
    world.cancel(id.into()).0.expect("cancelled");
    assert_eq!(delete(&mut world, id), (Ok(Answer::Done), vec!["save gone 2".into(), "reply done".into()]));
    world.restart();
    assert_eq!(world.saved.snapshot.unswept, [Leftover::Task(id)], "its bytes are still to go");
    let effects = world.step(Input::Swept { leftover: Leftover::Task(id) });
    assert_eq!(brief(&effects), ["save swept 2"]);
    assert_eq!(world.saved.snapshot.unswept, []);
}
