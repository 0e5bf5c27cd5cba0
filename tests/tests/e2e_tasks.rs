//! Tasks over HTTP: what can be changed, counted, searched and deleted, and what not.
#![allow(missing_docs, clippy::panic, clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

use cloudai_tests::api::{Api, Failure};
use cloudai_tests::cluster::{Cluster, shell_task};
use cloudai_tests::master::MasterOptions;
use cloudai_tests::wait::{PATIENCE, eventually};
use cloudai_tests::worker::WorkerOptions;
use reqwest::Method;
use serde_json::{Value, json};
use shared::error::ErrorCode;
use shared::pull::PullPolicy;
use shared::task::Verdict;
use shared::view::{LogSearchView, TaskCounts, TaskView};

async fn patch(api: &Api, id: &str, body: &Value) -> Result<TaskView, Failure> {
    let answer = api.send(api.request(Method::PATCH, &format!("/api/tasks/{id}")).json(body)).await?;
    Ok(serde_json::from_slice(&answer).expect("a task"))
}

async fn delete(api: &Api, id: &str) -> Result<(), Failure> {
    api.send(api.request(Method::DELETE, &format!("/api/tasks/{id}"))).await.map(drop)
}

fn code(outcome: Result<impl std::fmt::Debug, Failure>) -> (u16, ErrorCode) {
    match outcome {
        Err(Failure::Refused { status, error }) => (status, error.code),
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test]
async fn a_task_that_waits_is_renamed_and_labelled() {
    let cluster = Cluster::start(0).await;
    let api = cluster.api();
    let mut task = shell_task("true");
    task.labels = [("run", "7"), ("draft", "yes")].map(|(name, value)| (name.into(), value.into())).into();
    let id = api.submit(&task).await.expect("accepted").task_id;
    let edited = patch(&api, &id, &json!({"name": "nightly", "labels": {"draft": null, "team": "a"}})).await;
    let edited = edited.expect("edited");
    let labels: Vec<_> = edited.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!((edited.name.as_deref(), labels.join(" ")), (Some("nightly"), "run=7 team=a".to_owned()));
    let found: Value = api.get("/api/tasks?label=team=a").await.expect("a list");
    assert_eq!(found["tasks"][0]["task_id"], id.as_str());
    assert_eq!(patch(&api, &id, &json!({"name": null})).await.expect("edited").name, None);
    for bad in [
        json!({"name": "x".repeat(10_000)}),
        json!({"labels": {"": "x"}}),
        json!({"labels": {"a": 1}}),
        json!({"state": "completed"}),
        json!({"user": "eve"}),
        json!({"image": "another"}),
        json!([]),
    ] {
        assert_eq!(code(patch(&api, &id, &bad).await), (400, ErrorCode::InvalidArgument), "{bad}");
    }
    assert_eq!(code(patch(&api, &format!("{id}.0"), &json!({})).await), (400, ErrorCode::InvalidArgument));
    assert_eq!(code(delete(&api, &id).await), (409, ErrorCode::Conflict));
    let _view: Value = api.post(&format!("/api/tasks/{id}/cancel"), &json!({})).await.expect("cancelled");
    assert_eq!(code(patch(&api, &id, &json!({"name": "late"})).await), (409, ErrorCode::Conflict));
}

#[tokio::test]
async fn a_task_that_has_ended_is_deleted_with_all_that_it_left() {
    let point = ("CLOUDAI_FAILPOINTS".to_owned(), "master.sweep.before=abort".to_owned());
    let options = MasterOptions { env: vec![point], ..Default::default() };
    let mut cluster = Cluster::start_with(&options, 1, &WorkerOptions::default()).await;
    let api = cluster.api();
    let task = shell_task("echo some log; echo file > /output/file");
    let (kept, gone) = (api.submit(&task).await.expect("accepted"), api.submit(&task).await.expect("accepted"));
    let (kept, gone) = (kept.task_id, gone.task_id);
    for id in [&kept, &gone] {
        let view = api.ended(PATIENCE, id).await;
        let events: Vec<_> = view.timeline.iter().map(|entry| entry.event.as_str()).collect();
        assert_eq!(events, ["submitted", "placed", "started", "ended", "finished"]);
        let times: Vec<_> = view.timeline.iter().map(|entry| entry.at).collect();
        assert!(times.is_sorted(), "{times:?}");
        let usage = view.usage.expect("what it used");
        assert_eq!((usage.stdout_bytes, usage.stderr_bytes), (9, 0));
        assert_eq!((usage.output_files, usage.output_bytes), (1, Some(5)));
    }
    let data = cluster.master.data_dir().to_owned();
    let left = |id: &str| {
        let all = walk(&data);
        all.into_iter().filter(|path| path.contains(id)).count()
    };
    assert!(left(&gone) >= 2, "a log and a file");
    // It dies before it can remove anything: the next start does.
    let _answer_may_be_lost = delete(&api, &gone).await;
    cluster.master.process.ended().await;
    assert!(left(&gone) >= 2, "nothing is removed yet");
    cluster.master.process.recipe_mut().env.clear();
    cluster.master.restart().await;
    for path in ["", "/logs", "/files", "/why"] {
        let answer: Result<Value, _> = api.get(&format!("/api/tasks/{gone}{path}")).await;
        assert_eq!(code(answer), (404, ErrorCode::TaskNotFound), "{path}");
    }
    assert_eq!(code(delete(&api, &gone).await), (404, ErrorCode::TaskNotFound));
    eventually(PATIENCE, "its bytes are gone", || async { (left(&gone) == 0).then_some(()) }).await;
    assert!(left(&kept) >= 2);
    assert_eq!(api.get_bytes(&format!("/api/files/{kept}/file")).await.expect("the other's file"), b"file\n");
    let counts: TaskCounts = api.get("/api/tasks/counts").await.expect("counts");
    assert_eq!(counts, TaskCounts { completed: 1, ..TaskCounts::default() });
}

fn walk(directory: &std::path::Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![directory.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(directory).expect("a directory").flatten() {
            let path = entry.path();
            if path.is_dir() {
                open.push(path.clone());
            }
            found.push(path.display().to_string());
        }
    }
    found
}

#[tokio::test]
async fn a_log_is_searched_page_by_page() {
    let cluster = Cluster::start(1).await;
    let api = cluster.api();
    let line = "i=0; while [ $i -lt 250 ]; do echo \"step $i\"; i=$((i+1)); done; echo 'Error: (x)' >&2; exit 1";
    let id = api.submit(&shell_task(line)).await.expect("accepted").task_id;
    api.ended(PATIENCE, &id).await;
    let search = async |query: &str| -> Result<LogSearchView, Failure> {
        api.get(&format!("/api/tasks/{id}/logs/search?{query}")).await
    };
    let (mut cursor, mut found) = (String::new(), Vec::new());
    loop {
        let page = search(&format!("pattern=step&limit=100{cursor}")).await.expect("a page");
        assert!(page.matches.len() <= 100);
        found.extend(page.matches.into_iter().map(|line| line.text));
        let Some(next) = page.next_cursor else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(found, (0..250).map(|number| format!("step {number}")).collect::<Vec<_>>());
    let one = search("pattern=error:%20(x)&ignore_case=true").await.expect("found");
    assert_eq!((one.matches.len(), one.matches[0].text.as_str()), (1, "Error: (x)"));
    let some = search("pattern=%5Estep%20%5Cd$&regex=true&stream=stdout").await.expect("found");
    assert_eq!(some.matches.len(), 10);
    assert_eq!(code(search("pattern=(&regex=true").await), (400, ErrorCode::InvalidArgument));
    assert_eq!(code(search("pattern=x&attempt=9").await), (404, ErrorCode::NotFound));
}

#[tokio::test]
async fn an_image_that_is_not_to_be_pulled_has_to_be_there() {
    let cluster = Cluster::start(1).await;
    let api = cluster.api();
    let pull = |image: Option<&str>, pull| {
        let task = shell_task("true");
        shared::submit::SubmitRequest {
            image: image.map_or_else(|| task.image.clone(), str::to_owned),
            pull: Some(pull),
            ..task
        }
    };
    let there = api.submit(&pull(None, PullPolicy::Never)).await.expect("accepted").task_id;
    let missing = api.submit(&pull(Some("127.0.0.1:1/no/such:1"), PullPolicy::Never)).await.expect("accepted").task_id;
    // It is on no registry, so it cannot be had afresh.
    let fresh = api.submit(&pull(Some("127.0.0.1:1/no/such:1"), PullPolicy::Always)).await.expect("accepted").task_id;
    let task = api.ended(PATIENCE, &there).await;
    assert_eq!((task.verdict, task.pull), (Some(Verdict::Success), PullPolicy::Never));
    for (id, why) in [(missing, "does not want it pulled"), (fresh, "could not be pulled")] {
        let task = api.ended(PATIENCE, &id).await;
        assert!(matches!(&task.verdict, Some(Verdict::Image { message }) if message.contains(why)), "{task:?}");
    }
}
