//! The contract, and what only a store in a directory must do.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use cloudaid_core::record::Change;

use super::*;
use crate::store::contract::{StoreFactory, fixture};

struct SqliteFactory(tempfile::TempDir);

#[async_trait]
impl StoreFactory for SqliteFactory {
    async fn open(&self) -> Arc<dyn Store> {
        Arc::new(SqliteStore::open(self.0.path()).expect("a store"))
    }

    async fn open_beside(&self) -> Arc<dyn Store> {
        Arc::new(SqliteStore::start(self.0.path(), None).expect("a second handle"))
    }
}

crate::store_contract!(SqliteFactory(tempfile::tempdir().expect("a directory")));

#[tokio::test]
async fn a_directory_has_one_store() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = SqliteStore::open(dir.path()).expect("a store");
    let error = SqliteStore::open(dir.path()).expect_err("a second store").to_string();
    assert!(error.contains(&std::process::id().to_string()), "{error}");
    drop(store);
    SqliteStore::open(dir.path()).expect("the next store");
}

#[tokio::test]
async fn files_are_for_their_owner_only() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = SqliteStore::open(dir.path()).expect("a store");
    fixture::commit(&store, vec![Change::NewTask(fixture::task(1))]).await;
    let files: Vec<_> = fs::read_dir(dir.path()).expect("the directory").map(|entry| entry.expect("a file")).collect();
    assert!(files.iter().any(|file| file.file_name() == "cloudai.db-wal"), "{files:?}");
    for file in files {
        let mode = file.metadata().expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file:?}");
    }
}

#[tokio::test]
async fn a_newer_store_is_not_touched() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join(connection::FILE);
    drop(SqliteStore::open(dir.path()).expect("a store"));
    let file = rusqlite::Connection::open(&path).expect("the file");
    file.pragma_update(None, "user_version", 1000).expect("a version");
    drop(file);
    let before = fs::read(&path).expect("the file");
    let error = SqliteStore::open(dir.path()).expect_err("a refusal");
    assert!(matches!(error, StoreError::TooNew { found: 1000, known: 17 }), "{error}");
    assert_eq!(fs::read(&path).expect("the file"), before);
}

#[tokio::test]
async fn what_is_not_a_database_is_not_touched() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join(connection::FILE);
    let junk = b"not a database at all, but not empty either; ".repeat(200);
    fs::write(&path, &junk).expect("a file");
    let error = SqliteStore::open(dir.path()).expect_err("a refusal");
    assert!(matches!(&error, StoreError::Corrupt(what) if what.contains("cloudai.db")), "{error}");
    assert_eq!(fs::read(&path).expect("the file"), junk);
}

#[tokio::test]
async fn a_damaged_database_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join(connection::FILE);
    let store = SqliteStore::open(dir.path()).expect("a store");
    let tasks = (1..500).map(|number| Change::NewTask(fixture::task(number)));
    fixture::commit(&store, tasks.collect()).await;
    drop(store);
    let mut bytes = fs::read(&path).expect("the file");
    bytes.iter_mut().skip(4096).for_each(|byte| *byte = 0xa5);
    fs::write(&path, &bytes).expect("the file");
    let outcome = match SqliteStore::open(dir.path()) {
        Ok(store) => store.load().await.map(|_| ()),
        Err(error) => Err(error),
    };
    assert!(matches!(&outcome, Err(StoreError::Corrupt(what)) if what.contains("cloudai.db")), "{outcome:?}");
    assert_eq!(fs::read(&path).expect("the file"), bytes);
}

#[tokio::test]
async fn a_log_without_its_file_is_not_thrown_away() {
    let dir = tempfile::tempdir().expect("a directory");
    let log = dir.path().join("cloudai.db-wal");
    fs::write(&log, "commits").expect("a file");
    let error = SqliteStore::open(dir.path()).expect_err("a refusal");
    assert!(matches!(error, StoreError::Corrupt(_)), "{error}");
    assert_eq!(fs::read(&log).expect("the log"), b"commits");
}

#[tokio::test]
async fn commits_are_durable_and_private_to_one_writer() {
    let dir = tempfile::tempdir().expect("a directory");
    let connection = connection::prepare(&dir.path().join(connection::FILE)).expect("a connection");
    let setting = |name| connection.pragma_query_value(None, name, |row| row.get::<_, rusqlite::types::Value>(0));
    assert_eq!(setting("journal_mode").expect("a setting"), "wal".to_owned().into());
    assert_eq!(setting("synchronous").expect("a setting"), 2.into(), "FULL");
    let reader = connection::open_reader(&dir.path().join(connection::FILE)).expect("a reader");
    reader.execute("UPDATE cluster SET position = 9", []).expect_err("a reader that writes");
}

#[tokio::test]
async fn the_log_is_moved_into_the_file() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join(connection::FILE);
    let store = SqliteStore::open(dir.path()).expect("a store");
    let before = fs::metadata(&path).expect("the file").len();
    let task = |number| fixture::task_with(number, |task| Arc::make_mut(&mut task.spec).image = "x".repeat(4096));
    for first in (0..10_000).step_by(2500) {
        fixture::commit(&store, (first + 1..=first + 2500).map(|number| Change::NewTask(task(number))).collect()).await;
    }
    // One more waits until the writer is done with the one before.
    fixture::commit(&store, Vec::new()).await;
    assert!(fs::metadata(&path).expect("the file").len() > before + (16 << 20));
}

#[tokio::test]
async fn a_store_that_failed_takes_no_more() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = SqliteStore::open(dir.path()).expect("a store");
    let position = fixture::commit(&store, vec![Change::NewTask(fixture::task(1))]).await;
    let unknown = vec![Change::Progress(fixture::task_id(2), fixture::running(1))];
    assert!(matches!(store.commit(unknown, position).await, Err(CommitError::Fatal(_))));
    assert!(matches!(store.commit(Vec::new(), position).await, Err(CommitError::Fatal(StoreError::Closed))));
    assert_eq!(store.load().await.expect("a load").1, position);
}

#[tokio::test]
async fn questions_are_answered_beside_each_other() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = Arc::new(SqliteStore::open(dir.path()).expect("a store"));
    fixture::commit(&*store, vec![Change::NewTask(fixture::task(1))]).await;
    let questions: Vec<_> = (0..50)
        .map(|_| {
            let store = Arc::clone(&store);
            tokio::spawn(async move { store.find_task(fixture::task_id(1)).await })
        })
        .collect();
    for question in questions {
        assert!(question.await.expect("an answer").expect("a look-up").is_some());
    }
}
