//! All that a store has of submissions comes out of it in pages, and makes the same store again.
#![allow(missing_docs, reason = "a check is named by what it checks")]

use std::collections::BTreeMap;
use std::sync::Arc;

use cloudaid_core::files::{GoneFile, Leftover};
use cloudaid_core::record::{Change, Progress};
use shared::ranges::RangeSet;
use shared::task::{Verdict, VerdictKind};
use shared::view::Tally;

use super::StoreFactory;
use super::fixture::{self, commit, load};
use crate::store::dump;
use crate::store::memory::MemoryStore;
use crate::store::{DumpCursor, Store};

pub async fn an_empty_store_dumps_nothing(factory: &dyn StoreFactory) {
    let store = factory.open().await;
    assert_eq!(store.dump_tasks(DumpCursor::default(), 10).await.expect("a page"), (Vec::new(), None));
}

/// Submissions of every kind, in the order of a dump.
#[must_use]
pub fn everything() -> Vec<Change> {
    let (plain, array, waits) = (fixture::task(1), fixture::task_with(3, array_of("2-8:2")), fixture::task(4));
    let spaced = fixture::task_with(9, array_of("30-35"));
    let (first, second) = (fixture::ended(fixture::attempt(1, 0, 1, "w1")), fixture::attempt(1, 0, 2, "w2"));
    let second = fixture::ended(second);
    let live = fixture::started(fixture::attempt(3, 4, 1, "w1"));
    let over = fixture::ended(fixture::attempt(3, 8, 1, "w1"));
    let other = fixture::ended(fixture::attempt(9, 31, 1, "w1"));
    let ended = BTreeMap::from([(VerdictKind::ExitCode, [8].into_iter().collect::<RangeSet>())]);
    let tally = Tally { queued: 2, running: 1, failed: 1, ..Tally::default() };
    let untouched = [2, 6].into_iter().collect();
    let progress = Progress { tally, untouched, ended, started_at: Some(fixture::time(5)), ..Progress::default() };
    let failed = || Verdict::ExitCode { exit_code: 3 };
    vec![
        Change::NewTask(plain.clone()),
        Change::Progress(plain.id, fixture::completed(1)),
        Change::Attempt(first.clone()),
        Change::Attempt(second.clone()),
        Change::Result(fixture::result(1, 0, Verdict::Success)),
        Change::Files(first.key, [fixture::file(b"a", 1), fixture::file(b"b", 2)].into()),
        Change::Files(second.key, [fixture::file(&[0xff, 1], 3), fixture::file(&[0xff, 2], 0)].into()),
        Change::NewTask(array.clone()),
        Change::Progress(array.id, progress),
        Change::Attempt(live),
        Change::Attempt(over.clone()),
        Change::Result(fixture::result(3, 8, failed())),
        Change::Files(over.key, [fixture::file(b"model.bin", 9)].into()),
        Change::NewTask(waits.clone()),
        Change::Progress(waits.id, fixture::queued(1)),
        Change::NewTask(spaced.clone()),
        Change::Progress(spaced.id, Progress::untouched(spaced.indices())),
        Change::Attempt(other),
        Change::Result(fixture::result(9, 31, failed())),
    ]
}

fn array_of(text: &str) -> impl FnOnce(&mut cloudaid_core::record::TaskRecord) {
    let array = Arc::new(text.parse().expect("an array"));
    move |task| task.array = Some(array)
}

/// All pages of this limit.
async fn pages(store: &dyn Store, limit: usize) -> Vec<Vec<Change>> {
    let (mut pages, mut from) = (Vec::new(), DumpCursor::default());
    loop {
        let (page, next) = store.dump_tasks(from, limit).await.expect("a page");
        pages.push(page);
        let Some(next) = next else { return pages };
        assert!(next > from, "{next:?} after {from:?}");
        from = next;
    }
}

async fn dumped(store: &dyn Store, limit: usize) -> Vec<Change> {
    pages(store, limit).await.concat()
}

pub async fn everything_is_dumped_in_order(factory: &dyn StoreFactory) {
    let store = factory.open().await;
    // Those without files, and files that are no more, are not dumped.
    let run = fixture::ended(fixture::attempt(4, 0, 1, "w1"));
    let gone = fixture::file(b"gone", 5);
    let forgotten = GoneFile {
        element: run.key.element(),
        attempt: 1,
        path: gone.path.clone(),
        size: gone.size,
        blob: gone.blob,
        shared: false,
    };
    let mut changes = everything();
    changes.push(Change::Files(run.key, [gone].into()));
    changes.push(Change::FilesGone([forgotten].into()));
    // The order in which they come does not matter.
    commit(&*store, changes[7..].to_vec()).await;
    commit(&*store, changes[..7].to_vec()).await;
    assert_eq!(dumped(&*store, 1000).await, everything());
}

pub async fn a_dump_makes_the_same_store(factory: &dyn StoreFactory) {
    let (store, copy) = (factory.open().await, MemoryStore::default());
    commit(&*store, everything()).await;
    for page in pages(&*store, 3).await {
        commit(&copy, page).await;
    }
    assert_eq!(dumped(&copy, 1000).await, everything());
    let (mut expected, mut found) = (load(&*store).await.0, load(&copy).await.0);
    assert_eq!(std::mem::take(&mut found.tasks), std::mem::take(&mut expected.tasks));
    assert_eq!(found, expected);
    assert_eq!(copy.count_ended().await.expect("counts"), store.count_ended().await.expect("counts"));
}

pub async fn pages_of_any_limit_come_to_the_same(factory: &dyn StoreFactory) {
    let store = factory.open().await;
    commit(&*store, everything()).await;
    for limit in [0, 1, 2, 3, 4, 5, 7, 11, 17, 18, 19, 20, usize::MAX] {
        let pages = pages(&*store, limit).await;
        assert_eq!(pages.concat(), everything(), "{limit}");
        assert!(pages.iter().all(|page| !page.is_empty()), "{limit}");
        // What belongs to one element is not divided: here 2 runs, a result, and 2 files of each run.
        let most = pages.iter().flatten().map(dump::rows).sum::<usize>().min(limit.saturating_add(9));
        assert!(pages.iter().all(|page| page.iter().map(dump::rows).sum::<usize>() <= most), "{limit}");
    }
}

pub async fn a_large_array_comes_in_pages(factory: &dyn StoreFactory) {
    const COUNT: u32 = 500;
    let store = factory.open().await;
    let array = fixture::task_with(1, fixture::array(COUNT));
    let mut changes = vec![Change::NewTask(array.clone()), Change::Progress(array.id, fixture::completed(COUNT))];
    for index in 0..COUNT {
        changes.push(Change::Attempt(fixture::ended(fixture::attempt(1, index, 1, "w1"))));
        changes.push(Change::Result(fixture::result(1, index, Verdict::Success)));
    }
    changes.push(Change::NewTask(fixture::task(2)));
    changes.push(Change::Progress(fixture::task_id(2), fixture::queued(1)));
    commit(&*store, changes.clone()).await;
    let pages = pages(&*store, 100).await;
    assert_eq!(pages.concat(), changes);
    assert!(pages.len() >= 10 && pages.iter().all(|page| page.len() <= 103), "{}", pages.len());
}

/// What is still kept of what is no more: no other change leaves the same.
pub async fn what_is_left_is_taken_over(factory: &dyn StoreFactory) {
    let store = factory.open().await;
    let run = fixture::attempt(1, 0, 1, "w1").key;
    let blob = fixture::file(b"a", 7).blob.expect("a blob");
    let left = [
        Leftover::Task(fixture::task_id(5)),
        Leftover::Input(fixture::input(1, "ada", 0).id),
        Leftover::Blob { element: run.element(), attempt: 1, blob, size: 7 },
    ];
    commit(&*store, left.map(Change::Left).into()).await;
    commit(&*store, left.map(Change::Left).into()).await;
    let mut found = load(&*store).await.0.unswept;
    found.sort();
    assert_eq!(found, left);
    commit(&*store, vec![Change::Left(left[0]), Change::Swept(left[0])]).await;
    commit(&*store, vec![Change::Swept(left[2])]).await;
    assert_eq!(load(&*store).await.0.unswept, [left[1]]);
}
