use std::sync::Arc;

use cloudaid_core::effect::Answer;
use cloudaid_core::files::{FileUsage, GoneFile, InputFile, Leftover};
use cloudaid_core::input::Input;
use cloudaid_core::record::FileRecord;
use cloudaid_core::reject::Reject;
use cloudaid_core::settings::Settings;
use cloudaid_core::testkit::{World, assigned, brief, spec};
use shared::id::{BlobId, ElementId, InputId, TaskId};
use shared::task::TaskSpec;
use shared::time::WallTime;

const ID: InputId = InputId(ulid::Ulid(7));

fn file(path: &str, size: u64, has_arrived: bool) -> InputFile {
    let (blob, blake3) = (BlobId(u128::from(size).into()), has_arrived.then_some([1; 32]));
    InputFile { path: path.into(), size, executable: false, blob, blake3 }
}

fn add(world: &mut World, files: &[InputFile]) -> (Result<Answer, Reject>, Vec<String>) {
    let (files, user) = (Arc::from(files), "ada".parse().expect("a name"));
    let (answer, effects) = world.ask(|request| Input::AddInput { request, id: ID, user, files });
    (answer, brief(&effects))
}

fn delete(world: &mut World) -> Result<Answer, Reject> {
    world.ask(|request| Input::DeleteInput { request, id: ID }).0
}

fn expire(world: &mut World) -> Vec<String> {
    let unused_since = WallTime(world.now.wall.0 - 1000);
    brief(&world.step(Input::ExpireInputs { unused_since, except: Default::default() }))
}

/// Submits a task that reads the input.
fn submit(world: &mut World) -> (Result<Answer, Reject>, TaskId) {
    let mut submission = world.submission(1, 1);
    submission.spec = Arc::new(TaskSpec { input: Some(ID), ..spec(1) });
    let id = submission.id;
    (world.ask(|request| Input::SubmitTask { request, submission, known: None }).0, id)
}

#[test]
fn an_input_can_be_read_when_all_of_it_has_arrived() {
    let mut world = World::default();
    assert_eq!(submit(&mut world).0, Err(Reject::InputNotFound(ID)));
    let (answer, lines) = add(&mut world, &[file("a", 5, false), file("b", 3, false)]);
    assert_eq!(answer, Ok(Answer::Done));
    assert_eq!(
        lines,
        ["save ada keeps 8 in 2", "save input 7 of ada, 2 missing", "save input files 7 x2", "reply done"]
    );
    assert_eq!(submit(&mut world).0, Err(Reject::InputIncomplete(ID, 2)));
    for (files, missing) in [(file("b", 3, true), 1), (file("a", 5, true), 0)] {
        world.restart();
        let files = Arc::from([files]);
        let (answer, effects) = world.ask(|request| Input::InputFilesReceived { request, id: ID, files });
        answer.expect("taken");
        assert_eq!(brief(&effects)[0], format!("save input 7 of ada, {missing} missing"));
    }
    world.connect("a", 1, vec![]);
    let (answer, effects) = {
        let mut submission = world.submission(1, 1);
        submission.spec = Arc::new(TaskSpec { input: Some(ID), ..spec(1) });
        world.ask(|request| Input::SubmitTask { request, submission, known: None })
    };
    assert!(matches!(answer, Ok(Answer::Submitted(_))));
    assert_eq!(assigned(&effects)[0].1.input, Some(ID), "its worker is told");
}

#[test]
fn what_has_arrived_counts_once_and_never_changes() {
    let mut world = World::default();
    add(&mut world, &[file("a", 5, false), file("b", 3, false)]).0.expect("added");
    let mut receive = |files: &[InputFile]| {
        let files = Arc::from(files);
        let (answer, effects) = world.ask(|request| Input::InputFilesReceived { request, id: ID, files });
        answer.expect("taken");
        brief(&effects)
    };
    let first = receive(&[file("a", 5, true)]);
    assert_eq!(first, ["save input 7 of ada, 1 missing", "save input files 7 x1", "reply done"]);
    // Again, with another digest, and beside one that is new.
    let other = InputFile { blake3: Some([9; 32]), ..file("a", 5, true) };
    assert_eq!(receive(std::slice::from_ref(&other)), ["save input 7 of ada, 1 missing", "reply done"]);
    let both = receive(&[other, file("b", 3, true)]);
    assert_eq!(both, ["save input 7 of ada, 0 missing", "save input files 7 x1", "reply done"]);
}

#[test]
fn what_is_being_uploaded_is_in_use() {
    let mut world = World::default();
    add(&mut world, &[file("a", 5, false)]).0.expect("added");
    world.pass(std::time::Duration::from_secs(2));
    let unused_since = WallTime(world.now.wall.0 - 1000);
    let effects = world.step(Input::ExpireInputs { unused_since, except: [ID].into() });
    assert_eq!(brief(&effects), [""; 0]);
    world.step(Input::UseInput { id: ID });
    assert_eq!(expire(&mut world), [""; 0], "a part has arrived just now");
    world.pass(std::time::Duration::from_secs(2));
    assert_eq!(expire(&mut world).len(), 2);
}

#[test]
fn nobody_reads_what_is_somebody_elses() {
    let mut world = World::default();
    add(&mut world, &[file("a", 5, true)]).0.expect("added");
    let mut submission = world.submission(1, 1);
    submission.user = "bob".parse().expect("a name");
    submission.spec = Arc::new(TaskSpec { input: Some(ID), ..spec(1) });
    let (answer, effects) = world.ask(|request| Input::SubmitTask { request, submission, known: None });
    assert_eq!((answer, effects.len()), (Err(Reject::InputNotFound(ID)), 1));
}

#[test]
fn what_a_task_reads_stays_until_it_has_ended() {
    let mut world = World::default();
    add(&mut world, &[file("a", 5, true)]).0.expect("added");
    let (first, second) = (submit(&mut world).1, submit(&mut world).1);
    assert_eq!(delete(&mut world), Err(Reject::InputInUse(ID, 2)));
    world.restart();
    assert_eq!(delete(&mut world), Err(Reject::InputInUse(ID, 2)), "it is known after a restart");
    world.pass(std::time::Duration::from_secs(3600));
    assert_eq!(expire(&mut world), [""; 0]);
    for task in [first, second] {
        world.cancel(task.into()).0.expect("cancelled");
    }
    assert_eq!(expire(&mut world), [""; 0], "it was used just now");
    world.pass(std::time::Duration::from_secs(2));
    assert_eq!(expire(&mut world), ["save ada keeps 0 in 0", "save input gone 7"]);
    assert_eq!(world.saved.snapshot.unswept, [Leftover::Input(ID)]);
    assert_eq!(delete(&mut world), Err(Reject::InputNotFound(ID)));
}

#[test]
fn nobody_keeps_more_than_they_may() {
    let quota = FileUsage { bytes: 10, files: 2 };
    let mut world = World::new(Settings { file_quota: quota, ..Settings::default() });
    let refused = add(&mut world, &[file("a", 11, true)]);
    assert!(matches!(refused.0, Err(Reject::QuotaExceeded { .. })), "{refused:?}");
    assert_eq!(refused.1.len(), 1, "nothing is saved");
    assert!(add(&mut world, &[file("a", 1, true), file("b", 1, true), file("c", 1, true)]).0.is_err());
    add(&mut world, &[file("a", 6, true)]).0.expect("room");

    let (worker, _) = world.connect("a", 1, vec![]);
    let (task, effects) = world.submit(1, 1);
    let key = assigned(&effects)[0].1.key;
    let output = |size, blob: u128| FileRecord {
        path: b"r".to_vec(),
        size,
        blake3: [0; 32],
        blob: Some(BlobId(blob.into())),
        start: None,
    };
    let stored = |world: &mut World, size, blob, before: Vec<GoneFile>| {
        let files = Arc::from([output(size, blob)]);
        let worker = worker.worker.clone();
        world.ask(move |request| Input::FilesStored { request, worker, key, files, before })
    };
    assert!(matches!(stored(&mut world, 5, 1, vec![]).0, Err(Reject::QuotaExceeded { .. })));
    stored(&mut world, 4, 2, vec![]).0.expect("room for it");
    // The same run brings it again: what it had brought makes room, and goes.
    let element = ElementId { task, index: 0 };
    let before =
        GoneFile { element, attempt: 1, path: b"r".to_vec(), size: 4, blob: Some(BlobId(2.into())), shared: false };
    let (answer, effects) = stored(&mut world, 3, 3, vec![before.clone()]);
    answer.expect("it replaces the other");
    let expected = ["save ada keeps 9 in 2", "save files gone x1", "save files 2.0#1 x1", "reply done"];
    assert_eq!(brief(&effects)[1..], expected[1..]);
    assert_eq!(world.saved.snapshot.unswept, before.leftover().as_slice());
    // What stands among the files again is theirs, and stays.
    let stays = GoneFile { size: 3, blob: Some(BlobId(3.into())), ..before.clone() };
    let (answer, effects) = stored(&mut world, 3, 3, vec![stays]);
    answer.expect("nothing is new");
    assert_eq!(brief(&effects)[1..], ["reply done"], "{effects:?}");
    assert_eq!(world.saved.snapshot.unswept, before.leftover().as_slice());
}
