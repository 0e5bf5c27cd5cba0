//! What stays of a log, whatever the master and the engine have lost of it.

use std::path::Path;

use bytes::Bytes;
use shared::link::{LogStream, RunLimits};
use tempfile::TempDir;

use super::super::room::Room;
use super::super::spool::HEAD;
use super::*;
use crate::runtime::ContainerSpec;
use crate::runtime::fake::{Behaviour, FakeRuntime, Piece};
use crate::worker::tests::{assignment, key};

/// A run that writes to stdout, and where it is kept.
struct Scene {
    scratch: TempDir,
    runtime: Arc<FakeRuntime>,
    room: Arc<Room>,
}

impl Scene {
    /// What it writes, each at its time, in milliseconds. `room` bytes may be kept.
    async fn of(pieces: &'static [(u64, &'static str)], room: u64) -> Self {
        let scratch = tempfile::tempdir().expect("a directory");
        let runtime = Arc::new(FakeRuntime::with(move |_| {
            let mut behaviour = Behaviour::endless();
            behaviour.output = pieces.iter().map(|&(after, text)| piece(after, text)).collect();
            behaviour
        }));
        runtime.create(&spec(scratch.path())).await.expect("made");
        runtime.start(&key(0)).await.expect("started");
        runtime.forget_log(&key(0), 0);
        Self { scratch, runtime, room: Arc::new(Room::of(room)) }
    }

    /// One life of it.
    async fn intake(&self) -> Intake {
        let place = Place::at(self.scratch.path().join("log-place"));
        let spool = Spool::at(self.scratch.path().join("log-spool"), Arc::clone(&self.room));
        let mut intake = Intake::new(key(0), Arc::clone(&self.runtime) as _, place, spool);
        intake.recall().await;
        intake
    }

    /// `abcdef` is kept, of which the master had the first two, and then four.
    async fn kept() -> (Self, Intake) {
        let scene = Self::of(&[(0, "abcdef")], 1000).await;
        let mut intake = scene.intake().await;
        next(&mut intake).await;
        assert!(intake.begin(stdout(2)).await);
        intake.put_by().await;
        intake.learn(stdout(4));
        assert_eq!((intake.spool().start(), intake.spool().end()), (stdout(2), stdout(6)));
        (scene, intake)
    }
}

fn piece(after: u64, text: &'static str) -> Piece {
    Piece { after: Duration::from_millis(after), stream: LogStream::Stdout, bytes: text.into() }
}

fn spec(output: &Path) -> ContainerSpec {
    let assignment = assignment(0);
    let limits = RunLimits::of(&assignment);
    ContainerSpec {
        key: assignment.key,
        cluster: "01arz3ndektsv4rrffq69g5fav".parse().expect("an id"),
        worker: "w1".parse().expect("a name"),
        name: None,
        image: assignment.image,
        confinement: assignment.confinement,
        command: assignment.command,
        env: assignment.env,
        resources: assignment.resources,
        gpus: Vec::new(),
        output: output.join("output"),
        output_device: None,
        input: None,
        limits,
    }
}

/// What is read next: first the engine only begins to answer.
async fn next(intake: &mut Intake) -> Vec<Chunk> {
    loop {
        let chunks = intake.fill().await;
        if !chunks.is_empty() || intake.has_ended() {
            return chunks;
        }
    }
}

fn stdout(stdout: u64) -> Offsets {
    Offsets { stdout, stderr: 0 }
}

fn out(offset: u64, data: &'static str) -> Chunk {
    (LogStream::Stdout, offset, Bytes::from(data))
}

#[tokio::test]
async fn what_the_engine_drops_while_no_more_can_be_kept_is_told() {
    // The head and the first line.
    let scene = Scene::of(&[(0, "first\n"), (1000, "second\n"), (1000, "third\n")], 60).await;
    let mut intake = scene.intake().await;
    next(&mut intake).await;
    intake.put_by().await;
    assert_eq!(intake.spool().end(), stdout(6));
    next(&mut intake).await;
    intake.put_by().await;
    assert_eq!((intake.spool().end(), intake.held().len()), (stdout(6), 0), "there is no room for more");
    assert!(!intake.takes_more(true));
    scene.runtime.forget_log(&key(0), 2);

    assert!(intake.begin(Offsets::default()).await);
    assert_eq!(intake.spooled(HEAD).await.expect("read").chunks, [out(0, "first\n")]);
    intake.learn(stdout(6));
    intake.unspooled().await;
    assert_eq!(next(&mut intake).await, [out(6, "third\n")], "nothing of it is taken for what was there before");
    intake.learn(stdout(12));
    intake.remember().await;
    assert!(intake.all().lacks_end);
    // The next life knows it too, and where to go on.
    let mut again = scene.intake().await;
    assert!(again.all().lacks_end);
    assert!(again.begin(stdout(9)).await);
    assert_eq!(next(&mut again).await, [out(9, "rd\n")]);
}

#[tokio::test]
async fn what_the_engine_drops_between_two_lives_is_told() {
    let scene = Scene::of(&[(0, "first\n"), (1000, "second\n")], 1000).await;
    let mut intake = scene.intake().await;
    next(&mut intake).await;
    assert!(intake.begin(Offsets::default()).await);
    intake.learn(stdout(6));
    intake.remember().await;
    scene.runtime.forget_log(&key(0), 1);
    let mut again = scene.intake().await;
    assert!(again.begin(stdout(6)).await);
    assert_eq!(next(&mut again).await, [out(6, "second\n")]);
    assert!(again.all().lacks_end);
}

#[tokio::test]
async fn what_the_engine_drops_while_it_cannot_be_asked_is_told() {
    let scene = Scene::of(&[(0, "first\n"), (1000, "second\n"), (1500, "third\n")], 1000).await;
    let mut intake = scene.intake().await;
    next(&mut intake).await;
    // As where the engine breaks off.
    intake.reader = None;
    scene.runtime.forget_log(&key(0), 2);
    assert_eq!(next(&mut intake).await, [out(6, "third\n")]);
    assert!(intake.all().lacks_end);
}

#[tokio::test]
async fn what_waits_at_the_engine_waits() {
    let scene = Scene::of(&[(0, "first\n")], 10).await;
    let mut intake = scene.intake().await;
    next(&mut intake).await;
    intake.put_by().await;
    assert!(intake.held().is_empty() && intake.spool().is_empty(), "there is no room for it");
    assert!(!intake.is_empty(), "a run that stands still for it goes on");
    assert!(intake.begin(Offsets::default()).await);
    intake.unspooled().await;
    assert!(intake.is_empty());
    assert_eq!(next(&mut intake).await, [out(0, "first\n")]);
}

#[tokio::test]
async fn a_master_that_has_less_gets_what_is_kept_again() {
    let (scene, mut intake) = Scene::kept().await;
    scene.runtime.lose(&key(0));
    let asked = scene.runtime.calls().logs;
    assert!(intake.begin(stdout(3)).await);
    assert_eq!((intake.durable(), intake.spool().end()), (stdout(3), stdout(6)));
    assert_eq!(intake.spooled(HEAD).await.expect("read").chunks, [out(0, "abcdef")]);
    assert_eq!((scene.runtime.calls().logs, intake.has_gap), (asked, false), "nothing is lacking");
    // So it is in the next life.
    let mut again = scene.intake().await;
    assert!(again.begin(stdout(2)).await);
    assert_eq!((again.durable(), again.spool().end(), again.has_gap), (stdout(2), stdout(6), false));
}

#[tokio::test]
async fn a_master_that_has_less_than_what_is_kept_gets_it_from_the_engine() {
    let (scene, mut intake) = Scene::kept().await;
    scene.runtime.set_outage(Some("it is stopped"));
    assert!(!intake.begin(stdout(1)).await, "nobody knows yet");
    assert_eq!(intake.spool().end(), stdout(6), "it may be all there is");
    scene.runtime.set_outage(None);
    assert!(intake.begin(stdout(1)).await);
    assert!(intake.spool().is_empty());
    assert_eq!(next(&mut intake).await, [out(1, "bcdef")]);
    assert!(!intake.all().lacks_end);
}

#[tokio::test]
async fn or_what_is_kept_with_a_gap_if_the_engine_has_nothing() {
    let (scene, mut intake) = Scene::kept().await;
    scene.runtime.lose(&key(0));
    assert!(intake.begin(stdout(1)).await);
    assert_eq!(intake.spooled(HEAD).await.expect("read").chunks, [out(1, "cdef")]);
    let all = LogBytes { stdout: 5, stderr: 0, lacks_end: true };
    assert_eq!((intake.durable(), intake.all(), intake.has_ended()), (stdout(1), all, true));
    let mut again = scene.intake().await;
    assert!(again.begin(stdout(2)).await);
    assert_eq!((again.spool().end(), again.all()), (stdout(5), all));
}

#[tokio::test]
async fn what_is_in_memory_is_kept_as_well() {
    let scene = Scene::of(&[(0, "abcdef")], 1000).await;
    let mut intake = scene.intake().await;
    next(&mut intake).await;
    assert!(intake.begin(stdout(2)).await);
    assert!(intake.begin(stdout(1)).await);
    assert_eq!(intake.held(), &[out(0, "abcdef")], "all of it is there");
    let (held, durable) = (VecDeque::from([out(4, "ef")]), stdout(4));
    (intake.held, intake.durable) = (held, durable);
    scene.runtime.lose(&key(0));
    assert!(intake.begin(stdout(1)).await);
    assert_eq!((intake.held(), intake.position), (&VecDeque::from([out(1, "ef")]), stdout(3)));
    assert!(intake.all().lacks_end);
}
