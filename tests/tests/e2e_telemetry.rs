//! How workers are and what happens, as it happens.
#![allow(missing_docs, clippy::panic, clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::process::Stdio;

use cloudai_tests::cluster::{Cluster, shell_task};
use cloudai_tests::python::python;
use cloudai_tests::socket::Socket;
use cloudai_tests::wait::PATIENCE;
use reqwest::Method;
use serde_json::{Value, json};
use shared::role::Role;
use shared::task::TaskState;
use shared::view::{EventFrame, EventKind, EventView, ReadyView, TelemetryFrame, TelemetryView, WorkerView};
use shared::worker::WorkerState;
use tokio::io::AsyncWriteExt;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Bytes, Message};

#[tokio::test]
async fn a_snapshot_and_deltas_come_to_what_there_is() {
    let mut cluster = Cluster::start(2).await;
    let (url, token) = (cluster.master.url(), cluster.master.token().to_owned());
    for (path, token, status) in [("/ws/telemetry", "", 401), ("/ws/telemetry/nobody", token.as_str(), 404)] {
        assert_eq!(Socket::connect(&url, path, token).await.err(), Some(status), "{path}");
    }
    let mut all = Socket::connect(&url, "/ws/telemetry", &token).await.expect("connected");
    let mut one = Socket::connect(&url, "/ws/telemetry/worker-1", &token).await.expect("connected");
    let Some(TelemetryFrame::Snapshot { mut sequence, workers }) = all.next().await else { panic!("no snapshot") };
    let mut known: BTreeMap<_, WorkerView> =
        workers.into_iter().map(|worker| (worker.worker_id.clone(), worker)).collect();
    assert_eq!(known.len(), 2);
    let Some(TelemetryFrame::Snapshot { workers, .. }) = one.next().await else { panic!("no snapshot") };
    assert_eq!(workers.len(), 1);
    let api = cluster.api();
    let task = api.submit(&shell_task("sleep 600")).await.expect("accepted").task_id;
    let runs = |known: &BTreeMap<_, WorkerView>| known.values().any(|worker| !worker.running_tasks.is_empty());
    let is_gone = |known: &BTreeMap<_, WorkerView>| known.values().any(|worker| worker.state != WorkerState::Active);
    let mut killed = false;
    while !is_gone(&known) {
        match all.next().await {
            Some(TelemetryFrame::Delta { sequence: next, workers, removed }) => {
                assert_eq!(next, sequence + 1, "none is missing");
                sequence = next;
                assert!(removed.is_empty() && !workers.is_empty());
                known.extend(workers.into_iter().map(|worker| (worker.worker_id.clone(), worker)));
            }
            other => panic!("{other:?}"),
        }
        if runs(&known) && !std::mem::replace(&mut killed, true) {
            cluster.workers[1].kill9();
        }
    }
    assert!(killed, "it was seen to run before");
    // What was put together is what there is, but for what has changed since.
    let now: TelemetryView = api.get("/telemetry").await.expect("telemetry");
    let names =
        |workers: &mut dyn Iterator<Item = &WorkerView>| workers.map(|one| one.worker_id.clone()).collect::<Vec<_>>();
    assert_eq!(names(&mut now.workers.iter()), names(&mut known.values()));
    let only: TelemetryView = api.get("/telemetry/worker-1").await.expect("telemetry");
    assert_eq!(only.workers.len(), 1);
    while let Some(frame) = one.next().await {
        let TelemetryFrame::Delta { workers, .. } = frame else { panic!("{frame:?}") };
        assert!(workers.iter().all(|worker| worker.worker_id.as_str() == "worker-1"));
        if workers.iter().any(|worker| !worker.running_tasks.is_empty()) {
            break;
        }
    }
    let _view: Value = api.post(&format!("/api/tasks/{task}/cancel"), &json!({})).await.expect("cancelled");
}

fn event(frame: Option<EventFrame>) -> EventView {
    match frame {
        Some(EventFrame::Event { event }) => event,
        other => panic!("no event: {other:?}"),
    }
}

#[tokio::test]
async fn events_come_to_those_they_concern_and_go_on_from_a_cursor() {
    let mut cluster = Cluster::start(1).await;
    let (url, admin) = (cluster.master.url(), cluster.api());
    let (ann, bob) = (admin.somebody("ann", Role::User).await, admin.somebody("bob", Role::User).await);
    let mut of_ann = Socket::connect(&url, "/ws/events", ann.token()).await.expect("connected");
    let mut of_bob = Socket::connect(&url, "/ws/events", bob.token()).await.expect("connected");
    let mut of_admin = Socket::connect(&url, "/ws/events", cluster.master.token()).await.expect("connected");
    let task = ann.submit(&shell_task("exit 3")).await.expect("accepted").task_id;
    ann.ended(PATIENCE, &task).await;
    let other = bob.submit(&shell_task("true")).await.expect("accepted").task_id;
    bob.ended(PATIENCE, &other).await;
    let expected = [
        EventKind::TaskSubmitted,
        EventKind::AttemptPlaced,
        EventKind::AttemptStarted,
        EventKind::AttemptEnded,
        EventKind::ElementEnded,
        EventKind::TaskEnded,
    ];
    let mut seen = Vec::new();
    for kind in expected {
        let event = event(of_ann.next().await);
        assert_eq!((event.kind, event.task_id.as_deref()), (kind, Some(task.as_str())));
        assert_eq!(event.user.as_ref().map(|user| user.as_str()), Some("ann"));
        seen.push(event);
    }
    assert_eq!(seen[5].state, Some(TaskState::Failed));
    for _ in expected {
        assert_eq!(event(of_bob.next().await).task_id.as_deref(), Some(other.as_str()), "nothing of ann's");
    }
    for _ in expected.iter().chain(&expected) {
        event(of_admin.next().await);
    }
    // From a cursor, and of one task.
    let path = format!("/ws/events?after={}&task={task}", seen[2].cursor);
    let mut again = Socket::connect(&url, &path, cluster.master.token()).await.expect("connected");
    for later in &seen[3..] {
        assert_eq!(event(again.next().await), *later);
    }
    assert_eq!(Socket::connect(&url, "/ws/events?after=x", ann.token()).await.err(), Some(400));
    // What happened before a restart is not known any more, and whoever asks for it is told so.
    cluster.master.kill9();
    assert!(of_ann.next::<EventFrame>().await.is_none(), "cut off");
    cluster.master.restart().await;
    let path = format!("/ws/events?after={}", seen[5].cursor);
    let mut after = Socket::connect(&url, &path, ann.token()).await.expect("connected");
    assert_eq!(after.next::<EventFrame>().await, Some(EventFrame::Lagged));
    let worker = event(after.next().await);
    assert_eq!((worker.kind, worker.task_id), (EventKind::WorkerRegistered, None), "of workers everybody hears");
}

#[tokio::test]
async fn whoever_is_shut_out_hears_no_more_and_junk_is_answered_by_the_end() {
    let cluster = Cluster::start(0).await;
    let (url, admin) = (cluster.master.url(), cluster.api());
    let ann = admin.somebody("ann", Role::User).await;
    let long = |length| Message::Binary(Bytes::from(vec![0; length]));
    // Much of the longest one is unread when it is refused: the goodbye must arrive all the same.
    for junk in [Message::Text("x".repeat(5000).into()), long(5000), long(300_000)] {
        let mut socket = Socket::connect(&url, "/ws/telemetry", ann.token()).await.expect("connected");
        socket.send(junk).await;
        assert_eq!(socket.closed().await, Some(1009), "too large");
    }
    for path in ["/ws/telemetry", "/ws/events"] {
        let mut socket = Socket::connect(&url, path, ann.token()).await.expect("connected");
        socket.send(Message::Close(Some(CloseFrame { code: 1001.into(), reason: "".into() }))).await;
        assert_eq!(socket.closed().await, Some(1001), "{path}: a goodbye is returned");
    }
    let mut socket = Socket::connect(&url, "/ws/events", ann.token()).await.expect("connected");
    socket.send(Message::Text("what is this".into())).await;
    admin.send(admin.request(Method::POST, "/api/users/ann/logout")).await.expect("shut out");
    assert_eq!(socket.closed().await, Some(4401), "within a minute");
}

#[tokio::test]
async fn the_figures_are_in_the_format_of_prometheus() {
    let cluster = Cluster::start(1).await;
    let api = cluster.api();
    let task = api.submit(&shell_task("true")).await.expect("accepted").task_id;
    api.ended(PATIENCE, &task).await;
    let page = api.get_bytes("/metrics").await.expect("the figures");
    let parser = "import sys\nfrom prometheus_client.parser import text_string_to_metric_families as parse\n\
                  for family in parse(sys.stdin.read()):\n  for sample in family.samples:\n    \
                  print(family.type, sample.name, sorted(sample.labels.items()), sample.value)";
    let mut python =
        python().args(["-c", parser]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("python3");
    python.stdin.take().expect("its input").write_all(&page).await.expect("written");
    let output = python.wait_with_output().await.expect("it ends");
    assert!(output.status.success());
    let parsed = String::from_utf8(output.stdout).expect("text");
    for sample in [
        "counter cloudai_tasks_ended_total [('state', 'completed')] 1",
        "gauge cloudai_tasks [('state', 'queued')] 0",
        "gauge cloudai_workers [('state', 'active')] 1",
        "gauge cloudai_worker_running [('worker', 'worker-1')] 0",
        "gauge cloudai_store_available [] 1",
        "gauge cloudai_build_info [('version', ",
        "gauge process_resident_memory_bytes [] ",
    ] {
        assert!(parsed.lines().any(|line| line.starts_with(sample)), "{sample}\n{parsed}");
    }
    let ready: ReadyView = api.with_token("").get("/health/ready").await.expect("ready");
    assert_eq!((ready.store.as_str(), ready.disk.as_str(), ready.leadership.as_str()), ("ok", "ok", "ok"));
    assert!(api.with_token("").get_bytes("/metrics").await.is_err(), "not for everybody");
}
