//! Logs that wait for the master at the worker.

use super::*;
use crate::runtime::fake::Piece;

/// The log that waits, if one does.
fn spool(data_dir: &Path) -> Option<std::path::PathBuf> {
    let runs = std::fs::read_dir(data_dir.join("runs")).ok()?;
    runs.filter_map(|run| Some(run.ok()?.path().join("log-spool"))).find(|path| path.exists())
}

fn kept(data_dir: &Path) -> Vec<u8> {
    spool(data_dir).and_then(|path| std::fs::read(path).ok()).unwrap_or_default()
}

async fn ended(talk: &mut Talk) -> Outcome {
    loop {
        if let Report { change: AttemptChange::Finished(outcome), .. } = talk.report().await {
            return outcome;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_the_master_outlives_container_and_worker() {
    let scratch = tempfile::tempdir().expect("a directory");
    let log: Vec<u8> = (0..500_000).flat_map(|number| format!("{number}\n").into_bytes()).collect();
    let printed = log.clone();
    let runtime = Arc::new(FakeRuntime::with(move |_| {
        Behaviour::endless().printing(LogStream::Stdout, printed.clone()).printing(LogStream::Stderr, "oh\n")
    }));
    let mut master = Master::start().await;
    master.stored.lock().log_failures = usize::MAX;
    let worker = Running::start(&master, scratch.path(), &runtime);
    let (mut talk, _) = master.welcome(|_| Decision::Keep).await;
    talk.say(ToWorker::Assign(vec![assignment(0)]));
    talk.started().await;
    wait_for("all of it on the disk", || kept(scratch.path()).ends_with(b"oh\n")).await;
    worker.stop().await;
    runtime.lose(&key(0));
    master.stored.lock().log_failures = 0;

    let worker = Running::start(&master, scratch.path(), &runtime);
    let (mut talk, inventory) = master.welcome(|_| Decision::Keep).await;
    assert_eq!(inventory, [Held { key: key(0), phase: Phase::Finished }]);
    let outcome = ended(&mut talk).await;
    assert!(matches!(outcome.verdict, Verdict::WorkerLost { .. }), "{outcome:?}");
    assert_eq!((outcome.stdout_bytes, outcome.stderr_bytes), (log.len() as u64, 3));
    assert!(outcome.output_notes[0].contains("lack its end"), "nobody knows what it wrote last: {outcome:?}");
    {
        let stored = master.stored.lock();
        assert!(stored.stdout[&key(0)] == log, "{} of {} bytes", stored.stdout[&key(0)].len(), log.len());
        assert_eq!(stored.stderr[&key(0)], b"oh\n");
    }
    assert_eq!(spool(scratch.path()), None, "it is not needed any more");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_had_ended_is_known_to_be_whole_without_its_container() {
    let scratch = tempfile::tempdir().expect("a directory");
    let runtime = Arc::new(FakeRuntime::with(|_| Behaviour::exit(3).printing(LogStream::Stdout, "done\n")));
    let mut master = Master::start().await;
    master.stored.lock().log_failures = usize::MAX;
    let worker = Running::start(&master, scratch.path(), &runtime);
    let (mut talk, _) = master.welcome(|_| Decision::Keep).await;
    talk.say(ToWorker::Assign(vec![assignment(0)]));
    talk.started().await;
    wait_for("it is on the disk", || !kept(scratch.path()).is_empty()).await;
    worker.stop().await;
    runtime.lose(&key(0));
    master.stored.lock().log_failures = 0;
    let asked = runtime.calls().logs;

    let worker = Running::start(&master, scratch.path(), &runtime);
    let (mut talk, _) = master.welcome(|_| Decision::Keep).await;
    let outcome = ended(&mut talk).await;
    assert_eq!((outcome.verdict, outcome.stdout_bytes), (Verdict::ExitCode { exit_code: 3 }, 5));
    assert_eq!(outcome.output_notes, Vec::<String>::new());
    assert_eq!(master.stored.lock().stdout[&key(0)], b"done\n");
    assert_eq!(runtime.calls().logs, asked, "nobody asks for what is gone");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reading_goes_on_while_the_master_is_away() {
    let scratch = tempfile::tempdir().expect("a directory");
    let runtime = Arc::new(FakeRuntime::with(|_| {
        let mut behaviour = Behaviour::endless().printing(LogStream::Stdout, "first\n");
        let later = |millis, stream, text: &'static str| Piece {
            after: Duration::from_millis(millis),
            stream,
            bytes: text.into(),
        };
        behaviour.output.push(later(4000, LogStream::Stdout, "second\n"));
        behaviour.output.push(later(7000, LogStream::Stderr, "third\n"));
        behaviour
    }));
    let mut master = Master::start().await;
    let worker = Running::start(&master, scratch.path(), &runtime);
    let (talk, _) = master.welcome(|_| Decision::Keep).await;
    talk.say(ToWorker::Assign(vec![assignment(0)]));
    wait_for("the first of it", || master.stored.lock().stdout.contains_key(&key(0))).await;
    assert_eq!(spool(scratch.path()), None, "nothing waits");
    talk.say(ToWorker::Goodbye { reason: "restart".to_owned() });
    drop(talk);
    let has = |text: &[u8]| kept(scratch.path()).windows(text.len()).any(|part| part == text);
    wait_for("the second on the disk", || has(b"second\n")).await;
    wait_for("the third on the disk", || has(b"third\n")).await;
    assert!(!has(b"first\n"), "the master has it");
    assert_eq!(runtime.calls().logs, 1, "it was not read again for that");
    runtime.lose(&key(0));

    let (mut talk, _) = master.welcome(|_| Decision::Keep).await;
    let outcome = ended(&mut talk).await;
    assert!(matches!(outcome.verdict, Verdict::WorkerLost { .. }), "{outcome:?}");
    assert_eq!((outcome.stdout_bytes, outcome.stderr_bytes), (13, 6));
    {
        let stored = master.stored.lock();
        assert_eq!(
            (&stored.stdout[&key(0)][..], &stored.stderr[&key(0)][..]),
            (&b"first\nsecond\n"[..], &b"third\n"[..])
        );
    }
    assert_eq!(spool(scratch.path()), None, "it is not needed any more");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_was_brought_before_is_not_told_as_none() {
    let scratch = tempfile::tempdir().expect("a directory");
    let runtime = Arc::new(FakeRuntime::with(|_| {
        Behaviour::exit(3).printing(LogStream::Stdout, "done\n").writing("r.txt", "data\n")
    }));
    let mut master = Master::start().await;
    master.stored.lock().upload_failures = usize::MAX;
    let worker = Running::start(&master, scratch.path(), &runtime);
    let (mut talk, _) = master.welcome(|_| Decision::Keep).await;
    talk.say(ToWorker::Assign(vec![assignment(0)]));
    talk.started().await;
    wait_for("its log", || master.stored.lock().stdout.contains_key(&key(0))).await;
    wait_for("an upload", || master.stored.lock().upload_failures < usize::MAX).await;
    worker.stop().await;
    runtime.lose(&key(0));
    master.stored.lock().upload_failures = 0;

    let worker = Running::start(&master, scratch.path(), &runtime);
    let (mut talk, _) = master.welcome(|_| Decision::Keep).await;
    let outcome = ended(&mut talk).await;
    assert_eq!((outcome.verdict, outcome.stdout_bytes), (Verdict::ExitCode { exit_code: 3 }, 5));
    assert_eq!((outcome.output_files, &master.stored.lock().stdout[&key(0)][..]), (1, &b"done\n"[..]));
    worker.stop().await;
}
