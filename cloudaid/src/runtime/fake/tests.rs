use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::TryStreamExt;
use shared::id::{Fence, TaskId};
use shared::link::{LogStream, RunLimits};
use shared::resources::Resources;
use shared::task::Command;
use ulid::Ulid;

use super::*;
use crate::runtime::contract;

fn spec(number: u32, image: &str, line: &str) -> ContainerSpec {
    ContainerSpec {
        key: AttemptKey { task: TaskId(Ulid(1)), index: number, attempt: 1, fence: Fence(1) },
        cluster: ClusterId(Ulid(1)),
        worker: "w".parse().expect("a name"),
        name: None,
        image: image.to_owned(),
        confinement: Default::default(),
        gpus: Vec::new(),
        command: Command::Shell(line.to_owned()),
        env: BTreeMap::new(),
        resources: Resources::TASK_DEFAULT,
        output: "/nowhere".into(),
        output_device: None,
        input: None,
        limits: RunLimits {
            memory_bytes: 0,
            storage_bytes: 0,
            stop_grace: Duration::from_secs(10),
            time_limit: None,
            at_most_once: false,
            blocking_log: false,
            storage_reserved: false,
        },
    }
}

#[tokio::test]
async fn it_keeps_the_contract() {
    let scratch = tempfile::tempdir().expect("a directory");
    contract::check(&FakeRuntime::new(), "busybox", scratch.path()).await.expect("the contract");
}

#[tokio::test]
async fn calls_and_starts_are_counted() {
    let fake = FakeRuntime::new();
    let spec = spec(0, "busybox", "true");
    fake.create(&spec).await.expect("made");
    fake.start(&spec.key).await.expect("started");
    fake.start(&spec.key).await.expect("started already");
    assert_eq!(fake.calls(), Calls { create: 1, start: 2, ..Calls::default() });
    assert_eq!(fake.starts(), [spec.key]);
}

#[tokio::test]
async fn a_lost_answer_leaves_the_work_done() {
    let fake = FakeRuntime::new();
    let lost = RuntimeError::Engine("lost".to_owned());
    fake.fail_next(Call::Create, Fault::Before(lost.clone()));
    fake.fail_next(Call::Create, Fault::After(lost.clone()));
    let spec = spec(0, "busybox", "true");
    assert_eq!(fake.create(&spec).await, Err(lost.clone()));
    assert!(fake.is_empty());
    assert_eq!(fake.create(&spec).await, Err(lost));
    assert_eq!(fake.len(), 1);
    assert_eq!(fake.create(&spec).await, Ok(()));
}

#[tokio::test]
async fn an_outage_ends_when_it_is_said() {
    let fake = FakeRuntime::new();
    fake.set_outage(Some("down"));
    assert_eq!(fake.info().await, Err(RuntimeError::Engine("down".to_owned())));
    fake.set_outage(None);
    assert!(fake.info().await.is_ok());
}

#[tokio::test]
async fn output_after_a_kill_is_never_written() {
    let fake = FakeRuntime::new();
    let spec = spec(0, "busybox", "echo first; sleep 10; echo second");
    fake.create(&spec).await.expect("made");
    fake.start(&spec.key).await.expect("started");
    let mut log = fake.logs(&spec.key, LogMark::default()).await.expect("a log");
    let first = log.try_next().await.expect("a piece");
    assert_eq!(first, Some(LogPiece::Data(LogStream::Stdout, Bytes::from_static(b"first\n"))));
    fake.signal(&spec.key, StopSignal::Kill).await.expect("killed");
    assert_eq!(log.try_next().await.expect("the end"), None);
    assert_eq!(fake.wait(&spec.key).await.expect("an end").code, 137);
}

#[tokio::test]
async fn a_container_lost_ends_the_wait() {
    let fake = Arc::new(FakeRuntime::new());
    let spec = spec(0, "fake/endless", "");
    fake.create(&spec).await.expect("made");
    fake.start(&spec.key).await.expect("started");
    let waiting = tokio::spawn({
        let (fake, key) = (Arc::clone(&fake), spec.key);
        async move { fake.wait(&key).await }
    });
    tokio::task::yield_now().await;
    fake.lose(&spec.key);
    assert_eq!(waiting.await.expect("a task"), Err(RuntimeError::NotFound));
}

#[tokio::test]
async fn ten_thousand_are_cheap() {
    let fake = FakeRuntime::new();
    let begin = std::time::Instant::now();
    for number in 0..10_000 {
        let spec = spec(number, "fake/exit:3", "");
        fake.create(&spec).await.expect("made");
        fake.start(&spec.key).await.expect("started");
        assert_eq!(fake.wait(&spec.key).await.expect("an end").code, 3);
        fake.remove(&spec.key).await.expect("removed");
    }
    assert!(fake.is_empty());
    assert_eq!(fake.starts().len(), 10_000);
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
}

#[tokio::test]
async fn a_log_of_which_some_is_dropped_says_where_it_can_be_read_from() {
    let fake =
        FakeRuntime::with(|_| Behaviour::exit(0).printing(LogStream::Stdout, "a\n").printing(LogStream::Stderr, "b\n"));
    let spec = spec(0, "busybox", "");
    fake.create(&spec).await.expect("made");
    fake.start(&spec.key).await.expect("started");
    fake.forget_log(&spec.key, 0);
    let read =
        async |from| fake.logs(&spec.key, from).await.expect("a log").try_collect::<Vec<_>>().await.expect("read");
    let place = |at, bytes, first| LogMark { at, bytes, cut: [false; 2], first };
    let [a, b] = [(LogStream::Stdout, "a\n"), (LogStream::Stderr, "b\n")]
        .map(|(stream, text)| LogPiece::Data(stream, Bytes::from_static(text.as_bytes())));
    let (start, later) = (place(1, [0, 0], true), place(2, [2, 0], false));
    let all = [LogPiece::Mark(start), a.clone(), LogPiece::Mark(later), b.clone()];
    assert_eq!(read(LogMark::default()).await, all);
    assert_eq!(read(start).await, all[1..]);
    assert_eq!(read(later).await, std::slice::from_ref(&b));
    fake.forget_log(&spec.key, 1);
    assert_eq!(read(start).await, [LogPiece::Gap, LogPiece::Mark(place(2, [0, 0], true)), b.clone()]);
    assert_eq!(read(later).await, [b]);
}

#[tokio::test]
async fn a_fleeting_log_is_read_once() {
    let fake = FakeRuntime::with(|_| Behaviour { flood: 100_000, fleeting: true, ..Behaviour::exit(0) });
    let spec = spec(0, "busybox", "");
    fake.create(&spec).await.expect("made");
    fake.start(&spec.key).await.expect("started");
    let first = fake.logs(&spec.key, LogMark::default()).await.expect("a log");
    let pieces: Vec<_> = first.try_collect().await.expect("read");
    let start = LogMark { at: 1, first: true, ..LogMark::default() };
    assert_eq!(pieces[0], LogPiece::Mark(start));
    let bytes: usize = pieces.into_iter().filter_map(LogPiece::data).map(|(_, data)| data.len()).sum();
    assert_eq!(bytes, 100_000);
    let again: Vec<_> = fake.logs(&spec.key, start).await.expect("a log").try_collect().await.expect("read");
    assert_eq!(again[0], LogPiece::Gap);
    assert!(again.into_iter().all(|piece| piece.data().is_none()));
}
