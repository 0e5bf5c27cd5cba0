//! Values at the edge of what is allowed come back as they were.
#![allow(missing_docs, reason = "a check is named by what it checks")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use cloudaid_core::recent::Recent;
use cloudaid_core::record::{AttemptRecord, Change, Progress, Requeued, Spared};
use shared::id::{AttemptKey, Elements, Fence};
use shared::ranges::RangeSet;
use shared::resources::Resources;
use shared::selector::{LabelWish, WorkerSelector};
use shared::task::{Command, StoredPart, Verdict, VerdictKind};
use shared::view::Tally;

use super::StoreFactory;
use super::fixture::{self, commit, load, worker_id};
use crate::store::{FileName, FilePlace, FileQuery, StoredFile, TaskQuery};

/// Text that is easy to get wrong.
const ODD: [&str; 9] = [
    "",
    " ",
    "it's \"quoted\" and \\slashed\\",
    "line\nline\r\n\ttab",
    "größe 大きさ 🦀 e\u{301}",
    "'; DROP TABLE tasks; --",
    "$.a[0].b %_*?",
    "\u{1}\u{7f}\u{feff}\u{2028}\u{10ffff}",
    "null",
];

pub async fn arrays_round_trip(factory: &dyn StoreFactory) {
    let store = factory.open().await;
    let task = fixture::task_with(1, fixture::array(1_000_000));
    let indices = |first: u32, step: usize, count: usize| (first..).step_by(step).take(count).collect::<RangeSet>();
    let mut recent = Recent::default();
    let ends = [Verdict::Setup { message: "it is odd".to_owned() }, Verdict::ExitCode { exit_code: i32::MIN }];
    ends.iter().chain([&Verdict::Success]).for_each(|verdict| recent.add(verdict, false));
    let progress = Progress {
        tally: Tally { queued: 999_900, pending: 1, running: 2, completed: 90, failed: 6, cancelled: 1 },
        untouched: indices(100_000, 1, 500).iter().chain(indices(700_000, 2, 50).iter()).collect(),
        requeued: vec![
            Requeued {
                index: 7,
                attempts: 2,
                infrastructure_failures: 1,
                memory: Some(u64::MAX),
                pause: Duration::from_millis(10_001),
            },
            Requeued { index: 999_999, attempts: u32::MAX, ..Requeued::default() },
        ],
        ended: BTreeMap::from([
            (VerdictKind::Success, indices(0, 3, 90)),
            (VerdictKind::WorkerLost, indices(1, 3, 6)),
            (VerdictKind::Cancelled, indices(2, 1, 1)),
        ]),
        cancelling: indices(500, 1, 2),
        unreachable: indices(501, 1, 1),
        evicting: indices(500, 1, 1),
        spared: vec![Spared { index: 7, runs: 1 }, Spared { index: 999_999, runs: u32::MAX }],
        recent,
        image: Some("127.0.0.1:5000/a/b@sha256:0123".into()),
        started_at: Some(fixture::time(3)),
        finished_at: None,
    };
    commit(&*store, vec![Change::NewTask(task.clone())]).await;
    commit(&*store, vec![Change::Progress(task.id, progress.clone())]).await;
    assert_eq!(load(&*store).await.0.tasks, [(task.clone(), progress.clone())]);
    let found = store.find_task(task.id).await.expect("a look-up").expect("the task");
    assert_eq!(found.progress, progress);
}

pub async fn spaced_arrays_and_retries_round_trip(factory: &dyn StoreFactory) {
    let store = factory.open().await;
    let first = fixture::task_with(1, |task| {
        task.array = Some(Arc::new("0-999999:10%7".parse().expect("an array")));
    });
    let again = fixture::task_with(2, |task| {
        task.array = Some(Arc::new("30,70-90".parse().expect("an array")));
        task.retry_of = Some(first.id);
    });
    // Nothing is said of their progress: nothing has run.
    commit(&*store, vec![Change::NewTask(first.clone()), Change::NewTask(again.clone())]).await;
    let expected = [&first, &again].map(|record| (record.clone(), Progress::untouched(record.indices())));
    assert_eq!(load(&*store).await.0.tasks, expected);

    let (mut waiting, mut ended) = (first.indices(), first.indices().emptied());
    for _ in 0..500 {
        ended.insert(waiting.pop_first().expect("one more"));
    }
    let tally = Tally { queued: waiting.len(), completed: ended.len(), ..Tally::default() };
    let ended = BTreeMap::from([(VerdictKind::Success, ended)]);
    let progress = Progress { tally, untouched: waiting, ended, ..Progress::default() };
    commit(&*store, vec![Change::Progress(first.id, progress.clone())]).await;
    let found = store.find_task(first.id).await.expect("a look-up").expect("the task");
    assert_eq!((found.record, &found.progress), (first, &progress));
    assert_eq!(found.progress.ended[&VerdictKind::Success].to_string(), "0-4990:10");
}

pub async fn every_verdict_round_trips(factory: &dyn StoreFactory) {
    let store = factory.open().await;
    let message = || "it's\n\"odd\"".to_owned();
    let verdicts = [
        Verdict::Success,
        Verdict::ExitCode { exit_code: 255 },
        Verdict::Signal { signal: 9, by_hand: false },
        Verdict::Signal { signal: 9, by_hand: true },
        Verdict::oom(u64::MAX),
        Verdict::Oom {
            limit_bytes: u64::MAX,
            peak_bytes: Some(u64::MAX),
            exit_code: Some(3),
            killed_process: Some(message()),
            killed_process_bytes: Some(u64::MAX),
        },
        Verdict::Timeout { limit_seconds: 1, exit_code: None },
        Verdict::Timeout { limit_seconds: 1, exit_code: Some(137) },
        Verdict::Image { message: message() },
        Verdict::Setup { message: message() },
        Verdict::Disk { limit_bytes: 0, used_bytes: None, largest: Vec::new() },
        Verdict::Disk {
            limit_bytes: 0,
            used_bytes: Some(u64::MAX),
            largest: vec![StoredPart { path: message(), bytes: u64::MAX }, StoredPart { path: "/".into(), bytes: 0 }],
        },
        Verdict::WorkerLost { message: message() },
        Verdict::Cancelled,
        Verdict::Rejected { message: message() },
    ];
    let mut changes = vec![Change::NewTask(fixture::task_with(1, fixture::array(20)))];
    for (index, verdict) in (0..).zip(verdicts.clone()) {
        let attempt = fixture::ended(fixture::attempt(1, index, 1, "w1"));
        changes.push(Change::Result(fixture::result(1, index, verdict.clone())));
        changes.push(Change::Attempt(AttemptRecord { verdict: Some(verdict), ..attempt }));
    }
    commit(&*store, changes).await;
    for (index, verdict) in (0..).zip(verdicts) {
        let expected = fixture::result(1, index, verdict.clone());
        let attempts = store.list_attempts(expected.element).await.expect("attempts");
        assert_eq!(attempts.into_iter().map(|attempt| attempt.verdict).collect::<Vec<_>>(), [Some(verdict)]);
        assert_eq!(store.find_result(expected.element).await.expect("a look-up"), Some(expected));
    }
}

pub async fn odd_text_round_trips(factory: &dyn StoreFactory) {
    let store = factory.open().await;
    for (number, text) in (1..).zip(ODD) {
        let task = fixture::task_with(number, |task| {
            task.key = Some(fixture::key(text));
            let spec = Arc::make_mut(&mut task.spec);
            spec.name = Some(text.into());
            spec.command = Command::Argv(ODD.map(str::to_owned).to_vec());
            spec.env = BTreeMap::from([(text.into(), text.into())]);
            spec.labels = BTreeMap::from([(text.into(), text.into())]);
            spec.worker = Some(worker_id("w1"));
        });
        let mut result = fixture::result(number, 0, Verdict::Setup { message: text.into() });
        result.outcome.as_mut().expect("an outcome").output_notes = vec![text.into()];
        commit(&*store, vec![Change::NewTask(task.clone()), Change::Result(result.clone())]).await;
        let found = store.find_task(task.id).await.expect("a look-up").expect("the task");
        assert_eq!((&found.record, found.result), (&task, Some(result)), "{text:?}");
        let keys = vec![(task.user.clone(), text.into())];
        assert_eq!(store.find_keys(keys).await.expect("a look-up"), [Some(task)], "{text:?}");
    }
}

pub async fn odd_labels_are_found(factory: &dyn StoreFactory) {
    let store = factory.open().await;
    let labelled = |number, name: &str, value: &str| {
        let labels = BTreeMap::from([(name.to_owned(), value.to_owned())]);
        Change::NewTask(fixture::task_with(number, |task| Arc::make_mut(&mut task.spec).labels = labels))
    };
    let bare = fixture::task_with(1000, |task| Arc::make_mut(&mut task.spec).labels = BTreeMap::new());
    let mut changes = vec![Change::NewTask(bare)];
    for (number, text) in (1..).zip(ODD) {
        changes.extend([labelled(number, text, "1"), labelled(100 + number, "name", text)]);
    }
    commit(&*store, changes).await;
    for (number, text) in (1..).zip(ODD) {
        for (name, value, sequence) in [(text, "1", number), ("name", text, 100 + number)] {
            let labels = vec![(name.to_owned(), value.to_owned())];
            let (found, _) = store.list_tasks(TaskQuery { labels, ..TaskQuery::default() }).await.expect("a page");
            let found: Vec<u64> = found.iter().map(|task| task.record.sequence).collect();
            assert_eq!(found, [sequence], "{name:?}={value:?}");
        }
    }
}

pub async fn odd_wishes_round_trip(factory: &dyn StoreFactory) {
    let store = factory.open().await;
    let asking = |number, worker_labels: &WorkerSelector| {
        fixture::task_with(number, |task| Arc::make_mut(&mut task.spec).worker_labels = worker_labels.clone())
    };
    let mut tasks = vec![asking(100, &WorkerSelector::default())];
    for (number, text) in (1..).zip(ODD) {
        // Not every text can be a label.
        let wishes = [format!("a={text}"), format!("{text}!={text}"), text.to_owned()];
        let wishes: Vec<LabelWish> = wishes.iter().filter_map(|wish| wish.parse().ok()).collect();
        tasks.push(asking(number, &WorkerSelector::new(wishes).expect(text)));
    }
    commit(&*store, tasks.iter().cloned().map(Change::NewTask).collect()).await;
    for task in tasks {
        let found = store.find_task(task.id).await.expect("a look-up").expect("the task");
        assert_eq!(found.record, task);
    }
}

pub async fn file_paths_are_bytes(factory: &dyn StoreFactory) {
    let store = factory.open().await;
    let key = fixture::attempt(1, 0, 1, "w1").key;
    let paths: [&[u8]; 6] = [b"\x01\xff\xfe", b"a", "größe".as_bytes(), b"line\nline", b"z/../etc", b"\xc3\x28"];
    let files: Vec<_> = paths.iter().zip(1..).map(|(path, size)| fixture::file(path, size)).collect();
    commit(&*store, vec![Change::NewTask(fixture::task(1)), Change::Files(key, files.clone().into())]).await;
    let found = store.list_files(key.task, Elements::One(0), None, 99).await.expect("files");
    let mut expected = files;
    expected.sort_by(|a, b| a.path.cmp(&b.path));
    assert_eq!(found.into_iter().map(|stored| stored.file).collect::<Vec<_>>(), expected);
}

/// More of them than one page has room for.
pub async fn long_paths_are_listed_page_by_page_and_found_by_their_digests(factory: &dyn StoreFactory) {
    let store = factory.open().await;
    let key = fixture::attempt(1, 0, 1, "w1").key;
    let folders = [[b'\xff'; 250].as_slice(); 261].join(&b'/');
    let mut files = vec![fixture::file(b"a", 1)];
    files.extend((b'0'..b'0' + 70).map(|last| fixture::file(&[&folders[..], &[b'/', last]].concat(), u64::from(last))));
    commit(&*store, vec![Change::NewTask(fixture::task(1))]).await;
    for some in files.chunks(20) {
        commit(&*store, vec![Change::FilesAdded(key, some.into())]).await;
    }
    drop(store);
    let store = factory.open().await;
    let (element, attempt) = (key.element(), key.attempt);
    let expected: Vec<_> = files.iter().map(|file| StoredFile { element, attempt, file: file.clone() }).collect();
    let (mut listed, mut pages) = (Vec::new(), 0);
    loop {
        let after = listed.last().map(FilePlace::of);
        let page = store.list_files(key.task, Elements::All, after, 99).await.expect("a page");
        if page.is_empty() {
            break;
        }
        assert!(page.iter().map(|file| file.file.path.len()).sum::<usize>() < 5 << 20, "it has a bound");
        listed.extend(page);
        pages += 1;
    }
    assert!(listed == expected && pages == 2, "{} files in {pages} pages", listed.len());
    let mut query = FileQuery { user: fixture::task(1).user.clone(), after: None, limit: 99 };
    let mut listed = Vec::new();
    loop {
        let (page, next) = store.list_user_files(query.clone()).await.expect("a page");
        assert!(page.len() < 70 && !page.is_empty(), "{} files", page.len());
        listed.extend(page);
        query.after = next;
        if query.after.is_none() {
            break;
        }
    }
    assert!(listed == expected, "{} files", listed.len());
    for stored in expected.iter().step_by(35) {
        let path = &stored.file.path;
        let by_digest = FileName::Digest(*blake3::hash(path).as_bytes());
        let is_long = path.len() > 1;
        for run in [None, Some(attempt)] {
            let found = store.find_files(key.task, Elements::One(0), run, by_digest.clone()).await.expect("a look-up");
            assert!(found == [stored.clone()][..usize::from(is_long)], "{} found", found.len());
        }
        let by_path = FileName::Path(path.clone());
        let found = store.find_files(key.task, Elements::All, None, by_path).await.expect("a look-up");
        assert!(found == [stored.clone()]);
    }
}

pub async fn large_numbers_round_trip(factory: &dyn StoreFactory) {
    let store = factory.open().await;
    let task = fixture::task_with(1, |task| {
        fixture::array(u32::MAX)(task);
        let most = u64::MAX;
        Arc::make_mut(&mut task.spec).resources =
            Resources { cpu_millis: most, memory_bytes: most, storage_bytes: most, gpu_millis: most };
    });
    let mut attempt = fixture::attempt(1, u32::MAX, u32::MAX, "w1");
    attempt.key = AttemptKey { fence: Fence(u64::MAX), ..attempt.key };
    let file = fixture::file(b"huge", u64::MAX);
    let files = Change::Files(attempt.key, [file.clone()].into());
    commit(&*store, vec![Change::NewTask(task.clone()), Change::Attempt(attempt.clone()), files]).await;
    let snapshot = load(&*store).await.0;
    assert_eq!(snapshot.tasks, [(task, fixture::queued(u32::MAX))]);
    assert_eq!(snapshot.attempts, [attempt.clone()]);
    let found = store.list_files(attempt.key.task, Elements::One(u32::MAX), None, 99).await.expect("files");
    assert_eq!(found.into_iter().map(|stored| stored.file).collect::<Vec<_>>(), [file]);
}
