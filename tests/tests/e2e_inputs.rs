//! Inputs from upload to deletion, with files kept in a directory and in a bucket.
#![allow(missing_docs, clippy::panic, clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use cloudai_tests::api::Api;
use cloudai_tests::cluster::shell_task;
use cloudai_tests::uploads::{Home, PIECE, bytes, count, digest, part, status, upload};
use cloudai_tests::wait::{PATIENCE, eventually};
use reqwest::Method;
use serde_json::{Value, json};
use shared::role::Role;
use shared::task::{TaskState, Verdict};
use shared::view::{DeletedFilesView, InputListView, InputView, TaskView};

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
    assert!(refused.output_notes.iter().any(|note| note.contains("has no room: a, ")), "{refused:?}");
    assert!(ann.files(&refused.task_id).await.expect("files").files.is_empty());
    // One that is too large, be it a hole, costs the others nothing.
    let line = "echo 1 > /output/a; truncate -s 1024G /output/hole; echo 2 > /output/z";
    let partly = run(&ann, &first.to_string(), line).await;
    let names: Vec<_> =
        ann.files(&partly.task_id).await.expect("files").files.into_iter().map(|file| file.path).collect();
    assert_eq!(names, ["a", "z"]);
    assert!(partly.output_notes.iter().any(|note| note.contains("has no room: hole, 1 TiB")), "{partly:?}");
    ann.send(ann.request(Method::DELETE, &format!("/api/files/{}", partly.task_id))).await.expect("deleted");
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
