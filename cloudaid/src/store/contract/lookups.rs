//! What was committed is found again.
#![allow(missing_docs, reason = "a check is named by what it checks")]

use std::sync::Arc;

use cloudaid_core::files::{FileUsage, GoneFile, Leftover, OpenFile, UploadRecord};
use cloudaid_core::record::{Change, FileRecord, Progress};
use shared::id::{BlobId, ElementId, Elements};
use shared::task::Verdict;
use shared::view::TaskCounts;

use super::StoreFactory;
use super::fixture::{self, commit, user_name};
use crate::store::{DumpCursor, FileCursor, FileName, FilePlace, FileQuery, RunSize, Store, StoredFile, StoredTask};

pub async fn a_task_is_found_with_its_run_and_result(factory: &dyn StoreFactory) {
    let store = factory.open().await;
    let (first, last) = (fixture::ended(fixture::attempt(1, 0, 1, "w1")), fixture::attempt(1, 0, 2, "w2"));
    let (new, array) = (fixture::task(1), fixture::task_with(2, fixture::array(2)));
    let changes = vec![
        Change::NewTask(new.clone()),
        Change::NewTask(array.clone()),
        Change::Attempt(last.clone()),
        Change::Attempt(first),
        Change::Attempt(fixture::attempt(2, 0, 1, "w1")),
        Change::Result(fixture::result(2, 0, Verdict::Success)),
    ];
    commit(&*store, changes).await;
    let mut expected =
        StoredTask { record: new.clone(), progress: fixture::queued(1), last_attempt: Some(last), result: None };
    assert_eq!(store.find_task(new.id).await.expect("a look-up"), Some(expected.clone()));

    let result = fixture::result(1, 0, Verdict::oom(5));
    commit(&*store, vec![Change::Result(result.clone())]).await;
    expected.result = Some(result);
    assert_eq!(store.find_task(new.id).await.expect("a look-up"), Some(expected));

    let expected = StoredTask { record: array, progress: fixture::queued(2), last_attempt: None, result: None };
    assert_eq!(store.find_task(fixture::task_id(2)).await.expect("a look-up"), Some(expected));
    assert_eq!(store.find_task(fixture::task_id(3)).await.expect("a look-up"), None);
}

pub async fn keys_are_found_per_user(factory: &dyn StoreFactory) {
    let store = factory.open().await;
    let keyed = |number, user: &str, key: &str| {
        fixture::task_with(number, |task| {
            task.user = user_name(user);
            task.key = Some(fixture::key(key));
        })
    };
    let (ada, bob, other) = (keyed(1, "ada", "k"), keyed(2, "bob", "k"), keyed(3, "ada", "other"));
    let tasks = [ada.clone(), bob.clone(), other.clone(), fixture::task(4)];
    commit(&*store, tasks.map(Change::NewTask).to_vec()).await;
    let asked = [("bob", "k"), ("ada", "none"), ("ada", "other"), ("eve", "k"), ("ada", "k"), ("bob", "k")];
    let asked = asked.map(|(user, key)| (user_name(user), key.into())).to_vec();
    let found = store.find_keys(asked).await.expect("a look-up");
    assert_eq!(found, [Some(bob.clone()), None, Some(other), None, Some(ada), Some(bob)]);
}

pub async fn attempts_come_in_order(factory: &dyn StoreFactory) {
    let store = factory.open().await;
    let runs = [1, 2, 3, 10].map(|attempt| fixture::ended(fixture::attempt(1, 2, attempt, "w1")));
    let others = [fixture::attempt(1, 1, 1, "w1"), fixture::attempt(1, 20, 1, "w1"), fixture::attempt(2, 2, 1, "w1")];
    let tasks = [1, 2].map(|number| Change::NewTask(fixture::task_with(number, fixture::array(30))));
    let attempts = runs.iter().rev().chain(&others).cloned().map(Change::Attempt);
    commit(&*store, tasks.into_iter().chain(attempts).collect()).await;
    let element = |index| ElementId { task: fixture::task_id(1), index };
    assert_eq!(store.list_attempts(element(2)).await.expect("attempts"), runs);
    assert_eq!(store.list_attempts(element(3)).await.expect("attempts"), []);
}

pub async fn results_are_found(factory: &dyn StoreFactory) {
    let store = factory.open().await;
    let full = fixture::result(1, 0, Verdict::Signal { signal: 11, by_hand: false });
    let mut bare = fixture::result(1, 1, Verdict::Cancelled);
    (bare.attempt, bare.worker, bare.started_at, bare.outcome) = (0, None, None, None);
    let task = fixture::task_with(1, fixture::array(3));
    let changes = vec![Change::NewTask(task), Change::Result(full.clone()), Change::Result(bare.clone())];
    commit(&*store, changes).await;
    for result in [full, bare] {
        assert_eq!(store.find_result(result.element).await.expect("a look-up"), Some(result));
    }
    let missing = ElementId { task: fixture::task_id(1), index: 2 };
    assert_eq!(store.find_result(missing).await.expect("a look-up"), None);
}

pub async fn failures_are_found_by_index(factory: &dyn StoreFactory) {
    let store = factory.open().await;
    let ends = [
        Verdict::Success,
        Verdict::ExitCode { exit_code: 1 },
        Verdict::Cancelled,
        Verdict::oom(9),
        Verdict::Success,
        Verdict::WorkerLost { message: "gone".into() },
    ];
    let results: Vec<_> = (0..).zip(ends).map(|(index, verdict)| fixture::result(1, index, verdict)).collect();
    let others = fixture::result(2, 1, Verdict::Signal { signal: 9, by_hand: false });
    let tasks = [1, 2].map(|number| Change::NewTask(fixture::task_with(number, fixture::array(9))));
    let changes = results.iter().rev().cloned().chain([others]).map(Change::Result);
    commit(&*store, tasks.into_iter().chain(changes).collect()).await;
    for (elements, limit, expected) in [
        (Elements::All, 99, vec![1, 3, 5]),
        (Elements::All, 2, vec![1, 3]),
        (Elements::Range(2, 4), 99, vec![3]),
        (Elements::One(5), 99, vec![5]),
        (Elements::One(4), 99, vec![]),
    ] {
        let found = store.list_failures(fixture::task_id(1), elements, limit).await.expect("failures");
        let expected: Vec<_> = expected.into_iter().map(|index| results[index].clone()).collect();
        assert_eq!(found, expected, "{elements:?}");
    }
}

pub async fn files_are_those_of_the_last_run_that_has_any(factory: &dyn StoreFactory) {
    let store = factory.open().await;
    let key = |index, attempt| fixture::attempt(1, index, attempt, "w1").key;
    let (a, b, c) = (fixture::file(b"a", 1), fixture::file(b"b/c", 2), fixture::file(b"c", 3));
    let changes = vec![
        Change::NewTask(fixture::task_with(1, fixture::array(3))),
        Change::Files(key(0, 2), [c.clone(), a.clone()].into()),
        Change::Files(key(0, 1), [b.clone()].into()),
        Change::Files(key(0, 3), [].into()),
        Change::Files(key(2, 1), [b.clone()].into()),
        Change::Files(fixture::attempt(2, 0, 1, "w1").key, [a.clone()].into()),
    ];
    commit(&*store, changes).await;
    let task = fixture::task_id(1);
    let stored = |index, attempt, file| StoredFile { element: ElementId { task, index }, attempt, file };
    let expected = [stored(0, 2, a), stored(0, 2, c), stored(2, 1, b)];
    assert_eq!(store.list_files(task, Elements::All, None, 99).await.expect("files"), expected);
    assert_eq!(store.list_files(task, Elements::One(0), None, 99).await.expect("files"), expected[..2]);
    assert_eq!(store.list_files(task, Elements::One(1), None, 99).await.expect("files"), []);
    assert_eq!(store.list_files(task, Elements::One(2), None, 99).await.expect("files"), expected[2..]);
    // Page by page, and one by one.
    assert_eq!(store.list_files(task, Elements::All, None, 2).await.expect("files"), expected[..2]);
    for (at, before) in expected.iter().enumerate() {
        let named = FilePlace::of(before);
        for after in [FilePlace { attempt: None, ..named.clone() }, named] {
            let next = store.list_files(task, Elements::All, Some(after), 1).await.expect("files");
            assert_eq!(next, expected[at + 1..].get(..1).unwrap_or_default());
        }
    }
    let path = |path: &[u8]| FileName::Path(path.to_vec());
    let find = async |elements, name: &[u8]| store.find_files(task, elements, None, path(name)).await.expect("files");
    assert_eq!(find(Elements::All, b"b/c").await, expected[2..]);
    assert_eq!(find(Elements::One(2), b"a").await, []);
    assert_eq!(find(Elements::One(0), b"b/c").await, [], "of an earlier run");
}

pub async fn a_list_of_files_goes_on_in_the_run_in_which_a_page_has_ended(factory: &dyn StoreFactory) {
    let store = factory.open().await;
    let key = |index, attempt| fixture::attempt(1, index, attempt, "w1").key;
    let files = |paths: &[&[u8]]| paths.iter().map(|path| fixture::file(path, 1)).collect::<Arc<[_]>>();
    let task = fixture::task_with(1, fixture::array(2));
    let changes = vec![
        Change::NewTask(task.clone()),
        Change::Files(key(0, 1), files(&[b"a", b"b", b"c"])),
        Change::Files(key(1, 1), files(&[b"d"])),
    ];
    commit(&*store, changes).await;
    let query = FileQuery { user: task.user.clone(), after: None, limit: 1 };
    let (page, next) = store.list_user_files(query.clone()).await.expect("a page");
    assert_eq!(page[0].file.path, b"a");
    let after = FilePlace::of(&page[0]);
    // Before the next page both elements have run again.
    let later = vec![Change::Files(key(0, 2), files(&[b"a", b"aa", b"z"])), Change::Files(key(1, 2), files(&[b"e"]))];
    commit(&*store, later).await;
    let named = |found: &[StoredFile]| -> Vec<(u32, u32, Vec<u8>)> {
        found.iter().map(|file| (file.element.index, file.attempt, file.file.path.clone())).collect()
    };
    let rest = [(0, 1, b"b".to_vec()), (0, 1, b"c".to_vec()), (1, 2, b"e".to_vec())];
    let list = async |after| store.list_files(task.id, Elements::All, after, 99).await.expect("files");
    assert_eq!(named(&list(Some(after.clone())).await), rest);
    let query = FileQuery { after: next, limit: 9, ..query };
    assert_eq!(named(&store.list_user_files(query.clone()).await.expect("a page").0), rest);
    // Who begins anew, or does not say which run it was, gets the later one.
    assert_eq!(list(None).await.len(), 4);
    let unnamed = FilePlace { attempt: None, ..after.clone() };
    let latest = [(0, 2, b"aa".to_vec()), (0, 2, b"z".to_vec()), (1, 2, b"e".to_vec())];
    assert_eq!(named(&list(Some(unnamed)).await), latest);
    // Who names a run finds what it has, and not what another has.
    let find = async |attempt, path: &[u8]| {
        let name = FileName::Path(path.to_vec());
        named(&store.find_files(task.id, Elements::One(0), attempt, name).await.expect("files"))
    };
    assert_eq!(find(None, b"a").await, [(0, 2, b"a".to_vec())]);
    assert_eq!(find(Some(1), b"a").await, [(0, 1, b"a".to_vec())]);
    assert_eq!(find(Some(1), b"z").await, []);
    // Of a run that was deleted nothing more comes, and nothing of another in its place.
    commit(&*store, vec![Change::RunFilesGone(key(0, 1), true)]).await;
    assert_eq!(named(&list(Some(after)).await), rest[2..]);
    assert_eq!(named(&store.list_user_files(query).await.expect("a page").0), rest[2..]);
}

pub async fn files_of_a_run_are_replaced(factory: &dyn StoreFactory) {
    let store = factory.open().await;
    let key = fixture::attempt(1, 0, 1, "w1").key;
    let old = [fixture::file(b"a", 1), fixture::file(b"b", 2)];
    commit(&*store, vec![Change::NewTask(fixture::task(1)), Change::Files(key, old.into())]).await;
    let new = fixture::file(b"a", 3);
    commit(&*store, vec![Change::Files(key, [new.clone()].into())]).await;
    let files = store.list_files(key.task, Elements::All, None, 99).await.expect("files");
    assert_eq!(files, [StoredFile { element: key.element(), attempt: 1, file: new }]);
    commit(&*store, vec![Change::Files(key, [].into())]).await;
    assert_eq!(store.list_files(key.task, Elements::All, None, 99).await.expect("files"), []);
}

pub async fn files_of_each_run_are_counted(factory: &dyn StoreFactory) {
    let store = factory.open().await;
    let key = |index, attempt| fixture::attempt(1, index, attempt, "w1").key;
    let large = 3_u64 << 30;
    let changes = vec![
        Change::NewTask(fixture::task_with(1, fixture::array(12))),
        Change::Files(key(0, 1), [fixture::file(b"a", large), fixture::file(b"b\xff", large)].into()),
        Change::Files(key(0, 2), [fixture::file(b"empty", 0)].into()),
        Change::Files(key(0, 3), [].into()),
        Change::Files(key(11, 1), [fixture::file(b"a", 1), fixture::file(b"b", 2), fixture::file(b"c", 4)].into()),
    ];
    commit(&*store, changes).await;
    let task = fixture::task_id(1);
    let size = |index, attempt, bytes, files| RunSize {
        element: ElementId { task, index },
        attempt,
        size: FileUsage { bytes, files },
    };
    let expected = [size(0, 1, 2 * large, 2), size(0, 2, 0, 1), size(11, 1, 7, 3)];
    let list = async |elements| store.list_run_sizes(task, elements).await.expect("sizes");
    assert_eq!(list(Elements::All).await, expected);
    assert_eq!(list(Elements::One(11)).await, expected[2..]);
    assert_eq!(list(Elements::One(1)).await, []);
}

pub async fn files_of_an_upload_are_seen_when_it_has_ended(factory: &dyn StoreFactory) {
    let store = factory.open().await;
    let run = |attempt| fixture::attempt(1, 0, attempt, "w1");
    let (earlier, key) = (run(1).key, run(2).key);
    let files =
        [fixture::file(b"a", 1), fixture::file(b"b/\xff", 2), FileRecord { start: Some(7), ..fixture::file(b"c", 3) }];
    let open = OpenFile { path: b"large \xff".to_vec(), size: u64::from(u32::MAX) * 9, blob: BlobId(99.into()) };
    let upload = |files, open| UploadRecord { size: FileUsage { bytes: files, files }, chain: [7; 32], open };
    let first = upload(2, Some(open.clone()));
    let old = fixture::file(b"old", 5);
    let changes = vec![
        Change::NewTask(fixture::task(1)),
        Change::Attempt(run(1)),
        Change::Attempt(run(2)),
        Change::Files(earlier, [old.clone()].into()),
        Change::FilesAdded(key, files[..2].into()),
        Change::Upload(key, Some(first.clone())),
    ];
    commit(&*store, changes).await;
    drop(store);
    let store = factory.open().await;
    let element = key.element();
    let stored = |attempt, file: &FileRecord| StoredFile { element, attempt, file: file.clone() };
    let query = FileQuery { user: fixture::task(1).user.clone(), after: None, limit: 9 };
    let size = |attempt, bytes, files| RunSize { element, attempt, size: FileUsage { bytes, files } };
    // The files of the earlier run are still those that are seen.
    let seen = [stored(1, &old)];
    assert_eq!(store.list_files(key.task, Elements::All, None, 99).await.expect("files"), seen);
    assert_eq!(store.list_run_files(key.task, Elements::All).await.expect("files"), seen);
    assert_eq!(store.list_user_files(query.clone()).await.expect("files").0, seen);
    // Nobody sees others by naming their run.
    let place = FilePlace { index: 0, attempt: Some(2), path: Vec::new() };
    assert_eq!(store.list_files(key.task, Elements::All, Some(place.clone()), 99).await.expect("files"), []);
    let after = Some(FileCursor { sequence: fixture::task(1).sequence, place });
    assert_eq!(store.list_user_files(FileQuery { after, ..query.clone() }).await.expect("files").0, []);
    let name = FileName::Path(b"a".to_vec());
    assert_eq!(store.find_files(key.task, Elements::All, Some(2), name).await.expect("files"), []);
    assert_eq!(store.list_run_sizes(key.task, Elements::One(0)).await.expect("sizes"), [size(1, 5, 1)]);
    assert_eq!(store.find_upload(element, 2).await.expect("an upload"), Some(first.clone()));
    assert_eq!(store.find_upload(element, 1).await.expect("no upload"), None);
    assert_eq!(store.list_uploads(9).await.expect("uploads"), [key]);
    let blobs = [files[0].blob, Some(open.blob)].into_iter().flatten();
    assert_eq!(store.list_run_blobs(element, 2).await.expect("blobs"), blobs.collect());
    let (dumped, _) = store.dump_tasks(DumpCursor::default(), 99).await.expect("a dump");
    let is_of_files =
        |change: &&Change| matches!(change, Change::Files(..) | Change::FilesAdded(..) | Change::Upload(..));
    let dumped: Vec<_> = dumped.into_iter().filter(|change| is_of_files(&change)).collect();
    let expected = [
        Change::Files(earlier, [old.clone()].into()),
        Change::FilesAdded(key, files[..2].into()),
        Change::Upload(key, Some(first.clone())),
    ];
    assert_eq!(dumped, expected);
    // Further, and to the end.
    commit(&*store, vec![Change::Upload(key, Some(upload(3, None)))]).await;
    assert_eq!(store.find_upload(element, 2).await.expect("an upload"), Some(upload(3, None)));
    commit(&*store, vec![Change::FilesAdded(key, files[2..].into()), Change::Upload(key, None)]).await;
    let seen = files.each_ref().map(|file| stored(2, file));
    assert_eq!(store.list_files(key.task, Elements::All, None, 99).await.expect("files"), seen);
    assert_eq!(store.list_user_files(query).await.expect("files").0, seen);
    let sizes = [size(1, 5, 1), size(2, 6, 3)];
    assert_eq!(store.list_run_sizes(key.task, Elements::All).await.expect("sizes"), sizes);
    assert_eq!(store.find_upload(element, 2).await.expect("no upload"), None);
    assert_eq!(store.list_uploads(9).await.expect("uploads"), []);
}

pub async fn files_of_runs_are_forgotten_together(factory: &dyn StoreFactory) {
    let store = factory.open().await;
    let key = |index, attempt| fixture::attempt(1, index, attempt, "w1").key;
    let (kept, dropped, deleted) = (key(0, 1), key(0, 2), key(1, 1));
    let files = |name: &[u8]| Arc::from([fixture::file(name, 1), fixture::file(b"both", 3)]);
    let upload = UploadRecord { size: FileUsage { bytes: 4, files: 2 }, chain: [1; 32], open: None };
    let changes = vec![
        Change::NewTask(fixture::task_with(1, fixture::array(3))),
        Change::Files(kept, files(b"kept")),
        Change::FilesAdded(dropped, files(b"dropped")),
        Change::Upload(dropped, Some(upload.clone())),
        Change::Files(deleted, files(b"deleted")),
    ];
    commit(&*store, changes).await;
    commit(&*store, vec![Change::RunFilesGone(dropped, false), Change::RunFilesGone(deleted, true)]).await;
    let names = async |store: &dyn Store| {
        let found = store.list_run_files(kept.task, Elements::All).await.expect("files");
        found.into_iter().map(|file| (file.attempt, file.file.path)).collect::<Vec<_>>()
    };
    assert_eq!(names(&*store).await, [(1, b"both".to_vec()), (1, b"kept".to_vec())]);
    assert_eq!(store.find_upload(dropped.element(), 2).await.expect("no upload"), None);
    assert_eq!(store.load().await.expect("loaded").0.unswept, [Leftover::Run(deleted.element(), 1)]);
    // In one commit with what was before and what comes after.
    let changes = vec![
        Change::FilesAdded(dropped, files(b"before")),
        Change::Upload(dropped, Some(upload)),
        Change::RunFilesGone(dropped, false),
        Change::FilesAdded(dropped, files(b"after")),
    ];
    commit(&*store, changes).await;
    let after = [(1, &b"both"[..]), (1, b"kept"), (2, b"after"), (2, b"both")];
    assert_eq!(names(&*store).await, after.map(|(attempt, name)| (attempt, name.to_vec())));
    // With its task all goes.
    let upload = UploadRecord { size: FileUsage::default(), chain: [2; 32], open: None };
    commit(&*store, vec![Change::Upload(key(2, 1), Some(upload))]).await;
    commit(&*store, vec![Change::Gone(kept.task)]).await;
    assert_eq!(store.list_uploads(9).await.expect("uploads"), []);
}

/// Of all runs, and one by one; a file of the same name that came since stays.
pub async fn output_files_are_forgotten(factory: &dyn StoreFactory) {
    let store = factory.open().await;
    let (first, last) = (fixture::attempt(1, 0, 1, "w1").key, fixture::attempt(1, 0, 2, "w1").key);
    let (a, b, c) = (fixture::file(b"a", 1), fixture::file(b"b", 2), fixture::file(b"a", 3));
    let changes = vec![
        Change::NewTask(fixture::task(1)),
        Change::Progress(first.task, fixture::completed(1)),
        Change::Files(first, [a.clone(), b.clone()].into()),
        Change::Files(last, [c.clone()].into()),
    ];
    commit(&*store, changes).await;
    let stored = |attempt, file: &FileRecord| StoredFile { element: first.element(), attempt, file: file.clone() };
    let all = [stored(1, &a), stored(1, &b), stored(2, &c)];
    assert_eq!(store.list_run_files(first.task, Elements::All).await.expect("files"), all);
    assert_eq!(store.list_run_files(first.task, Elements::One(1)).await.expect("files"), []);
    let gone = |file: &FileRecord, attempt| GoneFile {
        element: first.element(),
        attempt,
        path: file.path.clone(),
        size: file.size,
        blob: file.blob,
        shared: false,
    };
    // In the commit in which another takes its place, and twice.
    for _ in 0..2 {
        let new = fixture::file(b"a", 5);
        let changes =
            vec![Change::FilesGone([gone(&a, 1), gone(&b, 1)].into()), Change::Files(first, [new.clone()].into())];
        commit(&*store, changes).await;
        let left = [stored(1, &new), stored(2, &c)];
        assert_eq!(store.list_run_files(first.task, Elements::All).await.expect("files"), left);
    }
    // What has no blob of its own may hold the content of others.
    let (snapshot, _) = fixture::load(&*store).await;
    assert_eq!(snapshot.unswept, gone(&a, 1).leftover().as_slice());
}

pub async fn inputs_come_and_go_with_their_files(factory: &dyn StoreFactory) {
    let store = factory.open().await;
    let (input, other) = (fixture::input(1, "ada", 1), fixture::input(2, "bob", 0));
    let (early, late) = (fixture::input_file(b"b", 3, false), fixture::input_file(b"b", 3, true));
    let (odd, of_other) = (fixture::input_file(b"a\xff\n", 1, true), fixture::input_file(b"b", 9, true));
    let changes = vec![
        Change::Input(input.clone()),
        Change::InputFiles(input.id, [early.clone(), odd.clone()].into()),
        Change::Input(other.clone()),
        Change::InputFiles(other.id, [of_other.clone()].into()),
    ];
    commit(&*store, changes).await;
    assert_eq!(store.list_input_files(input.id).await.expect("files"), [odd.clone(), early.clone()]);
    assert_eq!(store.find_input_file(input.id, odd.path.clone()).await.expect("a look-up"), Some(odd.clone()));
    assert_eq!(store.find_input_file(other.id, odd.path.clone()).await.expect("a look-up"), None);
    assert_eq!(fixture::load(&*store).await.0.missing, [(input.id, early.blob)]);
    commit(&*store, vec![Change::InputFiles(input.id, [late.clone()].into())]).await;
    assert_eq!(store.list_input_files(input.id).await.expect("files"), [odd, late]);
    let (snapshot, _) = fixture::load(&*store).await;
    assert_eq!((snapshot.inputs.len(), snapshot.missing.len()), (2, 0));
    commit(&*store, vec![Change::InputGone(input.id)]).await;
    assert_eq!(store.list_input_files(input.id).await.expect("files"), []);
    assert_eq!(store.list_input_files(other.id).await.expect("files"), [of_other]);
    let (snapshot, _) = fixture::load(&*store).await;
    assert_eq!((snapshot.inputs, snapshot.unswept), (vec![other], vec![Leftover::Input(input.id)]));
    commit(&*store, vec![Change::Swept(Leftover::Input(input.id))]).await;
    assert_eq!(fixture::load(&*store).await.0.unswept, []);
}

pub async fn tasks_with_files_are_found_by_their_end(factory: &dyn StoreFactory) {
    let store = factory.open().await;
    let mut changes = Vec::new();
    // The second has no files, the third has not ended, and the fourth ended later.
    for (number, progress) in [(1, fixture::completed(1)), (2, fixture::completed(1)), (3, fixture::running(1))] {
        changes.extend([Change::NewTask(fixture::task(number)), Change::Progress(fixture::task_id(number), progress)]);
    }
    let later = Progress { finished_at: Some(fixture::time(9)), ..fixture::completed(1) };
    changes.extend([Change::NewTask(fixture::task(4)), Change::Progress(fixture::task_id(4), later)]);
    for number in [1, 3, 4] {
        let key = fixture::attempt(number, 0, 1, "w1").key;
        changes.push(Change::Files(key, [fixture::file(b"a", 1)].into()));
    }
    commit(&*store, changes).await;
    let found = async |before, limit| store.list_tasks_with_files(fixture::time(before), limit).await.expect("tasks");
    assert_eq!(found(2, 10).await, [], "none ended before");
    assert_eq!(found(3, 10).await, [fixture::task_id(1)]);
    let mut both = vec![fixture::task_id(1), fixture::task_id(4)];
    both.sort_unstable();
    assert_eq!(found(10, 10).await, both);
    assert_eq!(found(10, 1).await, both[..1]);
}

pub async fn ended_elements_are_counted(factory: &dyn StoreFactory) {
    let store = factory.open().await;
    let ends = [
        Verdict::Success,
        Verdict::Success,
        Verdict::ExitCode { exit_code: 1 },
        Verdict::WorkerLost { message: "gone".into() },
        Verdict::Timeout { limit_seconds: 9, exit_code: None },
        Verdict::Cancelled,
    ];
    let results = (0..).zip(ends).map(|(index, verdict)| Change::Result(fixture::result(1, index, verdict)));
    let task = fixture::task_with(1, fixture::array(100));
    commit(&*store, [Change::NewTask(task)].into_iter().chain(results).collect()).await;
    commit(&*store, vec![Change::Result(fixture::result(1, 50, Verdict::Success))]).await;
    let expected = TaskCounts { completed: 3, failed: 3, cancelled: 1, ..TaskCounts::default() };
    assert_eq!(store.count_ended().await.expect("counts"), expected);
}
