//! A master on MongoDB: what it writes, whom it steps down for, and what it refuses to start on.
#![allow(missing_docs, clippy::panic, clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::time::Duration;

use cloudai_tests::cluster::{Cluster, shell_task};
use cloudai_tests::master::{Master, MasterOptions};
use cloudai_tests::mongo::Mongo;
use cloudai_tests::python::python;
use cloudai_tests::wait::{PATIENCE, eventually};
use cloudai_tests::worker::WorkerOptions;
use mongodb::bson::{Document, doc};
use rustix::process::Signal;
use shared::submit::SubmitRequest;
use shared::task::Verdict;

/// How long the master sleeps that another one replaces.
const ASLEEP: Duration = Duration::from_secs(60);

async fn database(mongo: &Mongo, name: &str) -> mongodb::Database {
    mongodb::Client::with_uri_str(&mongo.uri(name)).await.expect("a client").database(name)
}

#[tokio::test]
async fn the_documents_are_what_another_driver_expects() {
    let dir = tempfile::tempdir().expect("a directory");
    let mongo = Mongo::start(dir.path()).await;
    let uri = mongo.uri("documents");
    let mut cluster = Cluster::start_with(&MasterOptions::on_mongo(&uri), 1, &WorkerOptions::default()).await;
    let api = cluster.api();
    for line in ["echo one > /output/one", "echo two > /output/two; echo said", "exit 3"] {
        let mut task = shell_task(line);
        task.labels = [("zone.a".to_owned(), "$b".to_owned())].into();
        let id = api.submit(&task).await.expect("accepted").task_id;
        api.ended(PATIENCE, &id).await;
    }
    assert!(cluster.master.process.log().contains("✓ MongoDB collections ensured"));
    assert!(cluster.master.term().await.success());
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/python/mongo_documents.py");
    let output = python().arg(script).arg(&uri).output().await.expect("python");
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    println!("{text}");
    assert!(output.status.success(), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_that_slept_while_another_took_over_keeps_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let mongo = Mongo::start(dir.path()).await;
    let uri = mongo.uri("taken-over");
    let options = MasterOptions::on_mongo(&uri);
    let mut old = Master::start(&dir.path().join("old"), &options).await;
    let mut expected = BTreeSet::new();
    for _ in 0..5 {
        expected.insert(old.api().submit(&shell_task("old")).await.expect("accepted").task_id);
    }
    old.process.signal(Signal::STOP);
    // They reach the one that sleeps; it answers when it is awake.
    let api = old.api();
    let late: Vec<_> = (0..5)
        .map(|number| {
            let api = api.clone();
            tokio::spawn(async move {
                let task: SubmitRequest = shell_task("late");
                api.submit_with_key(&format!("late-{number}"), &task).await
            })
        })
        .collect();
    let began = tokio::time::Instant::now();
    let new = Master::with_token(&dir.path().join("new"), &options, old.data_dir()).await;
    // More commits than the journal keeps.
    for _ in 0..100 {
        expected.insert(new.api().submit(&shell_task("new")).await.expect("accepted").task_id);
    }
    tokio::time::sleep_until(began + ASLEEP).await;
    old.process.signal(Signal::CONT);
    // Whoever waited may have gone; the next one makes it look.
    let awake = api.submit_with_key("awake", &shell_task("awake")).await;
    assert!(awake.is_err(), "the one that slept acknowledged {awake:?}");
    let status = old.process.ended().await;
    assert_eq!(status.code(), Some(70), "{}", old.process.log());
    assert!(old.process.log().contains("another master has written to the store"), "{}", old.process.log());
    for task in late {
        let answer = task.await.expect("no panic");
        assert!(answer.is_err(), "the one that slept acknowledged {answer:?}");
    }
    let there: BTreeSet<String> =
        new.api().tasks().await.expect("tasks").into_iter().map(|task| task.task_id).collect();
    assert_eq!(there, expected);
    let collection = database(&mongo, "taken-over").await.collection::<Document>("TASKS");
    let mut found = collection.find(doc! {}).await.expect("documents");
    let mut documents = 0;
    while found.advance().await.expect("the next") {
        let id = found.current().get_str("_id").expect("an id").to_owned();
        assert!(expected.contains(&id), "{id} is of the one that slept");
        documents += 1;
    }
    assert_eq!(documents, expected.len());
}

#[tokio::test]
async fn a_commit_that_is_too_large_for_one_document_is_kept_in_parts() {
    let dir = tempfile::tempdir().expect("a directory");
    let mongo = Mongo::start(dir.path()).await;
    let mut master = Master::start(&dir.path().join("master"), &MasterOptions::on_mongo(&mongo.uri("large"))).await;
    let api = master.api();
    let task = SubmitRequest { name: Some("large".to_owned()), ..shell_task(&"x".repeat(60_000)) };
    let tasks = vec![task; 200];
    let lines = api.submit_many(&tasks).await.expect("accepted");
    assert_eq!(lines.len(), 200);
    master.kill9();
    master.restart().await;
    assert_eq!(api.tasks().await.expect("tasks").len(), 200);
}

/// Starts a master on a database that somebody has changed, and says how it ended.
async fn refused(master: &mut Master, word: &str) -> String {
    let before = master.process.log().len();
    master.process.start_again();
    let status = master.process.ended().await;
    let log = master.process.log()[before..].to_owned();
    assert_eq!(status.code(), Some(70), "{log}");
    assert!(log.contains(word) && log.contains("hint:"), "`{word}` is not in {log}");
    assert!(!log.contains("panicked at cloudaid"), "{log}");
    log
}

#[tokio::test]
async fn what_cannot_be_understood_is_refused_at_the_start() {
    let dir = tempfile::tempdir().expect("a directory");
    let mongo = Mongo::start(dir.path()).await;
    let mut master = Master::start(&dir.path().join("master"), &MasterOptions::on_mongo(&mongo.uri("changed"))).await;
    let id = master.api().submit(&shell_task("true")).await.expect("accepted").task_id;
    let other = master.api().submit(&shell_task("true")).await.expect("accepted").task_id;
    for _ in 0..70 {
        master.api().submit(&shell_task("true")).await.expect("accepted");
    }
    assert!(master.term().await.success());
    let database = database(&mongo, "changed").await;
    let later = 1_000_000_i64;
    let cases: [(&str, &str, Document); 5] = [
        ("TASKS", &id, doc! { "progress": "nonsense" }),
        ("TASKS", &id, doc! { "sequence": "first" }),
        ("TASKS", &id, doc! { "spec": { "image": 7_i64 } }),
        ("USERS", "admin", doc! { "role": "emperor" }),
        ("CLUSTER", "cluster", doc! { "epoch": -1_i64 }),
    ];
    for (name, id, change) in cases {
        let collection = database.collection::<Document>(name);
        let before = collection.find_one(doc! { "_id": id }).await.expect("an answer").expect("a document");
        let mut changed = change.clone();
        changed.insert("position", later);
        collection.update_one(doc! { "_id": id }, doc! { "$set": changed }).await.expect("a change by hand");
        let log = refused(&mut master, name).await;
        assert!(log.contains(id), "{name} {id} {change}: {log}");
        collection.replace_one(doc! { "_id": id }, before).await.expect("as it was");
    }

    let journal = database.collection::<Document>("JOURNAL");
    let last = journal.find_one(doc! {}).sort(doc! { "_id": -1 }).await.expect("an answer").expect("a commit");
    let position = last.get_i64("_id").expect("a position");
    journal.update_one(doc! { "_id": position }, doc! { "$set": { "changes": "[]" } }).await.expect("a change");
    refused(&mut master, "JOURNAL").await;
    journal.replace_one(doc! { "_id": position }, last).await.expect("as it was");

    // Commits that were shown go; so the last one that did is noted.
    let facts = database.collection::<Document>("CLUSTER");
    let mark = facts.find_one(doc! { "_id": "journal" }).await.expect("an answer").expect("a mark");
    let reached = mark.get_i64("reached").expect("a position");
    assert!((1..=position).contains(&reached), "{reached} of {position}");
    let further = doc! { "$set": { "reached": position + 1 } };
    facts.update_one(doc! { "_id": "journal" }, further).await.expect("a change by hand");
    refused(&mut master, "somebody has removed commits by hand").await;
    facts.replace_one(doc! { "_id": "journal" }, mark).await.expect("as it was");

    // Two documents with one key, and the index is gone that would not have let them in.
    let tasks = database.collection::<Document>("TASKS");
    tasks.drop_index("by_sequence").await.expect("the index goes");
    let sequence = tasks.find_one(doc! { "_id": &other }).await.expect("an answer").expect("a task");
    let sequence = sequence.get_i64("sequence").expect("a number");
    tasks.update_one(doc! { "_id": &id }, doc! { "$set": { "sequence": sequence } }).await.expect("a change");
    refused(&mut master, "the indexes of TASKS cannot be made").await;
    tasks.update_one(doc! { "_id": &id }, doc! { "$set": { "sequence": sequence - 1 } }).await.expect("a change");

    // Mended, it starts.
    master.restart().await;
    let names = tasks.list_index_names().await.expect("names");
    assert!(names.iter().any(|name| name == "by_sequence"), "{names:?}");

    let strange = mongo.uri("strange");
    let foreign = mongodb::Client::with_uri_str(&strange).await.expect("a client").database("strange");
    foreign.collection::<Document>("TASKS").insert_one(doc! { "_id": "a", "todo": "wash" }).await.expect("a document");
    assert!(master.term().await.success());
    for (name, value) in &mut master.process.recipe_mut().env {
        if name == "MONGODB_URI" {
            *value = strange.clone();
        }
    }
    refused(&mut master, "of another program").await;
}

#[tokio::test]
async fn a_uri_that_is_none_is_refused_without_its_password() {
    let dir = tempfile::tempdir().expect("a directory");
    for (uri, user, setting) in [
        ("mongodb://ada:hunter2@", None, "mongodb.uri"),
        ("postgres://ada:hunter2@host/db", None, "mongodb.uri"),
        ("hunter2", None, "mongodb.uri"),
        ("mongodb://ada:hunter2@host/db", Some("bob"), "mongodb.username"),
    ] {
        let mut args: Vec<String> = ["master", "--store", "mongodb", "--data-dir"].map(String::from).into();
        args.push(dir.path().join("data").display().to_string());
        let mut process = cloudai_tests::process::Process::start(cloudai_tests::process::Recipe {
            name: "master".to_owned(),
            program: cloudai_tests::process::program("cloudaid"),
            args,
            env: user
                .map(|user| ("MONGODB_USERNAME".to_owned(), user.to_owned()))
                .into_iter()
                .chain([("MONGODB_URI".to_owned(), uri.to_owned())])
                .collect(),
            dir: dir.path().to_owned(),
        });
        assert_eq!(process.ended().await.code(), Some(2), "{}", process.log());
        assert!(process.log().contains(setting) && !process.log().contains("hunter2"), "{}", process.log());
    }
}

#[tokio::test]
async fn a_task_runs_to_its_end() {
    let dir = tempfile::tempdir().expect("a directory");
    let mongo = Mongo::start(dir.path()).await;
    let options = MasterOptions::on_mongo(&mongo.uri("job"));
    let mut cluster = Cluster::start_with(&options, 1, &WorkerOptions::default()).await;
    let api = cluster.api();
    let id = api.submit(&shell_task("echo said; echo kept > /output/file")).await.expect("accepted").task_id;
    assert_eq!(api.ended(PATIENCE, &id).await.verdict, Some(Verdict::Success));
    let kept =
        eventually(PATIENCE, "its file", || async { api.get_bytes(&format!("/api/files/{id}/file")).await.ok() });
    assert_eq!(kept.await, b"kept\n");
    let status = api.status().await.expect("its status");
    assert_eq!((status.store.as_str(), status.tasks.completed), ("mongodb", 1));
    let metrics = api.get_bytes("/metrics").await.expect("metrics");
    assert!(String::from_utf8_lossy(&metrics).contains("\ncloudai_store_round_trips_total "), "metrics tell");
    cluster.master.restart_after_kill().await;
    assert_eq!(api.task(&id).await.expect("it is there").verdict, Some(Verdict::Success));
}
