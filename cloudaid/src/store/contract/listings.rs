//! Submissions are listed newest first, filtered and in pages.
#![allow(missing_docs, reason = "a check is named by what it checks")]

use std::collections::BTreeMap;
use std::sync::Arc;

use cloudaid_core::record::Change;
use shared::task::{TaskState, Verdict};
use shared::view::TaskCounts;

use super::StoreFactory;
use super::fixture::{self, commit, user_name, worker_id};
use crate::store::{AuditPage, AuditQuery, FileQuery, Store, StoredTask, TaskQuery};

/// The sequences of the submissions that `query` finds, all pages together.
async fn list(store: &dyn Store, mut query: TaskQuery) -> Vec<u64> {
    let mut found = Vec::new();
    loop {
        let (page, next) = store.list_tasks(query.clone()).await.expect("a page");
        assert!(page.len() <= query.limit, "a page of {}", page.len());
        assert!(next.is_none() || page.len() == query.limit, "a short page in the middle");
        found.extend(page.iter().map(|task| task.record.sequence));
        match next {
            Some(cursor) => query.after = Some(cursor),
            None => return found,
        }
    }
}

/// Ten submissions that differ in everything that can be asked for.
async fn fill(store: &dyn Store) {
    for number in 1..=10u64 {
        let task = fixture::task_with(number, |task| {
            task.user = user_name(if number % 2 == 0 { "bob" } else { "ada" });
            // The clock was set back between 5 and 6.
            task.submitted_at = fixture::time(if number < 6 { number } else { number - 5 });
            let labels = [("third".to_owned(), (number % 3).to_string()), ("all".to_owned(), "yes".to_owned())];
            Arc::make_mut(&mut task.spec).labels = BTreeMap::from(labels);
        });
        let progress = match number {
            1..=3 => fixture::completed(1),
            4..=6 => fixture::running(1),
            _ => fixture::queued(1),
        };
        let mut changes = vec![Change::Progress(task.id, progress), Change::NewTask(task)];
        if number <= 6 {
            let worker = if number % 2 == 0 { "even" } else { "odd" };
            changes.push(Change::Attempt(fixture::attempt(number, 0, 1, worker)));
        }
        commit(store, changes).await;
    }
}

pub async fn tasks_are_listed_newest_first(factory: &dyn StoreFactory) {
    let store = factory.open().await;
    assert_eq!(list(&*store, TaskQuery::default()).await, [0; 0]);
    fill(&*store).await;
    assert_eq!(list(&*store, TaskQuery::default()).await, [10, 9, 8, 7, 6, 5, 4, 3, 2, 1]);
}

pub async fn pages_neither_skip_nor_repeat(factory: &dyn StoreFactory) {
    let store = factory.open().await;
    fill(&*store).await;
    for limit in 1..=11 {
        let all = list(&*store, TaskQuery { limit, ..TaskQuery::default() }).await;
        assert_eq!(all, [10, 9, 8, 7, 6, 5, 4, 3, 2, 1], "pages of {limit}");
        let some = list(&*store, TaskQuery { limit, worker: Some(worker_id("odd")), ..TaskQuery::default() }).await;
        assert_eq!(some, [5, 3, 1], "pages of {limit}");
    }
    let (page, next) = store.list_tasks(TaskQuery { limit: 4, ..TaskQuery::default() }).await.expect("a page");
    assert_eq!(page.len(), 4);
    commit(&*store, vec![Change::NewTask(fixture::task(11))]).await;
    let rest = list(&*store, TaskQuery { limit: 4, after: next, ..TaskQuery::default() }).await;
    assert_eq!(rest, [6, 5, 4, 3, 2, 1], "what is new meanwhile moves nothing");
}

pub async fn limits_are_kept_within_bounds(factory: &dyn StoreFactory) {
    let store = factory.open().await;
    let tasks = (1..=1001).map(|number| Change::NewTask(fixture::task(number)));
    commit(&*store, tasks.collect()).await;
    for (limit, expected) in [(0, 1), (1000, 1000), (usize::MAX, 1000)] {
        let (page, next) = store.list_tasks(TaskQuery { limit, ..TaskQuery::default() }).await.expect("a page");
        assert_eq!((page.len(), next.is_some()), (expected, true), "limit {limit}");
    }
}

pub async fn each_filter_filters(factory: &dyn StoreFactory) {
    let store = factory.open().await;
    fill(&*store).await;
    let state = |state| TaskQuery { state: Some(state), ..TaskQuery::default() };
    let user = |name| TaskQuery { user: Some(user_name(name)), ..TaskQuery::default() };
    let worker = |name| TaskQuery { worker: Some(worker_id(name)), ..TaskQuery::default() };
    let since = |seconds| TaskQuery { since: Some(fixture::time(seconds)), ..TaskQuery::default() };
    let until = |seconds| TaskQuery { until: Some(fixture::time(seconds)), ..TaskQuery::default() };
    let labels = |labels: &[(&str, &str)]| {
        let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        TaskQuery { labels, ..TaskQuery::default() }
    };
    let cases = [
        (state(TaskState::Completed), vec![3, 2, 1]),
        (state(TaskState::Running), vec![6, 5, 4]),
        (state(TaskState::Queued), vec![10, 9, 8, 7]),
        (state(TaskState::Failed), vec![]),
        (user("bob"), vec![10, 8, 6, 4, 2]),
        (user("eve"), vec![]),
        (worker("even"), vec![6, 4, 2]),
        (worker("none"), vec![]),
        (since(4), vec![10, 9, 5, 4]),
        (since(6), vec![]),
        (until(4), vec![8, 7, 6, 3, 2, 1]),
        (TaskQuery { since: Some(fixture::time(2)), ..until(4) }, vec![8, 7, 3, 2]),
        (labels(&[("third", "0")]), vec![9, 6, 3]),
        (labels(&[("third", "1"), ("all", "yes")]), vec![10, 7, 4, 1]),
        (labels(&[("third", "1"), ("third", "2")]), vec![]),
        (labels(&[("other", "1")]), vec![]),
    ];
    for (query, expected) in cases {
        for limit in [1, 2, 100] {
            let query = TaskQuery { limit, ..query.clone() };
            assert_eq!(list(&*store, query.clone()).await, expected, "{query:?}");
        }
    }
}

pub async fn tasks_are_counted_by_state(factory: &dyn StoreFactory) {
    let store = factory.open().await;
    fill(&*store).await;
    let count = async |query| store.count_tasks(query).await.expect("counts");
    let all = TaskCounts { completed: 3, running: 3, queued: 4, ..TaskCounts::default() };
    assert_eq!(count(TaskQuery { limit: 1, ..TaskQuery::default() }).await, all, "the page does not matter");
    let of_bob = TaskQuery { user: Some(user_name("bob")), ..TaskQuery::default() };
    assert_eq!(count(of_bob).await, TaskCounts { completed: 1, running: 2, queued: 2, ..TaskCounts::default() });
    // Each once, however often it ran there.
    let even = TaskQuery { worker: Some(worker_id("even")), ..TaskQuery::default() };
    assert_eq!(count(even).await, TaskCounts { completed: 1, running: 2, ..TaskCounts::default() });
    let labelled = TaskQuery { labels: vec![("third".into(), "0".into())], ..TaskQuery::default() };
    assert_eq!(count(labelled).await, TaskCounts { completed: 1, running: 1, queued: 1, ..TaskCounts::default() });
}

pub async fn the_audit_log_is_listed_both_ways(factory: &dyn StoreFactory) {
    let store = factory.open().await;
    let all: Vec<_> = (1..=7).map(fixture::audit).collect();
    commit(&*store, all.iter().cloned().map(Change::Audit).collect()).await;
    // A commit that is repeated adds nothing.
    commit(&*store, all.iter().cloned().map(Change::Audit).collect()).await;
    let list = async |page, user: Option<&str>, since: Option<u64>, limit| {
        let (user, since) = (user.map(user_name), since.map(fixture::time));
        store.list_audit(AuditQuery { page, user, since, limit }).await.expect("entries")
    };
    assert_eq!(list(AuditPage::After(0), None, None, 100).await, (all, None));
    let numbers = async |page, user, since, limit| -> Vec<u64> {
        list(page, user, since, limit).await.0.iter().map(|entry| entry.sequence).collect()
    };
    assert_eq!(numbers(AuditPage::After(5), None, None, 100).await, [6, 7]);
    assert_eq!(numbers(AuditPage::After(u64::MAX), None, None, 100).await, [0; 0]);
    assert_eq!(numbers(AuditPage::Before(None), None, None, 2).await, [7, 6]);
    assert_eq!(numbers(AuditPage::Before(Some(6)), Some("ada"), None, 2).await, [5, 3]);
    assert_eq!(numbers(AuditPage::Before(None), Some("ada"), Some(4), 100).await, [7, 5]);
    for (page, limit, next) in [
        (AuditPage::Before(None), 6, Some(2)),
        (AuditPage::Before(None), 7, None),
        (AuditPage::After(0), 6, Some(6)),
        (AuditPage::After(1), 6, None),
    ] {
        assert_eq!(list(page, None, None, limit).await.1, next, "{page:?} {limit}");
    }
}

pub async fn filters_hold_together(factory: &dyn StoreFactory) {
    let store = factory.open().await;
    fill(&*store).await;
    let query = TaskQuery {
        state: Some(TaskState::Running),
        user: Some(user_name("bob")),
        labels: vec![("third".into(), "1".into())],
        worker: Some(worker_id("even")),
        since: Some(fixture::time(4)),
        ..TaskQuery::default()
    };
    assert_eq!(list(&*store, query.clone()).await, [4]);
    assert_eq!(list(&*store, TaskQuery { user: Some(user_name("ada")), ..query }).await, [0; 0]);
}

pub async fn a_worker_is_found_by_any_run(factory: &dyn StoreFactory) {
    let store = factory.open().await;
    let tasks = (1..=3).map(|number| Change::NewTask(fixture::task_with(number, fixture::array(9))));
    let runs = [(1, 0, 1, "w1"), (1, 0, 2, "w2"), (2, 8, 1, "w2"), (3, 0, 1, "w1"), (3, 1, 1, "w1"), (3, 2, 1, "w1")];
    let runs = runs.map(|(task, index, attempt, worker)| {
        Change::Attempt(fixture::ended(fixture::attempt(task, index, attempt, worker)))
    });
    commit(&*store, tasks.chain(runs).collect()).await;
    for (worker, expected) in [("w1", [3, 1]), ("w2", [2, 1])] {
        for limit in [1, 2, 3] {
            let query = TaskQuery { worker: Some(worker_id(worker)), limit, ..TaskQuery::default() };
            assert_eq!(list(&*store, query).await, expected, "{worker}, pages of {limit}");
        }
    }
}

pub async fn plain_tasks_come_with_run_and_result(factory: &dyn StoreFactory) {
    let store = factory.open().await;
    let run = |task, index| fixture::ended(fixture::attempt(task, index, 2, "w1"));
    let (result, array) = (fixture::result(2, 0, Verdict::Success), fixture::task_with(3, fixture::array(2)));
    let changes = vec![
        Change::NewTask(fixture::task(1)),
        Change::NewTask(fixture::task(2)),
        Change::NewTask(array.clone()),
        Change::Attempt(fixture::ended(fixture::attempt(2, 0, 1, "w0"))),
        Change::Attempt(run(2, 0)),
        Change::Attempt(run(3, 0)),
        Change::Result(result.clone()),
        Change::Result(fixture::result(3, 0, Verdict::Success)),
    ];
    commit(&*store, changes).await;
    let stored = |record, count, last_attempt, result| StoredTask {
        record,
        progress: fixture::queued(count),
        last_attempt,
        result,
    };
    let expected = [
        stored(array, 2, None, None),
        stored(fixture::task(2), 1, Some(run(2, 0)), Some(result)),
        stored(fixture::task(1), 1, None, None),
    ];
    assert_eq!(store.list_tasks(TaskQuery::default()).await.expect("a page").0, expected);
}

pub async fn files_of_a_user_come_in_pages(factory: &dyn StoreFactory) {
    let store = factory.open().await;
    let key = |task, index, attempt| fixture::attempt(task, index, attempt, "w1").key;
    let files = |paths: &[&[u8]]| paths.iter().map(|path| fixture::file(path, 1)).collect::<Arc<[_]>>();
    let of = |number, user: &str| {
        let task = fixture::task_with(number, |task| {
            task.user = user_name(user);
            fixture::array(3)(task);
        });
        Change::NewTask(task)
    };
    let changes = vec![
        of(1, "ada"),
        of(2, "bob"),
        of(3, "ada"),
        of(4, "ada"),
        Change::Files(key(1, 0, 1), files(&[b"a", b"b"])),
        Change::Files(key(1, 0, 2), files(&[b"a"])),
        Change::Files(key(1, 2, 1), files(&[b"x\xff", b"x/y"])),
        Change::Files(key(2, 0, 1), files(&[b"of bob"])),
        Change::Files(key(4, 1, 1), files(&[b"new"])),
    ];
    commit(&*store, changes).await;
    let expected = [(4, 1, 1, &b"new"[..]), (1, 0, 2, b"a"), (1, 2, 1, b"x/y"), (1, 2, 1, b"x\xff")];
    for limit in 1..=5 {
        let mut query = FileQuery { user: user_name("ada"), after: None, limit };
        let mut found = Vec::new();
        loop {
            let (page, next) = store.list_user_files(query.clone()).await.expect("a page");
            assert!(page.len() == limit || next.is_none(), "a short page in the middle");
            found.extend(page);
            // As it goes to a client and comes back.
            let Some(cursor) = next else { break };
            query.after = Some(cursor);
        }
        let found: Vec<_> = found
            .iter()
            .map(|file| (file.element.task, file.element.index, file.attempt, file.file.path.as_slice()))
            .collect();
        assert_eq!(found, expected.map(|(task, index, attempt, path)| (fixture::task_id(task), index, attempt, path)));
    }
}
