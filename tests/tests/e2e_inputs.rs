//! What users upload for tasks to read, with files kept in a directory and in a bucket.
#![allow(missing_docs, clippy::panic, clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::time::Duration;

use cloudai_tests::api::{Api, Failure};
use cloudai_tests::cluster::{Cluster, shell_task};
use cloudai_tests::master::MasterOptions;
use cloudai_tests::s3::Bucket;
use cloudai_tests::wait::{PATIENCE, eventually};
use cloudai_tests::worker::WorkerOptions;
use reqwest::Method;
use serde_json::{Value, json};
use shared::role::Role;
use shared::task::{TaskState, Verdict};
use shared::view::{DeletedFilesView, InputFileView, InputListView, InputSummaryView, InputView, TaskView};

const PIECE: usize = 8 << 20;

/// Bytes that differ everywhere.
fn bytes(size: usize) -> Vec<u8> {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"test");
    let mut bytes = vec![0; size];
    hasher.finalize_xof().fill(&mut bytes);
    bytes
}

fn digest(content: &[u8]) -> String {
    blake3::hash(content).to_hex().to_string()
}

fn status<T: std::fmt::Debug>(result: Result<T, Failure>) -> u16 {
    match result.expect_err("refused") {
        Failure::Refused { status, .. } => status,
        Failure::Unknown(error) => panic!("{error}"),
    }
}

/// A form as `curl -F` sends it.
fn form(files: &[(&[u8], &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, content) in files {
        body.extend_from_slice(b"--b\r\nContent-Disposition: form-data; name=\"f\"; filename=\"");
        body.extend_from_slice(name);
        body.extend_from_slice(b"\"\r\n\r\n");
        body.extend_from_slice(content);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b"--b--\r\n");
    body
}

async fn upload(api: &Api, files: &[(&[u8], &[u8])]) -> Result<InputView, Failure> {
    let request = api.request(Method::POST, "/api/files").header("Content-Type", "multipart/form-data; boundary=b");
    let answer = api.send(request.body(form(files))).await?;
    Ok(serde_json::from_slice(&answer).expect("an input"))
}

async fn part(api: &Api, id: &str, path: &str, offset: usize, body: Vec<u8>) -> Result<InputFileView, Failure> {
    let request = api.request(Method::PATCH, &format!("/api/files/{id}/{path}")).header("Upload-Offset", offset);
    let answer = api.send(request.body(body)).await?;
    Ok(serde_json::from_slice(&answer).expect("a file"))
}

async fn run(api: &Api, input: &str, line: &str) -> TaskView {
    let mut task = shell_task(line);
    task.input = Some(input.to_owned());
    let id = api.submit(&task).await.expect("accepted").task_id;
    api.ended(PATIENCE, &id).await
}

async fn log(api: &Api, task: &TaskView) -> String {
    let log = api.get_bytes(&format!("/api/tasks/{}/logs", task.task_id)).await.expect("a log");
    String::from_utf8(log).expect("text")
}

/// Where a cluster keeps its files.
struct Home {
    cluster: Cluster,
    _bucket: Option<Bucket>,
    _dir: tempfile::TempDir,
}

impl Home {
    async fn start(remote: bool, workers: usize, env: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let bucket = if remote { Some(Bucket::start(dir.path()).await) } else { None };
        let mut options = MasterOptions { env: bucket.iter().flat_map(Bucket::env).collect(), ..Default::default() };
        options.env.extend(env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let cluster = Cluster::start_with(&options, workers, &WorkerOptions::default()).await;
        Self { cluster, _bucket: bucket, _dir: dir }
    }
}

async fn tasks_read_what_was_uploaded(remote: bool) {
    let home = Home::start(remote, 1, &[]).await;
    let admin = home.cluster.api();
    let (ann, bob) = (admin.somebody("ann", Role::User).await, admin.somebody("bob", Role::User).await);
    let large = bytes(PIECE + 12_345);
    let odd = "d/gr\u{fc}n \\ '%22 ;=.txt";
    let files = [(b"a.txt".as_slice(), b"one\n".as_slice()), (odd.as_bytes(), b""), (b"d/large", &large)];
    let view = upload(&ann, &files).await.expect("uploaded");
    let id = view.input.input_id.to_string();
    assert_eq!((view.input.missing, view.input.file_count, view.input.bytes), (0, 3, 4 + large.len() as u64));
    let named: Vec<_> =
        view.files.iter().map(|file| (file.path.as_str(), file.blake3.clone().expect("whole"))).collect();
    assert_eq!(named[0], ("a.txt", digest(b"one\n")));
    // What a browser writes as %22 is a quote.
    assert!(named[1].0.contains("'\" ;="), "{named:?}");
    assert_eq!(named[2], ("d/large", digest(&large)));

    let line = "cat /input/a.txt; ls /input/d | wc -l; wc -c < /input/d/large; stat -c %a /input /input/a.txt; \
                touch /input/a.txt /input/new 2>&1 | grep -c Read-only; cp /input/d/large /output/";
    let task = run(&ann, &id, line).await;
    assert_eq!(task.input.map(|input| input.to_string()), Some(id.clone()));
    assert_eq!(log(&ann, &task).await, format!("one\n2\n{}\n755\n644\n2\n", large.len()), "{task:?}");
    let back = ann.get_bytes(&format!("/api/files/{}/large", task.task_id)).await.expect("an output");
    assert!(back == large, "through the worker and back");
    // Any part of it, and all of it in an archive.
    let path = format!("/api/files/{id}/d/large");
    let request = ann.request(Method::GET, &path).header("Range", format!("bytes={}-{}", PIECE - 2, PIECE + 1));
    assert!(ann.send(request).await.expect("a part") == large[PIECE - 2..PIECE + 2]);
    let tar = ann.get_bytes(&format!("/api/files/{id}?archive=tar")).await.expect("an archive");
    assert!(tar.len() > large.len() && tar.len() < large.len() + 10_000);

    // Nobody else sees it or reads it, but for admins, of whom that is noted.
    for path in [format!("/api/files/{id}"), path, format!("/api/files/{id}?archive=zip")] {
        assert_eq!(status(bob.get_bytes(&path).await), 404, "{path}");
    }
    assert_eq!(status(bob.send(bob.request(Method::DELETE, &format!("/api/files/{id}"))).await), 404);
    let mut stolen = shell_task("true");
    stolen.input = Some(id.clone());
    assert_eq!(status(bob.submit(&stolen).await), 404);
    admin.get_bytes(&format!("/api/files/{id}")).await.expect("an admin may look");
    let audit: Value = admin.get("/api/audit").await.expect("the log");
    let looked = |entry: &&Value| entry["object"] == id.as_str() && entry["action"] == "GET /api/files/{id}";
    assert_eq!(audit["entries"].as_array().expect("entries").iter().filter(looked).count(), 1, "{audit}");

    // What a task reads stays until that has ended.
    let mut waits = shell_task("true");
    (waits.input, waits.cpu_cores) = (Some(id.clone()), Some(shared::resources::Quantity::Text("1000".to_owned())));
    let waits = ann.submit(&waits).await.expect("accepted").task_id;
    let delete = || ann.send(ann.request(Method::DELETE, &format!("/api/files/{id}")));
    assert_eq!(status(delete().await), 409);
    ann.post::<Value>(&format!("/api/tasks/{waits}/cancel"), &json!({})).await.expect("cancelled");
    ann.ended(PATIENCE, &waits).await;
    let gone: DeletedFilesView = serde_json::from_slice(&delete().await.expect("deleted")).expect("what is gone");
    assert_eq!((gone.files, gone.bytes), (3, 4 + large.len() as u64));
    assert_eq!(status(delete().await), 404);
    assert_eq!(status(ann.submit(&stolen).await), 404, "it is no more");
}

#[tokio::test]
async fn tasks_read_what_was_uploaded_to_a_directory() {
    tasks_read_what_was_uploaded(false).await;
}

#[tokio::test]
async fn tasks_read_what_was_uploaded_to_a_bucket() {
    tasks_read_what_was_uploaded(true).await;
}

async fn an_upload_goes_on_where_it_was_cut_off(remote: bool) {
    let mut home = Home::start(remote, 0, &[]).await;
    let api = home.cluster.api();
    let large = bytes(2 * PIECE + 1_000_000);
    let request = json!({"files": [
        {"path": "large", "size": large.len()}, {"path": "run.sh", "size": 5, "executable": true},
        {"path_hex": "ff", "size": 0},
    ]});
    let view: InputView = api.post("/api/files", &request).await.expect("announced");
    let id = view.input.input_id.to_string();
    assert_eq!(view.input.missing, 2, "nothing of an empty file is missing");
    let mut task = shell_task("true");
    task.input = Some(id.clone());
    assert_eq!(status(api.submit(&task).await), 409, "it is not complete");
    // The wrong place, too much, and what is not there.
    assert_eq!(status(part(&api, &id, "large", 1, large.clone()).await), 409);
    assert_eq!(status(part(&api, &id, "other", 0, large.clone()).await), 404);
    assert_eq!(status(part(&api, &id, "run.sh", 0, b"too long".to_vec()).await), 400);
    let no_offset = api.request(Method::PATCH, &format!("/api/files/{id}/large")).body("x");
    assert_eq!(status(api.send(no_offset).await), 400);
    // What has come stays, also when the master dies.
    let cut = PIECE + 77;
    for (from, to) in [(0, 5), (5, cut)] {
        let view = part(&api, &id, "large", from, large[from..to].to_vec()).await.expect("taken");
        assert_eq!((view.received, view.blake3), (to as u64, None));
    }
    home.cluster.master.kill9();
    home.cluster.master.restart().await;
    let view: InputView = api.get(&format!("/api/files/{id}")).await.expect("the input");
    assert_eq!(view.files[0].received, cut as u64);
    // What is not what it should be is not kept.
    let path = format!("large?blake3={}", "0".repeat(64));
    assert_eq!(status(part(&api, &id, &path, cut, large[cut..].to_vec()).await), 400);
    let path = format!("large?blake3={}", digest(&large));
    assert_eq!(part(&api, &id, &path, 0, large[..PIECE].to_vec()).await.expect("taken").received, PIECE as u64);
    let view = part(&api, &id, &path, PIECE, large[PIECE..].to_vec()).await.expect("taken");
    assert_eq!(view.blake3, Some(digest(&large)));
    let again = part(&api, &id, "large", 0, b"whatever".to_vec()).await.expect("it is there already");
    assert_eq!(again.blake3, Some(digest(&large)));
    // The small one in a form, under its number.
    let body = "--b\r\nContent-Disposition: form-data; name=\"1\"\r\n\r\ntrue\n\r\n--b--\r\n";
    let form = |body: String| {
        let request = api.request(Method::POST, &format!("/api/files/{id}"));
        api.send(request.header("Content-Type", "multipart/form-data; boundary=b").body(body))
    };
    assert_eq!(status(form(body.replace("\"1\"", "\"7\"")).await), 400, "there is no such number");
    assert_eq!(status(form(body.replace("true", "tru")).await), 400, "too short");
    let summary: InputSummaryView = serde_json::from_slice(&form(body.to_owned()).await.expect("taken")).expect("it");
    assert_eq!(summary.missing, 0);
    let view: InputView = api.get(&format!("/api/files/{id}")).await.expect("the input");
    let names: Vec<_> = view.files.iter().map(|file| (file.path.as_str(), file.executable)).collect();
    assert_eq!(names, [("large", false), ("run.sh", true), ("\u{fffd}", false)]);
    assert!(api.get_bytes(&format!("/api/files/{id}/large")).await.expect("it") == large);
    assert_eq!(api.get_bytes(&format!("/api/files/{id}/%FF")).await.expect("it"), b"");
}

#[tokio::test]
async fn an_upload_to_a_directory_goes_on_where_it_was_cut_off() {
    an_upload_goes_on_where_it_was_cut_off(false).await;
}

#[tokio::test]
async fn an_upload_to_a_bucket_goes_on_where_it_was_cut_off() {
    an_upload_goes_on_where_it_was_cut_off(true).await;
}

#[tokio::test]
async fn users_keep_so_much_and_no_more() {
    let env = [("CLOUDAI_LIMITS_USER_BYTES", "1MiB"), ("CLOUDAI_LIMITS_USER_FILES", "4")];
    let home = Home::start(false, 1, &env).await;
    let admin = home.cluster.api();
    let ann = admin.somebody("ann", Role::User).await;
    let half = bytes(600_000);
    let first = upload(&ann, &[(b"a", &half)]).await.expect("room").input.input_id;
    assert_eq!(status(upload(&ann, &[(b"a", &half)]).await), 429, "too many bytes");
    assert_eq!(
        status(upload(&ann, &[(b"a", b""), (b"b", b""), (b"c", b""), (b"d", b"")]).await),
        429,
        "too many files"
    );
    let announced = json!({"files": [{"path": "x", "size": 500_000}]});
    assert_eq!(
        status(ann.post::<InputView>("/api/files", &announced).await),
        429,
        "room is taken when it is announced"
    );
    // Outputs count too; of those that are too large the task is told.
    let task = run(&ann, &first.to_string(), "head -c 300000 /dev/zero > /output/a").await;
    assert_eq!((task.state, task.verdict), (TaskState::Completed, Some(Verdict::Success)));
    let list: InputListView = ann.get("/api/inputs").await.expect("a list");
    assert_eq!((list.usage.bytes, list.usage.files), (900_000, 2));
    assert_eq!((list.usage.bytes_limit, list.usage.files_limit), (Some(1 << 20), Some(4)));
    let refused = run(&ann, &first.to_string(), "head -c 300000 /dev/zero > /output/a").await;
    assert!(refused.output_notes.iter().any(|note| note.contains("may keep")), "{refused:?}");
    assert!(ann.files(&refused.task_id).await.expect("files").files.is_empty());
    // What is deleted makes room.
    let one = ann.request(Method::DELETE, &format!("/api/files/{}/a", task.task_id));
    let gone: DeletedFilesView = serde_json::from_slice(&ann.send(one).await.expect("deleted")).expect("what is gone");
    assert_eq!((gone.files, gone.bytes), (1, 300_000));
    assert!(ann.files(&task.task_id).await.expect("files").files.is_empty());
    let again = run(&ann, &first.to_string(), "head -c 300000 /dev/zero > /output/a; echo > /output/b").await;
    assert_eq!(ann.files(&again.task_id).await.expect("files").files.len(), 2);
    for path in [format!("/api/files/{}", again.task_id), format!("/api/files/{first}")] {
        ann.send(ann.request(Method::DELETE, &path)).await.expect("deleted");
    }
    let list: InputListView = ann.get("/api/inputs").await.expect("a list");
    assert_eq!((list.usage.bytes, list.usage.files, list.inputs.len()), (0, 0, 0));
    // On the disk as well.
    let files = home.cluster.dir().join("master/data/files");
    eventually(PATIENCE, "nothing is left on disk", || async { (count(&files) == 0).then_some(()) }).await;
    upload(&admin, &[(b"a", &bytes(3 << 20))]).await.expect("admins keep as much as they like");
}

#[tokio::test]
async fn what_is_old_enough_goes_and_what_a_task_reads_stays() {
    let env = [("CLOUDAI_FILES_RETENTION", "1s"), ("CLOUDAI_FILES_INPUT_RETENTION", "3s")];
    let home = Home::start(false, 1, &env).await;
    let api = home.cluster.api();
    let unused = upload(&api, &[(b"a", b"1")]).await.expect("uploaded").input.input_id.to_string();
    // Parts that come now and then keep an upload alive.
    let slow = json!({"files": [{"path": "a", "size": 20}]});
    let slow = api.post::<InputView>("/api/files", &slow).await.expect("announced").input.input_id.to_string();
    for at in 0..6 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        part(&api, &slow, "a", at, b"x".to_vec()).await.expect("it is still there");
    }
    let read = upload(&api, &[(b"a", b"2")]).await.expect("uploaded").input.input_id.to_string();
    // It runs for longer than what it reads would stay without it.
    let mut task = shell_task("sleep 5; cat /input/a > /output/a");
    task.input = Some(read.clone());
    let id = api.submit(&task).await.expect("accepted").task_id;
    eventually(PATIENCE, "the unused one is gone", || async {
        api.get::<InputView>(&format!("/api/files/{unused}")).await.is_err().then_some(())
    })
    .await;
    api.get::<InputView>(&format!("/api/files/{read}")).await.expect("it is being read");
    assert_eq!(api.ended(PATIENCE, &id).await.state, TaskState::Completed);
    eventually(PATIENCE, "its output and its input are gone", || async {
        let files = api.files(&id).await.expect("files");
        let input = api.get::<InputView>(&format!("/api/files/{read}")).await;
        (files.files.is_empty() && input.is_err()).then_some(())
    })
    .await;
}

/// A body that is sent piece by piece, as the test says.
fn piecewise() -> (tokio::sync::mpsc::Sender<Result<Vec<u8>, std::io::Error>>, reqwest::Body) {
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    let pieces = futures_util::stream::unfold(receiver, async |mut receiver: tokio::sync::mpsc::Receiver<_>| {
        receiver.recv().await.map(|piece| (piece, receiver))
    });
    (sender, reqwest::Body::wrap_stream(pieces))
}

fn numbered(number: usize, content: &[u8]) -> Vec<u8> {
    let head = format!("--b\r\nContent-Disposition: form-data; name=\"{number}\"\r\n\r\n");
    [head.as_bytes(), content, b"\r\n"].concat()
}

/// Begun before, and so with an older look at what is missing.
#[tokio::test]
async fn what_has_arrived_is_never_written_again() {
    let home = Home::start(false, 0, &[]).await;
    let api = home.cluster.api();
    let large = bytes(PIECE + 1_000_000);
    let files =
        json!({"files": [{"path": "a", "size": 5}, {"path": "b", "size": large.len()}, {"path": "c", "size": 1}]});
    let id = api.post::<InputView>("/api/files", &files).await.expect("announced").input.input_id.to_string();
    let (pieces, body) = piecewise();
    let request = api.request(Method::POST, &format!("/api/files/{id}"));
    let request = request.header("Content-Type", "multipart/form-data; boundary=b").body(body);
    let sending = tokio::spawn({
        let api = api.clone();
        async move { api.send(request).await }
    });
    pieces.send(Ok(numbered(2, b"x"))).await.expect("sent");
    // Meanwhile.
    assert!(part(&api, &id, "a", 0, b"first".to_vec()).await.expect("taken").blake3.is_some());
    assert!(part(&api, &id, "b", 0, large.clone()).await.expect("taken").blake3.is_some());
    let rest = [numbered(0, b"other"), numbered(1, &vec![0; large.len()]), numbered(2, b"y"), b"--b--\r\n".to_vec()];
    for piece in rest {
        pieces.send(Ok(piece)).await.expect("sent");
    }
    drop(pieces);
    let summary: InputSummaryView = serde_json::from_slice(&sending.await.expect("sent").expect("taken")).expect("it");
    assert_eq!(summary.missing, 0);
    for (path, content) in [("a", &b"first"[..]), ("b", &large), ("c", b"x")] {
        assert!(api.get_bytes(&format!("/api/files/{id}/{path}")).await.expect("it") == content, "{path}");
    }
}

#[tokio::test]
async fn what_comes_twice_at_a_time_counts_once() {
    let home = Home::start(false, 0, &[]).await;
    let api = home.cluster.api();
    for _ in 0..10 {
        let files = json!({"files": [{"path": "a", "size": 5}, {"path": "b", "size": 1}]});
        let id = api.post::<InputView>("/api/files", &files).await.expect("announced").input.input_id.to_string();
        let calls = (0..20).map(|_| {
            let (api, id) = (api.clone(), id.clone());
            tokio::spawn(async move { part(&api, &id, "a", 0, b"first".to_vec()).await })
        });
        for taken in futures_util::future::join_all(calls).await {
            if let Err(refused) = taken.expect("no panic") {
                assert_eq!(status::<()>(Err(refused)), 409);
            }
        }
        // Each takes over from the one before, so that none may have got to its end: then the rest is missing, or nothing.
        let view: InputView = api.get(&format!("/api/files/{id}")).await.expect("the input");
        let at = usize::try_from(view.files[0].received).expect("small");
        assert!(part(&api, &id, "a", at, b"first"[at..].to_vec()).await.expect("taken").blake3.is_some());
        let view: InputView = api.get(&format!("/api/files/{id}")).await.expect("the input");
        assert_eq!(view.input.missing, 1, "b has never come");
        assert_eq!(api.get_bytes(&format!("/api/files/{id}/a")).await.expect("it"), b"first");
    }
}

#[tokio::test]
async fn who_goes_before_the_answer_leaves_all_or_nothing() {
    let home = Home::start(false, 0, &[]).await;
    let api = home.cluster.api();
    for pause in 0..60 {
        let request = api.request(Method::POST, "/api/files").header("Content-Type", "multipart/form-data; boundary=b");
        let sending = api.send(request.body(form(&[(b"a", b"content")])));
        let _gone = tokio::time::timeout(Duration::from_micros(pause * 200), sending).await;
    }
    let list: InputListView = api.get("/api/inputs").await.expect("a list");
    for input in &list.inputs {
        let content = api.get_bytes(&format!("/api/files/{}/a", input.input_id)).await.expect("it is complete");
        assert_eq!(content, b"content");
    }
    println!("{} of 60 were kept", list.inputs.len());
    assert_eq!(list.usage.files as usize, list.inputs.len());
}

#[tokio::test]
async fn what_the_store_failed_to_take_can_come_again() {
    let home = Home::start(false, 0, &[]).await;
    let api = home.cluster.api();
    let content = bytes(2 * PIECE + 4);
    let files = json!({"files": [{"path": "a", "size": content.len()}]});
    let id = api.post::<InputView>("/api/files", &files).await.expect("announced").input.input_id.to_string();
    part(&api, &id, "a", 0, content[..1_000_000].to_vec()).await.expect("taken");
    let (pieces, body) = piecewise();
    let request = api.request(Method::PATCH, &format!("/api/files/{id}/a")).header("Upload-Offset", 1_000_000);
    let sending = tokio::spawn({
        let (api, request) = (api.clone(), request.body(body));
        async move { api.send(request).await }
    });
    pieces.send(Ok(content[1_000_000..PIECE].to_vec())).await.expect("sent");
    let received = async || -> usize {
        let view: InputView = api.get(&format!("/api/files/{id}")).await.expect("the input");
        usize::try_from(view.files[0].received).expect("small")
    };
    eventually(PATIENCE, "a piece is there", || async { (received().await == PIECE).then_some(()) }).await;
    // A file where its folder was: as on a full disk, nothing can be written.
    let folder = home.cluster.dir().join("master/data/files/inputs").join(&id);
    let aside = home.cluster.dir().join("aside");
    std::fs::rename(&folder, &aside).expect("moved");
    std::fs::write(&folder, b"").expect("a file");
    let _refused = pieces.send(Ok(content[PIECE..2 * PIECE].to_vec())).await;
    assert_eq!(status(sending.await.expect("sent")), 503);
    std::fs::remove_file(&folder).expect("removed");
    std::fs::rename(&aside, &folder).expect("moved");
    assert_eq!(received().await, PIECE);
    let file = part(&api, &id, "a", PIECE, content[PIECE..].to_vec()).await.expect("taken");
    assert_eq!(file.blake3, Some(digest(&content)));
    assert!(api.get_bytes(&format!("/api/files/{id}/a")).await.expect("it") == content);
}

/// Of a form that comes no further, what has come is known soon, so that others can go on.
#[tokio::test]
async fn a_form_that_stands_still_holds_nobody_up() {
    let home = Home::start(false, 0, &[]).await;
    let api = home.cluster.api();
    let files = json!({"files": [{"path": "a", "size": 5}, {"path": "b", "size": 1}]});
    let id = api.post::<InputView>("/api/files", &files).await.expect("announced").input.input_id.to_string();
    let (pieces, body) = piecewise();
    let request = api.request(Method::POST, &format!("/api/files/{id}"));
    let request = request.header("Content-Type", "multipart/form-data; boundary=b").body(body);
    let sending = tokio::spawn(request.send());
    pieces.send(Ok([numbered(0, b"first"), b"--b\r\n".to_vec()].concat())).await.expect("sent");
    eventually(PATIENCE, "the first is known", || async {
        let view: InputView = api.get(&format!("/api/files/{id}")).await.expect("the input");
        view.files[0].blake3.is_some().then_some(())
    })
    .await;
    assert!(part(&api, &id, "b", 0, b"x".to_vec()).await.expect("taken").blake3.is_some());
    pieces.send(Ok([&numbered(1, b"y")[5..], b"--b--\r\n"].concat())).await.expect("sent");
    drop(pieces);
    assert_eq!(sending.await.expect("sent").expect("an answer").status(), 200, "it went on");
}

#[tokio::test]
async fn what_is_deleted_twice_at_a_time_counts_once() {
    let home = Home::start(false, 1, &[]).await;
    let api = home.cluster.api();
    let line = "head -c 300000 /dev/zero > /output/a; head -c 200000 /dev/zero > /output/b";
    let tasks = [api.submit(&shell_task(line)).await, api.submit(&shell_task(line)).await];
    let [deleted, stays] = tasks.map(|task| task.expect("accepted").task_id);
    for task in [&deleted, &stays] {
        api.ended(PATIENCE, task).await;
    }
    let calls = (0..40).map(|number| {
        let path = match number % 3 {
            0 => format!("/api/files/{deleted}/a"),
            1 => format!("/api/files/{deleted}"),
            _ => format!("/api/tasks/{deleted}"),
        };
        let api = api.clone();
        tokio::spawn(async move { api.send(api.request(Method::DELETE, &path)).await.is_ok() })
    });
    let deleted = futures_util::future::join_all(calls).await;
    assert!(deleted.into_iter().any(|deleted| deleted.expect("no panic")));
    let list: InputListView = api.get("/api/inputs").await.expect("a list");
    assert_eq!((list.usage.bytes, list.usage.files), (500_000, 2), "those of the other task");
}

#[tokio::test]
async fn an_input_that_is_deleted_while_it_comes_leaves_nothing() {
    let home = Home::start(false, 0, &[]).await;
    let api = home.cluster.api();
    let files = json!({"files": [{"path": "a", "size": 3 * PIECE}]});
    let id = api.post::<InputView>("/api/files", &files).await.expect("announced").input.input_id.to_string();
    let (pieces, body) = piecewise();
    let request = api.request(Method::PATCH, &format!("/api/files/{id}/a")).header("Upload-Offset", 0).body(body);
    let sending = tokio::spawn({
        let api = api.clone();
        async move { api.send(request).await }
    });
    pieces.send(Ok(bytes(PIECE + 1_000_000))).await.expect("sent");
    let on_disk = home.cluster.dir().join("master/data/files/inputs").join(&id);
    eventually(PATIENCE, "a piece is there", || async { (count(&on_disk) > 0).then_some(()) }).await;
    api.send(api.request(Method::DELETE, &format!("/api/files/{id}"))).await.expect("deleted");
    // What comes now, and the end.
    let _refused = pieces.send(Ok(bytes(2 * PIECE - 1_000_000))).await;
    drop(pieces);
    let refused = sending.await.expect("sent");
    assert_eq!(status(refused), 404);
    eventually(PATIENCE, "nothing stays", || async { (count(&on_disk) == 0).then_some(()) }).await;
}

#[tokio::test]
async fn an_upload_that_a_crash_cut_off_leaves_nothing() {
    let mut home = Home::start(false, 0, &[]).await;
    let api = home.cluster.api();
    let files = home.cluster.dir().join("master/data/files");
    let (sender, body) = piecewise();
    let request = api.request(Method::POST, "/api/files").header("Content-Type", "multipart/form-data; boundary=b");
    let sending = tokio::spawn(request.body(body).send());
    let mut head = form(&[(b"a", &bytes(PIECE + 100_000))]);
    head.truncate(head.len() - 20);
    sender.send(Ok(head)).await.expect("sent");
    eventually(PATIENCE, "a piece is on the disk", || async { (count(&files) > 0).then_some(()) }).await;
    home.cluster.master.kill9();
    let _broken = sending.await;
    home.cluster.master.restart().await;
    assert_eq!(count(&files), 0);
}

/// Files below a directory.
fn count(directory: &Path) -> usize {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| if entry.path().is_dir() { count(&entry.path()) } else { 1 }).sum()
}
