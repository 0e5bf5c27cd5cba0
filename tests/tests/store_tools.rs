//! `cloudaid store`: checks, backups of a store that is in use, restores, and copies that are killed on their way.
//!
//! `CLOUDAI_TEST_COPIED` says how many tasks are copied.
#![allow(missing_docs, clippy::panic, clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use cloudai_tests::api::Api;
use cloudai_tests::cluster::{Cluster, shell_task};
use cloudai_tests::master::{Master, MasterOptions};
use cloudai_tests::mongo::Mongo;
use cloudai_tests::process::Process;
use cloudai_tests::tool;
use cloudai_tests::wait::{PATIENCE, eventually};
use cloudai_tests::worker::WorkerOptions;
use cloudaid::store::contract::fixture;
use cloudaid::store::sqlite::SqliteStore;
use cloudaid::store::{Position, Store};
use cloudaid_core::record::Change;
use mongodb::bson::{Document, doc};
use serde::Deserialize;
use shared::role::Role;
use shared::submit::SubmitRequest;
use shared::task::Verdict;

const COPIED: u64 = 1_000;

#[derive(Debug, Deserialize)]
struct Summary {
    counts: serde_json::Value,
    digest: String,
    #[serde(default)]
    violations: Vec<String>,
}

/// A store with `count` submissions that have ended, in the data directory of a master.
async fn fill(data_dir: &Path, count: u64) {
    let path = data_dir.to_owned();
    let store =
        tokio::task::spawn_blocking(move || SqliteStore::open(&path)).await.expect("no panic").expect("a store");
    let mut position = store.load().await.expect("an empty store").1;
    let mut commit = async |changes| position = store.commit(changes, position).await.expect("a commit");
    let mut first = vec![Change::Cluster(fixture::cluster(3)), Change::User(fixture::user("ada", Role::Admin))];
    first.push(Change::Worker(fixture::worker_id("w1"), Some(fixture::worker("w1", 1))));
    first.push(Change::Input(fixture::input(1, "ada", 0)));
    first.extend((1..=50).map(|sequence| Change::Audit(fixture::audit(sequence))));
    commit(first).await;
    let numbers: Vec<u64> = (1..=count).collect();
    for some in numbers.chunks(1000) {
        let mut changes = Vec::new();
        for &number in some {
            let task = fixture::task_with(number, |task| {
                task.key = number.is_multiple_of(3).then(|| fixture::key(&format!("key-{number}")));
            });
            changes.push(Change::NewTask(Arc::clone(&task)));
            changes.push(Change::Progress(task.id, fixture::completed(1)));
            let attempt = fixture::ended(fixture::attempt(number, 0, 1, "w1"));
            let key = attempt.key;
            changes.push(Change::Attempt(attempt));
            changes.push(Change::Result(fixture::result(number, 0, Verdict::Success)));
            if number.is_multiple_of(10) {
                changes.push(Change::Files(key, vec![fixture::file(b"model/weights.bin", number)].into()));
            }
        }
        commit(changes).await;
    }
}

/// Whether this submission has arrived. Asked by its id: the server of the tests stands still to count.
async fn is_in_mongo(client: &mongodb::Client, number: u64) -> bool {
    let tasks = client.default_database().expect("a database").collection::<Document>("TASKS");
    let found = tasks.find_one(doc! { "_id": fixture::task_id(number).to_string() }).await;
    found.expect("an answer").is_some()
}

async fn is_in_sqlite(data_dir: &Path, number: u64) -> bool {
    let Ok(store) = SqliteStore::open_read_only(data_dir) else { return false };
    store.find_task(fixture::task_id(number)).await.is_ok_and(|found| found.is_some())
}

/// For a part of a copy: the server of the tests looks through a collection for each document that it changes.
fn patience(count: u64) -> Duration {
    Duration::from_secs(120).max(Duration::from_millis(60) * u32::try_from(count).expect("a number"))
}

/// Starts a copy, kills it when `wanted` submissions have arrived, and so on; then it runs to its end.
async fn copy_with_kills<F: Future<Output = bool>>(
    dir: &Path,
    args: &[&str],
    data_dir: &Path,
    uri: &str,
    count: u64,
    has_arrived: impl Fn(u64) -> F,
) -> Summary {
    let patience = patience(count);
    for kill in 1..=2 {
        let mut copy = Process::start(tool::recipe(dir, args, data_dir, Some(uri)));
        let wanted = count * kill / 3;
        eventually(patience, "some of it has arrived", || {
            copy.assert_runs();
            let has_arrived = has_arrived(wanted);
            async move { has_arrived.await.then_some(()) }
        })
        .await;
        copy.kill9();
    }
    let mut copy = Process::start(tool::recipe(dir, args, data_dir, Some(uri)));
    let deadline = Instant::now() + patience * 5;
    let status = loop {
        if let Some(status) = copy.exit_status() {
            break status;
        }
        assert!(Instant::now() < deadline, "the copy does not end");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert!(status.success(), "{}", copy.log());
    serde_json::from_str(&copy.log()).expect("a summary")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copies_that_are_killed_go_on_and_are_the_same() {
    let count = std::env::var("CLOUDAI_TEST_COPIED").ok().and_then(|count| count.parse().ok()).unwrap_or(COPIED);
    let dir = tempfile::tempdir().expect("a directory");
    let mongo = Mongo::start(dir.path()).await;
    let uri = mongo.uri("copied");
    let (source, back) = (dir.path().join("source"), dir.path().join("back"));
    fill(&source, count).await;
    let original: Summary = tool::run(dir.path(), &["check", "-o", "json"], &source, None).await.json();
    let client = mongodb::Client::with_uri_str(&uri).await.expect("a client");
    let began = Instant::now();
    let there_args = ["copy", "--from", "sqlite", "--to", "mongodb", "-o", "json"];
    let there =
        copy_with_kills(dir.path(), &there_args, &source, &uri, count, |number| is_in_mongo(&client, number)).await;
    let there_in = began.elapsed();
    let back_args = ["copy", "--from", "mongodb", "--to", "sqlite", "-o", "json"];
    let returned =
        copy_with_kills(dir.path(), &back_args, &back, &uri, count, |number| is_in_sqlite(&back, number)).await;
    println!(
        "{count} tasks there in {there_in:.1?} and back in {:.1?}, two kills each; digests {} {} {}",
        began.elapsed() - there_in,
        original.digest,
        there.digest,
        returned.digest
    );
    println!("{}", returned.counts);
    assert_eq!(original.counts["tasks"], count);
    assert_eq!((&there.digest, &there.counts), (&original.digest, &original.counts));
    assert_eq!((&returned.digest, &returned.counts), (&original.digest, &original.counts));
    let checked: Summary = tool::run(dir.path(), &["check", "-o", "json"], &back, None).await.json();
    assert_eq!(checked.digest, original.digest);
    // A second copy into what is there is refused, and changes nothing.
    let mut again = Process::start(tool::recipe(dir.path(), &there_args, &source, Some(&uri)));
    // The server of the tests takes minutes to read so many.
    let status = eventually(patience(count), "a second copy ends", || {
        let status = again.exit_status();
        async move { status }
    });
    assert!(status.await.code() == Some(1) && again.log().contains("not empty"), "{}", again.log());
}

#[tokio::test]
async fn what_was_not_copied_to_its_end_is_no_store() {
    let dir = tempfile::tempdir().expect("a directory");
    let data_dir = dir.path().join("data");
    let path = data_dir.clone();
    let store =
        tokio::task::spawn_blocking(move || SqliteStore::open(&path)).await.expect("no panic").expect("a store");
    let user = Change::User(fixture::user("ada", Role::Admin));
    store.commit(vec![user], Position(0)).await.expect("a commit");
    drop(store);
    let checked = tool::run(dir.path(), &["check"], &data_dir, None).await;
    assert!(checked.code == 1 && checked.text.contains("a copy that was not finished"), "{checked:?}");
    let mut args: Vec<String> =
        ["master", "--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0", "--data-dir"].map(String::from).into();
    args.push(data_dir.display().to_string());
    let mut master = Process::start(cloudai_tests::process::Recipe {
        name: "master".to_owned(),
        program: cloudai_tests::process::program("cloudaid"),
        args,
        env: Vec::new(),
        dir: dir.path().to_owned(),
    });
    let status = master.ended().await;
    assert_eq!(status.code(), Some(70), "{}", master.log());
    assert!(master.log().contains("goes on where it ended"), "{}", master.log());
}

/// Submits until it is told to stop; what was acknowledged, in its order.
async fn submit(api: Api, stop: Arc<AtomicBool>, kept: Arc<Mutex<Vec<String>>>) {
    let cpu_cores = Some(shared::resources::Quantity::Text("900".to_owned()));
    let waiting = SubmitRequest { cpu_cores, ..shell_task("true") };
    while !stop.load(Ordering::Relaxed) {
        // Neither the engine nor the server of the tests is fast; and who is refused tries again.
        tokio::time::sleep(Duration::from_millis(30)).await;
        if let Ok(view) = api.submit(&waiting).await {
            kept.lock().expect("no panics").push(view.task_id);
        }
    }
}

/// A backup while tasks are submitted, run and deleted; restored to another store, on which a master goes on.
async fn back_up_in_use(options: &MasterOptions, uri: Option<&str>, restore_to_mongo: Option<&str>) {
    let mut cluster = Cluster::start_with(options, 1, &WorkerOptions::default()).await;
    let (api, dir) = (cluster.api(), cluster.dir().to_owned());
    let data_dir = cluster.master.data_dir().to_owned();
    let store = if uri.is_some() { "mongodb" } else { "sqlite" };
    let (stop, kept) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
    let client = tokio::spawn(submit(api.clone(), Arc::clone(&stop), Arc::clone(&kept)));
    eventually(PATIENCE, "some tasks", || async { (kept.lock().expect("no panics").len() > 20).then_some(()) }).await;
    let first = api.submit(&shell_task("true")).await.expect("accepted").task_id;
    api.ended(PATIENCE, &first).await;
    let mut before: Vec<String> = kept.lock().expect("no panics").clone();
    before.push(first);
    let file = dir.join("backup.db");
    let file_name = file.display().to_string();
    let made = tool::run(&dir, &["backup", &file_name, "--store", store], &data_dir, uri).await;
    assert!(made.code == 0 && made.text.contains("is backed up to"), "{made:?}");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&file).expect("the backup").permissions());
    assert_eq!(mode & 0o777, 0o600, "a backup is its owner's only");
    let again = tool::run(&dir, &["backup", &file_name, "--store", store], &data_dir, uri).await;
    assert!(again.code == 2 && again.text.contains("is there already"), "{again:?}");
    let checked = tool::run(&dir, &["check", "--store", store], &data_dir, uri).await;
    assert!(checked.code == 0, "{checked:?}");
    stop.store(true, Ordering::Relaxed);
    client.await.expect("all were accepted");
    let epoch = api.status().await.expect("its status").epoch;
    cluster.master.kill9();
    cluster.workers[0].kill9();

    let restored_dir = dir.join("restored");
    let target = if restore_to_mongo.is_some() { "mongodb" } else { "sqlite" };
    let restored = tool::run(&dir, &["restore", &file_name, "--store", target], &restored_dir, restore_to_mongo).await;
    assert!(restored.code == 0, "{restored:?}");
    let sound = tool::run(&dir, &["check", "--store", target], &restored_dir, restore_to_mongo).await;
    assert!(sound.code == 0 && sound.text.contains("Nothing contradicts itself"), "{sound:?}");
    let refused = tool::run(&dir, &["restore", &file_name, "--store", target], &restored_dir, restore_to_mongo).await;
    assert!(refused.code == 1 && refused.text.contains("not empty"), "{refused:?}");

    // The keys of tokens are not part of the store.
    std::fs::create_dir_all(&restored_dir).expect("a directory");
    for name in std::fs::read_dir(&data_dir).expect("the data directory") {
        let name = name.expect("a name").file_name();
        if !name.to_string_lossy().starts_with("cloudai.db") && name != "lock" {
            let status =
                std::process::Command::new("cp").arg("-r").arg(data_dir.join(&name)).arg(&restored_dir).status();
            assert!(status.expect("cp").success());
        }
    }
    let recipe = cluster.master.process.recipe_mut();
    let place = recipe.args.iter().position(|arg| arg == "--data-dir").expect("a data directory") + 1;
    recipe.args[place] = restored_dir.display().to_string();
    recipe.args.retain(|arg| arg != "--store" && arg != "mongodb");
    recipe.env.retain(|(name, _)| name != "MONGODB_URI");
    if let Some(uri) = restore_to_mongo {
        recipe.args.extend(["--store".to_owned(), "mongodb".to_owned()]);
        recipe.env.push(("MONGODB_URI".to_owned(), uri.to_owned()));
    }
    cluster.master.restart().await;
    let status = api.status().await.expect("its status");
    assert!(status.epoch > epoch + 1000, "epoch {} after {epoch}", status.epoch);
    let there: BTreeSet<String> = api.tasks().await.expect("tasks").into_iter().map(|task| task.task_id).collect();
    for id in &before {
        assert!(there.contains(id), "{id} was acknowledged before the backup");
    }
    cluster.workers[0].restart();
    let new = api.submit(&shell_task("true")).await.expect("accepted").task_id;
    assert_eq!(api.ended(PATIENCE, &new).await.verdict, Some(Verdict::Success));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_embedded_store_in_use_is_backed_up_and_restored() {
    back_up_in_use(&MasterOptions::default(), None, None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mongodb_in_use_is_backed_up_and_restored() {
    let dir = tempfile::tempdir().expect("a directory");
    let mongo = Mongo::start(dir.path()).await;
    let (uri, other) = (mongo.uri("in-use"), mongo.uri("restored"));
    back_up_in_use(&MasterOptions::on_mongo(&uri), Some(&uri), Some(&other)).await;
}

#[tokio::test]
async fn nothing_is_made_where_there_is_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let mongo = Mongo::start(dir.path()).await;
    let uri = mongo.uri("nothing");
    let (data_dir, file) = (dir.path().join("data"), dir.path().join("backup.db"));
    let file_name = file.display().to_string();
    for store in ["sqlite", "mongodb"] {
        for args in [vec!["check"], vec!["backup", &file_name]] {
            let args = [&args[..], &["--store", store]].concat();
            let done = tool::run(dir.path(), &args, &data_dir, Some(&uri)).await;
            assert!(done.code == 70 && done.text.contains("there is no store at"), "{args:?}: {done:?}");
        }
        std::fs::write(&file, "junk, and not even a little of a database").expect("written");
        let args = ["restore", &file_name, "--store", store];
        let done = tool::run(dir.path(), &args, &data_dir, Some(&uri)).await;
        assert!(done.code == 2 && done.text.contains("is no backup"), "{done:?}");
        std::fs::remove_file(&file).expect("removed");
    }
    assert!(!SqliteStore::exists(&data_dir));
    let client = mongodb::Client::with_uri_str(&uri).await.expect("a client");
    let names = client.database("nothing").list_collection_names().await.expect("names");
    assert!(names.is_empty(), "{names:?}");
}

#[tokio::test]
async fn what_contradicts_itself_is_found() {
    let dir = tempfile::tempdir().expect("a directory");
    let mongo = Mongo::start(dir.path()).await;
    let uri = mongo.uri("checked");
    let mut master = Master::start(&dir.path().join("master"), &MasterOptions::on_mongo(&uri)).await;
    let ids: Vec<String> = {
        let api = master.api();
        let mut ids = Vec::new();
        for _ in 0..3 {
            ids.push(api.submit(&shell_task("true")).await.expect("accepted").task_id);
        }
        ids
    };
    master.term().await;
    let check =
        async || tool::run(dir.path(), &["check", "--store", "mongodb", "-o", "json"], dir.path(), Some(&uri)).await;
    let sound = check().await;
    assert!(sound.code == 0, "{sound:?}");
    let client = mongodb::Client::with_uri_str(&uri).await.expect("a client");
    let tasks = client.database("checked").collection::<Document>("TASKS");
    // As if it were long ago: what the journal still has would mend it.
    let journal = client.database("checked").collection::<Document>("JOURNAL");
    let last = journal.find_one(doc! {}).sort(doc! { "_id": -1 }).await.expect("an answer").expect("a commit");
    let before = doc! { "_id": { "$lt": last.get_i64("_id").expect("a position") } };
    journal.delete_many(before).await.expect("they go");
    // Of a later commit, or the journal would mend it.
    let change = doc! {
        "state": "running",
        "progress.tally.queued": 0_i64,
        "progress.tally.running": 1_i64,
        "position": 1_000_000_i64,
    };
    let change = doc! { "$set": change };
    tasks.update_one(doc! { "_id": &ids[1] }, change).await.expect("a change by hand");
    let found = check().await;
    assert_eq!(found.code, 1, "{found:?}");
    let found: Summary = found.json();
    assert!(found.violations.iter().any(|violation| violation.contains(&ids[1])), "{found:?}");
    tasks
        .update_one(doc! { "_id": &ids[1] }, doc! { "$set": { "progress": "nonsense" } })
        .await
        .expect("a change by hand");
    let unreadable = check().await;
    assert!(unreadable.code == 70 && unreadable.text.contains(&ids[1]), "{unreadable:?}");
}
