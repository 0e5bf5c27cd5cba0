//! MongoDB is not there when the master starts: it goes on with the embedded store, which knows all that was acknowledged,
//! and what is written there comes to MongoDB later.
#![allow(missing_docs, clippy::panic, clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use cloudai_tests::cluster::{Cluster, shell_task};
use cloudai_tests::master::{Master, MasterOptions};
use cloudai_tests::mongo::Mongo;
use cloudai_tests::tool;
use cloudai_tests::wait::{PATIENCE, eventually};
use cloudai_tests::worker::WorkerOptions;
use mongodb::bson::{Document, doc};
use shared::role::Role;
use shared::task::{TaskState, Verdict};
use shared::view::StoreState;

/// A master that may go on without MongoDB.
fn optional(uri: &str) -> MasterOptions {
    let mut options = MasterOptions::on_mongo(uri);
    options.env.retain(|(name, _)| name != "CLOUDAI_MONGODB_REQUIRED");
    options
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_goes_on_without_mongodb_and_brings_everything_back() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut mongo = Mongo::start(dir.path()).await;
    let uri = mongo.uri("fallback");
    let mut cluster = Cluster::start_with(&optional(&uri), 1, &WorkerOptions::default()).await;
    let api = cluster.api();
    api.somebody("ada", Role::User).await;
    let done = api.submit_with_key("done", &shell_task("echo once")).await.expect("accepted").task_id;
    api.ended(PATIENCE, &done).await;
    let line = "echo start; sleep 9; echo end";
    let running = api.submit_with_key("running", &shell_task(line)).await.expect("accepted").task_id;
    eventually(PATIENCE, "it runs", || async {
        api.task(&running).await.ok().filter(|task| task.state == TaskState::Running)
    })
    .await;
    let epoch = api.status().await.expect("its status").epoch;

    cluster.master.kill9();
    mongo.process.kill9();
    cluster.master.restart().await;
    let status = api.status().await.expect("its status");
    assert_eq!((status.store.as_str(), status.store_state), ("sqlite", StoreState::Fallback));
    assert_eq!(status.epoch, epoch + 1);
    assert!(cluster.master.process.log().contains("MongoDB cannot be reached"), "it says so");
    let metrics = api.get_bytes("/metrics").await.expect("metrics");
    assert!(String::from_utf8_lossy(&metrics).contains("\ncloudai_store_fallback 1"), "metrics tell");
    api.log_in("ada").await;
    for (key, line, id) in [("done", "echo once", &done), ("running", line, &running)] {
        let again = api.submit_with_key(key, &shell_task(line)).await.expect("accepted");
        assert_eq!(&again.task_id, id, "the key is known");
    }
    let ended = api.ended(PATIENCE, &running).await;
    assert_eq!((ended.verdict, ended.attempts.len()), (Some(Verdict::Success), 1), "its container was kept");
    let meanwhile = api.submit_with_key("meanwhile", &shell_task("echo meanwhile")).await.expect("accepted").task_id;
    api.ended(PATIENCE, &meanwhile).await;
    api.somebody("grace", Role::User).await;

    // A crash in between changes nothing.
    cluster.master.kill9();
    cluster.master.restart().await;
    assert_eq!(api.status().await.expect("its status").store_state, StoreState::Fallback);

    cluster.master.kill9();
    mongo.process.start_again();
    mongo.ready().await;
    cluster.master.restart().await;
    let status = api.status().await.expect("its status");
    assert_eq!((status.store.as_str(), status.store_state), ("mongodb", StoreState::Ok));
    assert_eq!(status.epoch, epoch + 3);
    assert!(cluster.master.process.log().contains("are imported"), "{}", cluster.master.process.log());
    for id in [&done, &running, &meanwhile] {
        let task = api.task(id).await.expect("it is there");
        assert_eq!((task.state, task.attempts.len()), (TaskState::Completed, 1), "{id}");
    }
    api.log_in("grace").await;
    let again = api.submit_with_key("meanwhile", &shell_task("echo meanwhile")).await.expect("accepted");
    assert_eq!(again.task_id, meanwhile);
    let last = api.submit(&shell_task("echo last")).await.expect("accepted").task_id;
    api.ended(PATIENCE, &last).await;
    cluster.master.term().await;
    let checked = tool::run(dir.path(), &["check", "--store", "mongodb"], dir.path(), Some(&uri)).await;
    assert!(checked.code == 0, "{checked:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_that_began_without_mongodb_moves_there() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut mongo = Mongo::start(dir.path()).await;
    let uri = mongo.uri("late");
    mongo.process.kill9();
    let mut master = Master::start(&dir.path().join("master"), &optional(&uri)).await;
    let api = master.api();
    let id = api.submit_with_key("early", &shell_task("true")).await.expect("accepted").task_id;
    let cluster = api.status().await.expect("its status").cluster_id;
    assert!(master.term().await.success());
    mongo.process.start_again();
    mongo.ready().await;
    master.restart().await;
    let status = api.status().await.expect("its status");
    assert_eq!((status.store_state, status.cluster_id), (StoreState::Ok, cluster));
    let again = api.submit_with_key("early", &shell_task("true")).await.expect("accepted");
    assert_eq!(again.task_id, id);
}

async fn refused(master: &mut Master) {
    let before = master.process.log().len();
    master.process.start_again();
    let code = master.process.ended().await.code();
    let log = master.process.log()[before..].to_owned();
    assert_eq!(code, Some(70), "{log}");
    assert!(log.contains("another master has written to MongoDB since"), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_joined_is_kept_and_the_start_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut mongo = Mongo::start(dir.path()).await;
    let uri = mongo.uri("apart");
    let mut master = Master::start(&dir.path().join("one"), &optional(&uri)).await;
    let api = master.api();
    assert!(master.term().await.success());
    mongo.process.kill9();
    master.restart().await;
    let id = api.submit(&shell_task("true")).await.expect("accepted").task_id;
    master.kill9();
    mongo.process.start_again();
    mongo.ready().await;
    let data_dir = master.data_dir().to_owned();
    let copy = ["copy", "--from", "mongodb", "--to", "sqlite"];
    let copied = tool::run(dir.path(), &copy, &data_dir, Some(&uri)).await;
    assert!(copied.code == 2 && copied.text.contains("commits that MongoDB has not got yet"), "{copied:?}");

    // Somebody restores an older state.
    let client = mongodb::Client::with_uri_str(&uri).await.expect("a client");
    let facts = client.database("apart").collection::<Document>("CLUSTER");
    let cluster = facts.find_one(doc! { "_id": "cluster" }).await.expect("an answer").expect("a cluster");
    let raise = doc! { "$inc": { "epoch": 1000_i64 }, "$set": { "position": 1_000_000_i64 } };
    facts.update_one(doc! { "_id": "cluster" }, raise).await.expect("another epoch");
    refused(&mut master).await;
    facts.replace_one(doc! { "_id": "cluster" }, cluster).await.expect("as it was");

    // Or starts a second master on the same database.
    let journal = client.database("apart").collection::<Document>("JOURNAL");
    let last = journal.find_one(doc! {}).sort(doc! { "_id": -1 }).await;
    let mut other = last.expect("an answer").expect("a commit");
    let position = other.get_i64("_id").expect("a position");
    other.insert("_id", position + 1);
    other.insert("master", "another");
    journal.insert_one(other).await.expect("a commit of another master");
    refused(&mut master).await;
    // Nothing is lost: it goes on without MongoDB as before.
    mongo.process.kill9();
    master.restart().await;
    assert_eq!(api.task(&id).await.expect("it is there").task_id, id);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_that_has_to_have_mongodb_does_not_start_without() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut mongo = Mongo::start(dir.path()).await;
    let uri = mongo.uri("required");
    let mut master = Master::start(&dir.path().join("master"), &MasterOptions::on_mongo(&uri)).await;
    assert!(master.data_dir().join("mongodb-cluster").exists(), "it is noted before anything is accepted");
    assert!(master.term().await.success());
    assert!(!master.data_dir().join("fallback").exists(), "nothing is kept beside it");
    mongo.process.kill9();
    master.process.start_again();
    let status = tokio::time::timeout(Duration::from_secs(30), master.process.ended()).await.expect("it ends");
    assert_eq!(status.code(), Some(70));
    assert!(
        master.process.log().contains("start MongoDB, or correct MONGODB_URI (the host"),
        "{}",
        master.process.log()
    );

    // Its facts are there and nowhere else, so an empty store would be no help.
    master.process.recipe_mut().env.retain(|(name, _)| name != "CLOUDAI_MONGODB_REQUIRED");
    master.process.start_again();
    assert_eq!(master.process.ended().await.code(), Some(70));
    assert!(master.process.log().contains("has not been filled yet"), "{}", master.process.log());

    // With MongoDB it fills the store beside it, and can go on without then.
    mongo.process.start_again();
    mongo.ready().await;
    master.restart().await;
    eventually(PATIENCE, "it is filled", || async { master.process.log().contains("follows MongoDB").then_some(()) })
        .await;
    master.kill9();
    mongo.process.kill9();
    master.restart().await;
    assert_eq!(master.api().status().await.expect("its status").store_state, StoreState::Fallback);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_database_is_not_taken_for_ones_own() {
    let dir = tempfile::tempdir().expect("a directory");
    let mongo = Mongo::start(dir.path()).await;
    let uri = mongo.uri("own");
    let mut master = Master::start(&dir.path().join("master"), &optional(&uri)).await;
    let id = master.api().submit(&shell_task("true")).await.expect("accepted").task_id;
    assert!(master.term().await.success());
    let mut other = Master::start(&dir.path().join("other"), &optional(&mongo.uri("foreign"))).await;
    assert!(other.term().await.success());
    let embedded = master.data_dir().join("fallback/cloudai.db");
    assert!(embedded.exists());
    for (database, word) in [("empty", "is empty"), ("foreign", "holds cluster")] {
        let before = master.process.log().len();
        for (name, value) in &mut master.process.recipe_mut().env {
            if name == "MONGODB_URI" {
                *value = mongo.uri(database);
            }
        }
        master.process.start_again();
        assert_eq!(master.process.ended().await.code(), Some(70));
        let log = master.process.log()[before..].to_owned();
        assert!(log.contains(word) && log.contains("correct MONGODB_URI"), "{log}");
        assert!(embedded.exists(), "nothing was changed");
    }
    for (name, value) in &mut master.process.recipe_mut().env {
        if name == "MONGODB_URI" {
            value.clone_from(&uri);
        }
    }
    master.restart().await;
    assert_eq!(master.api().task(&id).await.expect("it is there").task_id, id);
}
