use std::sync::Arc;

use cloudaid_core::files::{FileUsage, Leftover, UploadRecord};
use cloudaid_core::input::Input;
use cloudaid_core::record::FileRecord;
use cloudaid_core::reject::Reject;
use cloudaid_core::settings::Settings;
use cloudaid_core::testkit::{World, assigned, brief};
use shared::id::{AttemptKey, BlobId, Epoch, Fence, WorkerId};

fn files(names: &[&str]) -> Arc<[FileRecord]> {
    let blob = Some(BlobId(7.into()));
    names
        .iter()
        .map(|name| FileRecord { path: name.as_bytes().to_vec(), size: 2, blake3: [0; 32], blob, start: None })
        .collect()
}

fn upload(files: u64) -> UploadRecord {
    UploadRecord { size: FileUsage { bytes: 2 * files, files }, chain: [0; 32], open: None }
}

/// A run of ada's on a worker.
fn run(world: &mut World) -> (WorkerId, AttemptKey) {
    let (worker, _) = world.connect("a", 4, vec![]);
    let (_, effects) = world.submit(1, 1);
    (worker.worker, assigned(&effects)[0].1.key)
}

#[test]
fn files_count_when_all_of_them_are_there() {
    let mut world = World::default();
    let (worker, key) = run(&mut world);
    let staged = |names: &[&str], count| {
        let (worker, files, upload) = (worker.clone(), files(names), upload(count));
        move |request| Input::FilesStaged { request, worker, key, files, upload }
    };
    let ended = |names: &[&str], staged| {
        let (worker, files) = (worker.clone(), files(names));
        move |request| Input::UploadEnded { request, worker, key, files, staged }
    };
    let expected = ["save files 2.0#1 +2", "save upload 2.0#1 2", "reply done"];
    assert_eq!(brief(&world.ask(staged(&["a", "b"], 2)).1), expected);
    let effects = world.ask(ended(&["c"], Some(upload(2).size))).1;
    let expected = ["save ada keeps 6 in 3", "save files 2.0#1 +1", "save upload 2.0#1 ended", "reply done"];
    assert_eq!(brief(&effects), expected);
}

#[test]
fn an_upload_of_one_part_is_never_staged() {
    let mut world = World::default();
    let (worker, key) = run(&mut world);
    let files = files(&["a"]);
    let effects = world.ask(|request| Input::UploadEnded { request, worker, key, files, staged: None }).1;
    assert_eq!(brief(&effects), ["save ada keeps 2 in 1", "save files 2.0#1 +1", "reply done"]);
}

#[test]
fn there_has_to_be_room_for_all_of_it_from_the_first_part_on() {
    let quota = FileUsage { bytes: 10, files: 3 };
    let mut world = World::new(Settings { file_quota: quota, ..Settings::default() });
    let (worker, key) = run(&mut world);
    let (by, four) = (worker.clone(), files(&["a", "b", "c", "d"]));
    let (answer, effects) =
        world.ask(|request| Input::FilesStaged { request, worker: by, key, files: four, upload: upload(4) });
    assert!(matches!(answer, Err(Reject::QuotaExceeded { .. })), "{answer:?}");
    assert_eq!(effects.len(), 1, "nothing is saved");
    let (files, staged) = (files(&["d"]), Some(upload(3).size));
    let (answer, _) = world.ask(|request| Input::UploadEnded { request, worker, key, files, staged });
    assert!(matches!(answer, Err(Reject::QuotaExceeded { .. })), "{answer:?}");
}

#[test]
fn only_the_present_run_brings_files() {
    let mut world = World::default();
    let (worker, key) = run(&mut world);
    let old = AttemptKey { fence: Fence::new(Epoch(1), 0), ..key };
    for key in [old, AttemptKey { attempt: 9, ..key }] {
        let (by, files) = (worker.clone(), files(&["a"]));
        let (answer, effects) =
            world.ask(|request| Input::FilesStaged { request, worker: by, key, files, upload: upload(1) });
        assert!(matches!(answer, Err(Reject::NotCurrent(_))), "{answer:?}");
        assert!(brief(&effects).iter().all(|effect| !effect.starts_with("save")), "{effects:?}");
    }
}

#[test]
fn what_is_dropped_is_left_to_go_only_where_nobody_else_removes_it() {
    let mut world = World::default();
    let (_, key) = run(&mut world);
    let effects = world.ask(|request| Input::DropUpload { request, key, sweep: false }).1;
    assert_eq!(brief(&effects), ["save files gone 2.0#1", "reply done"]);
    assert_eq!(world.saved.snapshot.unswept, []);
    world.ask(|request| Input::DropUpload { request, key, sweep: true }).0.expect("dropped");
    assert_eq!(world.saved.snapshot.unswept, [Leftover::Run(key.element(), key.attempt)]);
}

#[test]
fn runs_are_deleted_with_all_their_files() {
    let mut world = World::default();
    let (worker, key) = run(&mut world);
    let files = files(&["a", "b"]);
    world.ask(|request| Input::UploadEnded { request, worker, key, files, staged: None }).0.expect("kept");
    let (user, size) = ("ada".parse().expect("a name"), upload(2).size);
    let effects = world.ask(|request| Input::DeleteRunFiles { request, user, runs: vec![key], size }).1;
    assert_eq!(brief(&effects), ["save ada keeps 0 in 0", "save files gone 2.0#1", "reply done"]);
    assert_eq!(world.saved.snapshot.unswept, [Leftover::Run(key.element(), key.attempt)]);
}
