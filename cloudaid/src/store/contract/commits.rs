//! Commits are all or nothing, in order, and what was committed is loaded.
#![allow(missing_docs, reason = "a check is named by what it checks")]

use std::sync::Arc;

use cloudaid_core::admission::JoinTokenRecord;
use cloudaid_core::files::{FileUsage, Leftover};
use cloudaid_core::record::{Change, Snapshot, TaskRecord, Totals};
use shared::audit::Chain;
use shared::id::Elements;
use shared::role::Role;
use shared::task::{TaskSpec, Verdict};
use shared::view::TaskCounts;

use super::StoreFactory;
use super::fixture::{self, commit, load};
use crate::store::{CommitError, Position, TaskQuery};

pub async fn an_empty_store_loads_as_nothing(factory: &dyn StoreFactory) {
    let store = factory.open().await;
    assert_eq!(load(&*store).await.0, Snapshot::default());
    assert_eq!(store.count_ended().await.expect("counts"), TaskCounts::default());
}

/// Wrong passwords, kept or forgotten.
fn guess((name, place, failures): (&str, Option<&str>, u32), kept: bool) -> Change {
    let (key, count) = fixture::guesses(name, place, failures);
    Change::Guess(key, kept.then_some(count))
}

/// Whoever reads a submission after another name was given to it sees that one.
pub async fn a_spec_is_replaced(factory: &dyn StoreFactory) {
    let store = factory.open().await;
    let task = fixture::task_with(1, |task| task.key = Some(fixture::key("k")));
    let spec = Arc::new(TaskSpec { name: Some("another".into()), ..(*task.spec).clone() });
    // In one commit and in two.
    commit(&*store, vec![Change::Spec(task.id, spec.clone()), Change::NewTask(task.clone())]).await;
    let found = store.find_task(task.id).await.expect("a look-up").expect("the task");
    assert_eq!(*found.record, TaskRecord { spec: spec.clone(), ..(*task).clone() });
    commit(&*store, vec![Change::Spec(task.id, task.spec.clone())]).await;
    assert_eq!(load(&*store).await.0.tasks[0].0, task);
}

/// A submission that is deleted is nowhere, but what it counted for counts on, and its bytes are still to go.
pub async fn what_is_deleted_is_nowhere(factory: &dyn StoreFactory) {
    let store = factory.open().await;
    let task = fixture::task_with(1, |task| task.key = Some(fixture::key("k")));
    let (run, other) = (fixture::ended(fixture::attempt(1, 0, 1, "w1")), fixture::task(2));
    let changes = vec![
        Change::NewTask(task.clone()),
        Change::NewTask(other.clone()),
        Change::Progress(task.id, fixture::completed(1)),
        Change::Attempt(run.clone()),
        Change::Result(fixture::result(1, 0, Verdict::Success)),
        Change::Files(run.key, [fixture::file(b"b", 2)].into()),
    ];
    commit(&*store, changes).await;
    let counts = store.count_ended().await.expect("counts");
    commit(&*store, vec![Change::Gone(task.id)]).await;
    assert_eq!(store.find_task(task.id).await.expect("a look-up"), None);
    assert_eq!(store.find_keys(vec![(task.user.clone(), "k".into())]).await.expect("a look-up"), [None]);
    assert_eq!(store.list_files(task.id, Elements::All, None, 99).await.expect("files"), []);
    let listed = store.list_tasks(TaskQuery::default()).await.expect("a page").0;
    assert_eq!(listed.into_iter().map(|task| task.record).collect::<Vec<_>>(), [other]);
    assert_eq!(store.count_ended().await.expect("counts"), counts, "over the whole life of the cluster");
    let (snapshot, _) = load(&*store).await;
    assert_eq!((snapshot.unswept, snapshot.last_sequence), (vec![Leftover::Task(task.id)], 2));
    // Twice is as once, also when it comes after its bytes have gone.
    commit(&*store, vec![Change::Swept(Leftover::Task(task.id))]).await;
    commit(&*store, vec![Change::Gone(task.id)]).await;
    assert_eq!(load(&*store).await.0.unswept, []);
    // The key is free again.
    let next = fixture::task_with(3, |task| task.key = Some(fixture::key("k")));
    commit(&*store, vec![Change::NewTask(next)]).await;
}

/// Changes of every kind, and the snapshot that they make.
fn everything() -> (Vec<Change>, Snapshot) {
    let array = fixture::task_with(2, fixture::array(5));
    let (plain, progress) = (fixture::task(1), fixture::running(1));
    let attempts = [fixture::started(fixture::attempt(1, 0, 1, "w1")), fixture::attempt(2, 4, 2, "w2")];
    let input = fixture::input(1, "ada", 1);
    let changes = vec![
        Change::Cluster(fixture::cluster(1)),
        Change::User(fixture::user("ada", Role::Admin)),
        Change::User(fixture::user("bob", Role::User)),
        Change::User(fixture::user("cas", Role::ReadOnly)),
        Change::Token(fixture::token(1, "ada").id, Some(fixture::token(1, "ada"))),
        Change::Token(fixture::token(2, "bob").id, Some(fixture::token(2, "bob"))),
        Change::Token(fixture::token(3, "bob").id, Some(fixture::token(3, "bob"))),
        Change::Token(fixture::token(3, "bob").id, None),
        Change::Audit(fixture::audit(1)),
        Change::Audit(fixture::audit(2)),
        Change::Login(fixture::login(1, "ada").id, Some(fixture::login(1, "ada"))),
        Change::Login(fixture::login(2, "bob").id, Some(fixture::login(2, "bob"))),
        Change::Login(fixture::login(3, "bob").id, Some(fixture::login(3, "bob"))),
        Change::Login(fixture::login(4, "bob").id, Some(fixture::login(4, "bob"))),
        Change::Login(fixture::login(4, "bob").id, None),
        guess(("ada", None, 2), true),
        guess(("ada", Some("10.0.0.7"), 5), true),
        guess(("nobody", None, 9), true),
        guess(("nobody", None, 9), false),
        Change::Worker(fixture::worker_id("w1"), Some(fixture::worker("w1", 1))),
        Change::Worker(fixture::worker_id("w2"), Some(fixture::worker("w2", 1))),
        Change::Worker(fixture::worker_id("w2"), None),
        Change::JoinToken(fixture::join_token(1).id, Some(fixture::join_token(1))),
        Change::JoinToken(fixture::join_token(2).id, Some(fixture::join_token(2))),
        Change::JoinToken(fixture::join_token(2).id, None),
        Change::Registry(fixture::registry("a.io", 1).registry, Some(fixture::registry("a.io", 1))),
        Change::Registry(fixture::registry("b.io", 1).registry, Some(fixture::registry("b.io", 1))),
        Change::Registry(fixture::registry("b.io", 1).registry, None),
        Change::Pending(fixture::worker_id("w3"), Some(fixture::pending("w3"))),
        Change::Pending(fixture::worker_id("w4"), Some(fixture::pending("w4"))),
        Change::NewTask(fixture::task(3)),
        Change::Progress(fixture::task_id(3), fixture::completed(1)),
        Change::Gone(fixture::task_id(3)),
        Change::NewTask(plain.clone()),
        Change::Progress(plain.id, progress.clone()),
        Change::NewTask(array.clone()),
        Change::Attempt(attempts[0].clone()),
        Change::Attempt(attempts[1].clone()),
        Change::Result(fixture::result(2, 3, Verdict::Success)),
        Change::Files(attempts[0].key, [fixture::file(b"model.bin", 9)].into()),
        Change::FileUsage(fixture::user_name("ada"), FileUsage { bytes: 1, files: 1 }),
        Change::FileUsage(fixture::user_name("ada"), FileUsage { bytes: 13, files: 3 }),
        Change::Input(fixture::input(1, "ada", 2)),
        Change::InputFiles(input.id, [fixture::input_file(b"a", 1, false), fixture::input_file(b"b", 3, true)].into()),
        Change::Input(input.clone()),
    ];
    let mut attempts = attempts.to_vec();
    attempts.sort_by_key(|attempt| attempt.key);
    let snapshot = Snapshot {
        cluster: Some(fixture::cluster(1)),
        last_sequence: 3,
        tokens: vec![fixture::token(1, "ada"), fixture::token(2, "bob")],
        audit: Chain { sequence: 2, seal: fixture::audit(2).seal },
        unswept: vec![Leftover::Task(fixture::task_id(3))],
        logins: vec![fixture::login(1, "ada"), fixture::login(2, "bob"), fixture::login(3, "bob")],
        guesses: vec![fixture::guesses("ada", None, 2), fixture::guesses("ada", Some("10.0.0.7"), 5)],
        users: vec![
            fixture::user("ada", Role::Admin),
            fixture::user("bob", Role::User),
            fixture::user("cas", Role::ReadOnly),
        ],
        missing: vec![(input.id, fixture::input_file(b"a", 1, false).blob)],
        inputs: vec![input],
        file_usage: vec![(fixture::user_name("ada"), FileUsage { bytes: 13, files: 3 })],
        workers: vec![fixture::worker("w1", 1)],
        join_tokens: vec![fixture::join_token(1)],
        pending: vec![fixture::pending("w3"), fixture::pending("w4")],
        registries: vec![fixture::registry("a.io", 1)],
        tasks: vec![(plain, progress), (array, fixture::queued(5))],
        attempts,
    };
    (changes, snapshot)
}

pub async fn what_was_committed_is_loaded(factory: &dyn StoreFactory) {
    let store = factory.open().await;
    let (changes, snapshot) = everything();
    let position = commit(&*store, changes).await;
    assert_eq!(load(&*store).await, (snapshot, position));
}

pub async fn what_has_ended_is_not_loaded(factory: &dyn StoreFactory) {
    let store = factory.open().await;
    let (first, second) = (fixture::attempt(1, 0, 1, "w1"), fixture::attempt(2, 0, 1, "w1"));
    let new = [1, 2, 3].map(|number| Change::NewTask(fixture::task(number)));
    let placed = [Change::Attempt(first.clone()), Change::Attempt(second.clone())];
    commit(&*store, [new.to_vec(), placed.to_vec()].concat()).await;
    let end = vec![
        Change::Attempt(fixture::ended(first)),
        Change::Progress(fixture::task_id(1), fixture::completed(1)),
        Change::Progress(fixture::task_id(3), fixture::completed(1)),
    ];
    commit(&*store, end).await;
    let snapshot = load(&*store).await.0;
    assert_eq!(snapshot.tasks, [(fixture::task(2), fixture::queued(1))]);
    assert_eq!(snapshot.attempts, [second]);
    assert_eq!(snapshot.last_sequence, 3, "the sequence of what has ended is not given again");
}

pub async fn a_commit_at_another_position_keeps_nothing(factory: &dyn StoreFactory) {
    let store = factory.open().await;
    let position = commit(&*store, vec![Change::NewTask(fixture::task(1))]).await;
    let before = load(&*store).await;
    for wrong in [Position(position.0 - 1), Position(position.0 + 1)] {
        match store.commit(everything().0, wrong).await {
            Err(CommitError::Fenced { expected, found }) => assert_eq!((expected, found), (wrong, position)),
            other => panic!("not fenced: {other:?}"),
        }
    }
    assert_eq!(load(&*store).await, before);
    assert_eq!(store.find_result(fixture::result(2, 3, Verdict::Success).element).await.expect("a look-up"), None);
    assert_eq!(store.count_ended().await.expect("counts"), TaskCounts::default());
    store.commit(everything().0, position).await.expect("a commit at the right position");
}

pub async fn a_commit_behind_another_handle_is_fenced(factory: &dyn StoreFactory) {
    let old = factory.open().await;
    let position = commit(&*old, vec![Change::NewTask(fixture::task(1))]).await;
    let new = factory.open_beside().await;
    assert_eq!(load(&*new).await.1, position);
    let ahead = new.commit(vec![Change::Cluster(fixture::cluster(2))], position).await.expect("the first to write");
    let behind = old.commit(vec![Change::Progress(fixture::task_id(1), fixture::running(1))], position).await;
    assert!(matches!(behind, Err(CommitError::Fenced { found, .. }) if found == ahead), "{behind:?}");
    let (snapshot, position) = load(&*new).await;
    assert_eq!((snapshot.cluster, position), (Some(fixture::cluster(2)), ahead));
    assert_eq!(snapshot.tasks, [(fixture::task(1), fixture::queued(1))]);
}

pub async fn an_empty_commit_counts(factory: &dyn StoreFactory) {
    let store = factory.open().await;
    let (_, position) = load(&*store).await;
    let next = store.commit(Vec::new(), position).await.expect("an empty commit");
    assert_eq!(next, Position(position.0 + 1));
    assert!(matches!(store.commit(Vec::new(), position).await, Err(CommitError::Fenced { .. })));
}

pub async fn everything_survives_reopening(factory: &dyn StoreFactory) {
    let store = factory.open().await;
    let (changes, snapshot) = everything();
    commit(&*store, changes).await;
    let position = commit(&*store, Vec::new()).await;
    drop(store);
    let store = factory.open().await;
    assert_eq!(load(&*store).await, (snapshot, position));
    assert_eq!(store.list_files(fixture::task_id(1), Elements::All, None, 99).await.expect("files").len(), 1);
    assert_eq!(store.count_ended().await.expect("counts").completed, 1);
    store.commit(Vec::new(), position).await.expect("a commit that goes on");
}

pub async fn the_same_changes_twice_are_as_once(factory: &dyn StoreFactory) {
    let store = factory.open().await;
    let (changes, snapshot) = everything();
    commit(&*store, changes.clone()).await;
    commit(&*store, changes).await;
    assert_eq!(load(&*store).await.0, snapshot);
    assert_eq!(store.count_ended().await.expect("counts").completed, 1);
    assert_eq!(store.list_files(fixture::task_id(1), Elements::All, None, 99).await.expect("files").len(), 1);
}

pub async fn a_repeated_submission_keeps_its_progress(factory: &dyn StoreFactory) {
    let store = factory.open().await;
    let task = fixture::task_with(1, |task| task.key = Some(fixture::key("k")));
    commit(&*store, vec![Change::NewTask(task.clone())]).await;
    commit(&*store, vec![Change::Progress(task.id, fixture::running(1))]).await;
    commit(&*store, vec![Change::NewTask(task.clone())]).await;
    assert_eq!(load(&*store).await.0.tasks, [(task.clone(), fixture::running(1))]);
    commit(&*store, vec![Change::NewTask(task.clone()), Change::Progress(task.id, fixture::queued(1))]).await;
    assert_eq!(load(&*store).await.0.tasks, [(task, fixture::queued(1))]);
}

pub async fn the_last_change_of_a_part_wins(factory: &dyn StoreFactory) {
    let store = factory.open().await;
    let (task, attempt) = (fixture::task(1), fixture::attempt(1, 0, 1, "w1"));
    commit(&*store, vec![Change::NewTask(task.clone())]).await;
    let changes = vec![
        Change::Progress(task.id, fixture::queued(1)),
        Change::Attempt(attempt.clone()),
        Change::Worker(fixture::worker_id("w1"), Some(fixture::worker("w1", 1))),
        Change::User(fixture::user("ada", Role::User)),
        Change::Cluster(fixture::cluster(1)),
        Change::Files(attempt.key, [fixture::file(b"a", 1)].into()),
        Change::Progress(task.id, fixture::running(1)),
        Change::Attempt(fixture::started(attempt.clone())),
        Change::Worker(fixture::worker_id("w1"), Some(fixture::worker("w1", 2))),
        Change::User(fixture::user("ada", Role::Admin)),
        Change::Cluster(fixture::cluster(2)),
        Change::Files(attempt.key, [fixture::file(b"b", 2)].into()),
    ];
    commit(&*store, changes).await;
    let expected = Snapshot {
        cluster: Some(fixture::cluster(2)),
        last_sequence: 1,
        users: vec![fixture::user("ada", Role::Admin)],
        workers: vec![fixture::worker("w1", 2)],
        tasks: vec![(task.clone(), fixture::running(1))],
        attempts: vec![fixture::started(attempt)],
        ..Snapshot::default()
    };
    assert_eq!(load(&*store).await.0, expected);
    let files = store.list_files(task.id, Elements::All, None, 99).await.expect("files");
    assert_eq!(files.into_iter().map(|file| file.file).collect::<Vec<_>>(), [fixture::file(b"b", 2)]);
}

/// A copy counts as its source does, also what is no more.
pub async fn totals_are_taken_over(factory: &dyn StoreFactory) {
    let store = factory.open().await;
    let ended = TaskCounts { completed: 7, failed: 2, cancelled: 1, ..TaskCounts::default() };
    let changes = vec![
        Change::NewTask(fixture::task(1)),
        Change::Result(fixture::result(1, 0, Verdict::Success)),
        Change::Totals(Totals { last_sequence: 40, ended }),
    ];
    commit(&*store, changes).await;
    assert_eq!(store.count_ended().await.expect("counts"), ended);
    assert_eq!(load(&*store).await.0.last_sequence, 40);
    commit(&*store, vec![Change::Result(fixture::result(1, 1, Verdict::Success)), Change::Gone(fixture::task_id(1))])
        .await;
    let later = TaskCounts { completed: 8, ..ended };
    assert_eq!(store.count_ended().await.expect("counts"), later);
}

pub async fn records_are_replaced(factory: &dyn StoreFactory) {
    let store = factory.open().await;
    let (changes, mut snapshot) = everything();
    commit(&*store, changes).await;
    // Every field of the run changes, the worker too.
    let mut attempt = fixture::started(fixture::attempt(1, 0, 1, "w9"));
    attempt.key.fence.0 += 1;
    attempt.infrastructure_failures = 7;
    attempt.placed_at = fixture::time(70);
    let used = JoinTokenRecord { uses_left: 0, ..fixture::join_token(1) };
    let changes = vec![
        Change::Cluster(fixture::cluster(2)),
        Change::User(fixture::user("bob", Role::Admin)),
        Change::Worker(fixture::worker_id("w1"), Some(fixture::worker("w1", 5))),
        Change::JoinToken(used.id, Some(used.clone())),
        Change::Pending(fixture::worker_id("w4"), None),
        Change::Registry(fixture::registry("a.io", 2).registry, Some(fixture::registry("a.io", 2))),
        Change::Attempt(attempt.clone()),
        Change::Result(fixture::result(2, 3, Verdict::Cancelled)),
    ];
    commit(&*store, changes).await;
    snapshot.cluster = Some(fixture::cluster(2));
    snapshot.users[1] = fixture::user("bob", Role::Admin);
    snapshot.workers[0] = fixture::worker("w1", 5);
    snapshot.join_tokens[0] = used;
    snapshot.pending.pop();
    snapshot.registries[0] = fixture::registry("a.io", 2);
    snapshot.attempts.iter_mut().filter(|old| old.key.task == attempt.key.task).for_each(|old| *old = attempt.clone());
    assert_eq!(load(&*store).await.0, snapshot);
    let counts = store.count_ended().await.expect("counts");
    assert_eq!(counts, TaskCounts { cancelled: 1, ..TaskCounts::default() });
}

pub async fn a_change_of_an_unknown_task_keeps_nothing(factory: &dyn StoreFactory) {
    let unknown =
        [Change::Progress(fixture::task_id(9), fixture::running(1)), Change::Attempt(fixture::attempt(9, 0, 1, "w1"))];
    for change in unknown {
        refused(factory, vec![Change::NewTask(fixture::task(1)), change]).await;
    }
}

pub async fn two_tasks_with_one_key_keep_nothing(factory: &dyn StoreFactory) {
    let task = |number| Change::NewTask(fixture::task_with(number, |task| task.key = Some(fixture::key("k"))));
    let store = factory.open().await;
    commit(&*store, vec![task(8)]).await;
    drop(store);
    refused(factory, vec![Change::NewTask(fixture::task(9)), task(10)]).await;
}

/// A master that knows other tasks than the store does must stop; nothing of its commit is kept.
async fn refused(factory: &dyn StoreFactory, changes: Vec<Change>) {
    let store = factory.open().await;
    let before = load(&*store).await;
    let outcome = store.commit(changes, before.1).await;
    assert!(matches!(outcome, Err(CommitError::Fatal(_))), "{outcome:?}");
    drop(store);
    assert_eq!(load(&*factory.open().await).await, before);
}
