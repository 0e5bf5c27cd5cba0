//! Uploads that are cut off, come twice or meet a store that fails.
#![allow(missing_docs, clippy::panic, clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use cloudai_tests::cluster::shell_task;
use cloudai_tests::uploads::{Home, PIECE, bytes, count, digest, form, numbered, part, piecewise, status};
use cloudai_tests::wait::{PATIENCE, eventually};
use reqwest::Method;
use serde_json::json;
use shared::view::{InputListView, InputSummaryView, InputView};

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
