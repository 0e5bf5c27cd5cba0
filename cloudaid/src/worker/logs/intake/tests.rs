//! What stays of a log, whatever the master and the engine have lost of it.

use std::path::Path;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use shared::link::{LogStream, RunLimits};
use tempfile::TempDir;

use super::super::room::Room;
use super::super::spool::HEAD;
use super::*;
use crate::runtime::fake::{Behaviour, FakeRuntime, Piece};
use crate::runtime::{ContainerSpec, LogPiece};
use crate::worker::tests::{assignment, key};

/// A run that writes to stdout, and where it is kept.
struct Scene {
    scratch: TempDir,
    runtime: Arc<FakeRuntime>,
    room: u64,
    /// Bytes of disk for this run.
    limit: u64,
}

impl Scene {
    /// What it writes, each at its time, in milliseconds. `room` bytes may be kept.
    async fn of(pieces: &'static [(u64, &'static str)], room: u64) -> Self {
        Self::writing(pieces.iter().map(|&(after, text)| piece(after, text)).collect(), room).await
    }

    async fn writing(output: Vec<Piece>, room: u64) -> Self {
        let scratch = tempfile::tempdir().expect("a directory");
        let runtime = Arc::new(FakeRuntime::with(move |_| {
            let mut behaviour = Behaviour::endless();
            behaviour.output = output.clone();
            behaviour
        }));
        runtime.create(&spec(scratch.path())).await.expect("made");
        runtime.start(&key(0)).await.expect("started");
        runtime.forget_log(&key(0), 0);
        Self { scratch, runtime, room, limit: 1 << 20 }
    }

    /// One life of it.
    async fn intake(&self) -> Intake {
        self.intake_in(self.scratch.path()).await
    }

    async fn intake_in(&self, directory: &Path) -> Intake {
        let place = Place::at(directory.join("log-place"));
        let spool = Spool::at(directory.join("log-spool"), Arc::new(Room::of(self.room))).limited_to(self.limit);
        let mut intake = Intake::new(key(0), Arc::clone(&self.runtime) as _, place, spool);
        intake.recall().await;
        intake
    }

    /// What another life finds, which leaves the same for the next.
    async fn copy(&self) -> (TempDir, Intake) {
        let copy = tempfile::tempdir().expect("a directory");
        for entry in std::fs::read_dir(self.scratch.path()).expect("a directory") {
            let path = entry.expect("an entry").path();
            std::fs::copy(&path, copy.path().join(path.file_name().expect("a name"))).expect("copied");
        }
        let intake = self.intake_in(copy.path()).await;
        (copy, intake)
    }

    /// `abcdef` is kept, of which the master had the first two, and then four.
    async fn kept() -> (Self, Intake) {
        let scene = Self::of(&[(0, "abcdef")], 1000).await;
        let mut intake = scene.intake().await;
        next(&mut intake).await;
        intake.begin(stdout(2)).await;
        intake.put_by().await;
        intake.learn(stdout(4));
        assert_eq!(intake.spool().extents(), [(2, 6)]);
        (scene, intake)
    }

    /// 1,400 bytes are kept of the beginning and 400 of the end, and as many are not: of five pieces of 200, each with its
    /// letter, `b` is in the beginning, `e` and `f` are in the end.
    async fn long(room: u64) -> (Self, Intake) {
        let letters = (1u64..).zip(["b", "c", "d", "e", "f"]);
        let later = letters.map(|(number, letter)| piece(number * 300, letter.repeat(200)));
        let output = std::iter::once(piece(0, "a".repeat(1200))).chain(later).collect();
        let scene = Self { limit: 2000, ..Self::writing(output, room).await };
        let mut intake = scene.intake().await;
        while intake.position != stdout(2200) {
            next(&mut intake).await;
            intake.put_by().await;
        }
        (scene, intake)
    }
}

/// A master that takes what comes.
#[derive(Default)]
struct Taker {
    has: Offsets,
    text: String,
    /// What it was told of as cut: where, and up to where.
    cuts: Vec<(u64, u64)>,
}

impl Taker {
    fn having(bytes: u64) -> Self {
        Self { has: stdout(bytes), ..Self::default() }
    }

    fn take(&mut self, chunk: &Chunk) {
        let (_, offset, data) = chunk;
        let known = self.has.stdout.checked_sub(*offset).expect("no gap");
        let new = usize::try_from(known).ok().and_then(|known| data.get(known..)).unwrap_or_default();
        self.text.push_str(std::str::from_utf8(new).expect("text"));
        self.has.pass(chunk);
    }

    fn cut(&mut self, to: Offsets) {
        self.cuts.push((self.has.stdout, to.stdout));
        self.has = self.has.max(to);
    }

    /// As in a session, until it has so much, or all.
    async fn drain(&mut self, intake: &mut Intake, until: u64) {
        intake.begin(self.has).await;
        loop {
            while let Some((end, _)) = intake.kept() {
                let batch = intake.spooled(HEAD).await.expect("read");
                if batch.next == HEAD && !self.has.reach(end) {
                    intake.lose_kept().await;
                    continue;
                }
                batch.chunks.iter().for_each(|chunk| self.take(chunk));
                intake.learn(self.has);
                intake.tidy().await;
            }
            if let Some(to) = intake.bridge().await {
                self.cut(to);
                intake.learn(self.has);
                intake.tidy().await;
                continue;
            }
            if intake.kept().is_some() {
                continue;
            }
            let mut chunks = Vec::from(intake.held().clone());
            loop {
                if let Some(to) = intake.cut().filter(|_| !chunks.is_empty()) {
                    self.cut(to);
                }
                chunks.iter().for_each(|chunk| self.take(chunk));
                intake.learn(self.has);
                if intake.settle().await {
                    break;
                }
                intake.tidy().await;
                intake.remember().await;
                if self.has.stdout >= until || intake.has_ended() && intake.is_brought() {
                    return;
                }
                chunks = intake.fill().await;
            }
        }
    }

    /// How much of which letter it has.
    fn letters(&self) -> Vec<(char, usize)> {
        let mut letters: Vec<(char, usize)> = Vec::new();
        for letter in self.text.chars() {
            match letters.last_mut() {
                Some((last, count)) if *last == letter => *count += 1,
                _ => letters.push((letter, 1)),
            }
        }
        letters
    }
}

fn piece(after: u64, text: impl Into<Bytes>) -> Piece {
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
async fn what_is_not_kept_is_read_again_and_cut_only_where_the_engine_has_dropped_it() {
    let (scene, _) = Scene::long(10_000).await;
    let extents = [(0, 1400), (1800, 2000), (2000, 2200)];
    // What an engine has that has dropped so many pieces.
    for (dropped, cut) in
        [(0, None), (2, None), (3, Some((1400, 1600))), (4, Some((1400, 1800))), (6, Some((1400, 1800)))]
    {
        scene.runtime.forget_log(&key(0), dropped);
        let (_directory, mut intake) = scene.copy().await;
        assert_eq!(intake.spool().extents(), extents, "it is there in the next life");
        let mut master = Taker::having(700);
        master.drain(&mut intake, 2200).await;
        assert_eq!(master.cuts, Vec::from_iter(cut), "{dropped} dropped");
        let mut expected = vec![('a', 500), ('b', 200), ('c', 200), ('d', 200), ('e', 200), ('f', 200)];
        if let Some((from, to)) = cut {
            let gone = usize::try_from((to - from) / 200).expect("a few");
            expected.drain(2..2 + gone);
        }
        assert_eq!(master.letters(), expected, "{dropped} dropped");
        let all = LogBytes { stdout: 2200, stderr: 0, lacks_end: false };
        assert_eq!((intake.all(), intake.is_empty()), (all, true), "{dropped} dropped");
    }
    scene.runtime.lose(&key(0));
    let (_directory, mut intake) = scene.copy().await;
    let mut master = Taker::default();
    master.drain(&mut intake, u64::MAX).await;
    assert_eq!(master.cuts, [(1400, 1800)]);
    assert_eq!(master.letters(), [('a', 1200), ('b', 200), ('e', 200), ('f', 200)]);
    assert_eq!(intake.all(), LogBytes { stdout: 2200, stderr: 0, lacks_end: true }, "it may have written more");
}

#[tokio::test]
async fn who_was_counting_goes_on_where_the_engine_has_dropped_everything() {
    let (scene, mut intake) = Scene::long(10_000).await;
    scene.runtime.forget_log(&key(0), 6);
    let mut master = Taker::default();
    master.drain(&mut intake, 2200).await;
    assert_eq!(master.cuts, [(1400, 1800)]);
    assert_eq!(master.letters(), [('a', 1200), ('b', 200), ('e', 200), ('f', 200)]);
    assert!(intake.reader.is_some() && intake.back.is_none() && !intake.all().lacks_end);
}

#[tokio::test]
async fn what_there_is_no_room_for_is_counted() {
    let (scene, intake) = Scene::long(1300).await;
    let extents = [(0, 1200), (2200, 2200)];
    assert_eq!(intake.spool().extents(), extents);
    for (dropped, cut) in [(1, None), (4, Some((1200, 1800))), (6, Some((1200, 2200)))] {
        scene.runtime.forget_log(&key(0), dropped);
        let (_directory, mut again) = scene.copy().await;
        assert_eq!(again.spool().extents(), extents);
        let mut master = Taker::default();
        master.drain(&mut again, 2200).await;
        assert_eq!(master.cuts, Vec::from_iter(cut), "{dropped} dropped");
        let cut = cut.map_or(0, |(from, to)| to - from);
        assert_eq!(master.text.len() as u64 + cut, 2200, "{dropped} dropped");
        assert!(!again.all().lacks_end);
    }
    scene.runtime.lose(&key(0));
    let mut again = scene.intake().await;
    let mut master = Taker::default();
    master.drain(&mut again, u64::MAX).await;
    assert_eq!((master.letters(), master.cuts), (vec![('a', 1200)], vec![(1200, 2200)]));
}

#[tokio::test]
async fn what_is_read_again_while_the_master_goes_away_is_kept_too() {
    let (scene, mut intake) = Scene::long(10_000).await;
    let mut master = Taker::default();
    master.drain(&mut intake, 1400).await;
    assert_eq!((intake.bridge().await, intake.spool().extents()), (None, vec![(1800, 2000), (2000, 2200)]));
    next(&mut intake).await;
    assert_eq!(intake.spool().extents(), [(1800, 2000), (2000, 2200)], "it stays until the master has it");
    intake.put_by().await;
    assert_eq!(intake.spool().extents(), [(1400, 2200), (1800, 2000), (2000, 2200)]);
    scene.runtime.lose(&key(0));
    let mut again = scene.intake().await;
    master.drain(&mut again, u64::MAX).await;
    assert_eq!((master.cuts.len(), master.text.len()), (0, 2200));
    assert!(again.spool().is_empty());
}

#[tokio::test]
async fn what_was_read_again_and_cannot_be_read_where_it_was_kept_is_read_once_more() {
    for end in [None, Some(End::Whole)] {
        let (_scene, mut intake) = Scene::long(10_000).await;
        let mut master = Taker::default();
        master.drain(&mut intake, 1400).await;
        next(&mut intake).await;
        intake.put_by().await;
        assert_eq!(intake.spool().extents(), [(1400, 2200), (1800, 2000), (2000, 2200)]);
        intake.end = end;
        intake.spool().spoil_first();
        intake.begin(stdout(1400)).await;
        assert_eq!(intake.spooled(HEAD).await.expect("a file").next, HEAD, "nothing of it can be read");
        intake.lose_kept().await;
        assert_eq!((intake.kept(), intake.bridge().await), (None, None), "the engine may have it");
        assert_eq!((intake.cut(), intake.has_ended()), (None, false), "nothing is cut, and something comes");
        master.drain(&mut intake, 2200).await;
        assert_eq!(master.cuts.len(), 0, "{:?}", master.cuts);
        let letters = [('a', 1200), ('b', 200), ('c', 200), ('d', 200), ('e', 200), ('f', 200)];
        assert_eq!(master.letters(), letters);
    }
}

#[tokio::test]
async fn what_is_put_by_when_reading_again_breaks_off_is_brought_before_anything_is_cut() {
    let (_scene, mut intake) = Scene::long(10_000).await;
    let mut master = Taker::default();
    master.drain(&mut intake, 1400).await;
    next(&mut intake).await;
    intake.back.as_mut().expect("it is read again").is_torn = true;
    assert_eq!((intake.bridge().await, intake.kept().map(|(end, _)| end)), (None, Some(stdout(2200))));
    master.drain(&mut intake, 2200).await;
    assert_eq!((master.cuts.len(), master.text.len()), (0, 2200));
}

#[tokio::test]
async fn who_has_read_again_less_than_was_kept_does_not_go_on_from_there() {
    let (_scene, mut intake) = Scene::long(10_000).await;
    let mut master = Taker::default();
    master.drain(&mut intake, 1400).await;
    let text = ["c".repeat(200), "d".repeat(200), "e".repeat(50)].concat();
    let pieces =
        stream::iter([Ok::<_, RuntimeError>(LogPiece::Data(LogStream::Stdout, text.into()))]).chain(stream::pending());
    let mark = LogMark { bytes: [1400, 0], ..LogMark::default() };
    intake.reader = Some(Reader::new(Box::pin(pieces), mark, stdout(1400)));
    next(&mut intake).await;
    intake.put_by().await;
    assert_eq!(intake.spool().extents(), [(1400, 1850), (1800, 2000), (2000, 2200)]);
    master.drain(&mut intake, 2200).await;
    assert_eq!((master.cuts.len(), master.text.len()), (0, 2200));
    assert!(intake.back.is_none() && !intake.has_ended());
    let position = intake.reader.as_ref().map(|reader| reader.position);
    assert_eq!(position, None, "what the engine drops before it comes to 2200 would be counted twice");
}

#[tokio::test]
async fn what_the_engine_drops_between_two_lives_is_told() {
    let scene = Scene::of(&[(0, "first\n"), (1000, "second\n")], 1000).await;
    let mut intake = scene.intake().await;
    next(&mut intake).await;
    intake.begin(Offsets::default()).await;
    intake.learn(stdout(6));
    intake.remember().await;
    scene.runtime.forget_log(&key(0), 1);
    let mut again = scene.intake().await;
    again.begin(stdout(6)).await;
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
    assert_eq!((intake.held().len(), intake.spool().extents()), (0, vec![(6, 6)]), "there is no room for it");
    assert!(!intake.is_empty(), "a run that stands still for it goes on");
    let mut master = Taker::default();
    master.drain(&mut intake, 6).await;
    assert_eq!((&*master.text, master.cuts.len(), intake.is_empty()), ("first\n", 0, true));
}

#[tokio::test]
async fn a_master_that_has_less_gets_what_is_kept_again() {
    let (scene, mut intake) = Scene::kept().await;
    scene.runtime.lose(&key(0));
    let asked = scene.runtime.calls().logs;
    let mut master = Taker::having(3);
    master.drain(&mut intake, 6).await;
    assert_eq!((&*master.text, master.cuts.len()), ("def", 0), "nothing is lacking");
    assert_eq!((scene.runtime.calls().logs, intake.has_gap), (asked, false));
    // So it is in the next life.
    let (scene, _) = Scene::kept().await;
    scene.runtime.lose(&key(0));
    let mut again = scene.intake().await;
    let mut master = Taker::having(2);
    master.drain(&mut again, 6).await;
    assert_eq!((&*master.text, master.cuts.len()), ("cdef", 0));
}

#[tokio::test]
async fn a_master_that_has_less_than_what_is_kept_gets_it_from_the_engine() {
    let (scene, mut intake) = Scene::kept().await;
    scene.runtime.set_outage(Some("it is stopped"));
    intake.begin(stdout(1)).await;
    assert_eq!((intake.kept(), intake.bridge().await), (None, None));
    assert!(intake.fill().await.is_empty() && intake.is_troubled(), "nobody knows yet");
    assert_eq!(intake.spool().extents(), [(2, 6)], "it may be all there is");
    scene.runtime.set_outage(None);
    let mut master = Taker::having(1);
    master.drain(&mut intake, 6).await;
    assert_eq!((&*master.text, master.cuts.len()), ("bcdef", 0));
    assert!(intake.spool().is_empty() && !intake.all().lacks_end);
}

#[tokio::test]
async fn what_is_kept_stays_until_the_master_has_what_is_read_again() {
    let (scene, mut intake) = Scene::kept().await;
    intake.begin(stdout(1)).await;
    assert_eq!(intake.bridge().await, None, "the engine may have it");
    assert_eq!(next(&mut intake).await, [out(1, "bcdef")]);
    intake.learn(stdout(1));
    intake.tidy().await;
    assert_eq!(intake.spool().extents(), [(2, 6)]);
    // It is killed, and its container is removed.
    scene.runtime.lose(&key(0));
    let mut again = scene.intake().await;
    let mut master = Taker::having(1);
    master.drain(&mut again, u64::MAX).await;
    assert_eq!((&*master.text, master.cuts), ("cdef", vec![(1, 2)]));
}

#[tokio::test]
async fn or_what_is_kept_behind_a_cut_if_the_engine_has_nothing() {
    for is_dropped in [false, true] {
        let (scene, mut intake) = Scene::kept().await;
        match is_dropped {
            true => scene.runtime.forget_log(&key(0), 1),
            false => scene.runtime.lose(&key(0)),
        }
        let (_directory, mut again) = scene.copy().await;
        let mut master = Taker::having(1);
        master.drain(&mut intake, 6).await;
        assert_eq!((&*master.text, master.cuts), ("cdef", vec![(1, 2)]));
        let mut master = Taker::having(1);
        master.drain(&mut again, 6).await;
        assert_eq!((&*master.text, master.cuts), ("cdef", vec![(1, 2)]));
        assert_eq!(again.all(), LogBytes { stdout: 6, stderr: 0, lacks_end: !is_dropped });
    }
}

#[tokio::test]
async fn what_is_in_memory_is_kept_as_well() {
    let scene = Scene::of(&[(0, "abcdef")], 1000).await;
    let mut intake = scene.intake().await;
    next(&mut intake).await;
    intake.begin(stdout(2)).await;
    intake.begin(stdout(1)).await;
    assert_eq!((intake.gap_to(), intake.held()), (None, &VecDeque::from([out(0, "abcdef")])), "all of it is there");
    (intake.held, intake.begin, intake.durable) = (VecDeque::from([out(4, "ef")]), stdout(4), stdout(4));
    scene.runtime.lose(&key(0));
    let mut master = Taker::having(1);
    master.drain(&mut intake, 6).await;
    assert_eq!((&*master.text, master.cuts), ("ef", vec![(1, 4)]));
}
