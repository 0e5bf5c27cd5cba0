//! Whether this machine can take on anything: its engine answers, its disks have room, and its own can be written. Where it
//! cannot, the master is told why and gives it no new work; what runs goes on, and so do heartbeats.

use std::fmt;
use std::fs::File;
use std::mem::discriminant;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use shared::resources::Bytes;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::capacity::{self, Disk};
use super::engine;
use super::inputs::blocking;
use super::journal::is_no_room;
use super::refusal::ADVICE;
use crate::runtime::{Runtime, RuntimeError, RuntimeInfo};

/// How often it is looked. Twice as often as heartbeats come, so that none brings old news.
const EVERY: Duration = Duration::from_millis(2500);
/// The longest pause after such a one: each question stays open at an engine that hangs, for as long as it does.
const LONGEST: Duration = Duration::from_secs(60);
/// One answer that is missing may be a restart of the engine, which is over by the next look.
const MISSES: u32 = 2;
/// With less room than this a container, its log or the journal may not find any.
pub(super) const FULL: u64 = 256 << 20;
/// There has to be so much again, or a worker at the edge would come and go.
const ROOM: u64 = 512 << 20;
/// The same for files, of which many file systems hold only so many, however small they are.
const FILES: (u64, u64) = (1_000, 2_000);

/// What the engine has said of itself first, or why it says nothing yet.
pub(super) type FirstAnswer = Result<RuntimeInfo, RuntimeError>;

/// Why nothing new can be taken on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Problem {
    /// The engine does not answer, or not well: nobody sees what becomes of the containers.
    Engine(String),
    /// A disk is full.
    Disk(String),
    /// Nothing can be written in the data directory.
    Unwritable(String),
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Engine(words) | Self::Disk(words) | Self::Unwritable(words)) = self;
        f.write_str(words)
    }
}

/// Looks now and again, once the engine has answered. What is seen is the problem, if there is one.
pub(super) fn watch(
    runtime: Arc<dyn Runtime>,
    mut first: watch::Receiver<FirstAnswer>,
    data_dir: PathBuf,
    life: CancellationToken,
) -> watch::Receiver<Option<Problem>> {
    let problem = first.borrow().as_ref().err().map(|error| Problem::Engine(engine::in_words(error)));
    let (sender, receiver) = watch::channel(problem);
    tokio::spawn(life.run_until_cancelled_owned(async move {
        let answered = first.wait_for(Result::is_ok).await.map(|first| first.clone());
        // There is no engine any more to come when the worker stops.
        let Ok(Ok(info)) = answered else { return };
        let disks = std::iter::once(data_dir.clone()).chain(info.root).collect();
        let mut looks = Looks { misses: 0, disks, full: None };
        let mut pause = EVERY;
        loop {
            let answer = engine::soon(runtime.info()).await;
            pause = next_pause(pause, answer.is_none());
            let answer = answer.unwrap_or_else(|| Err(engine::hangs()));
            let problem = looks.judge(answer.map(drop), |disk| capacity::disk(disk).ok());
            let data_dir = data_dir.clone();
            let problem = blocking(move || Ok(unwritable(&data_dir))).await.unwrap_or_default().or(problem);
            sender.send_if_modified(|known| {
                // The words of an engine may change while its state does not.
                let is_news = known.as_ref().map(discriminant) != problem.as_ref().map(discriminant);
                match (&problem, is_news) {
                    (Some(problem), true) => tracing::warn!("No new tasks are taken: {problem}"),
                    (None, true) => tracing::info!("New tasks are taken again"),
                    (_, false) => {}
                }
                if is_news {
                    *known = problem;
                }
                is_news
            });
            tokio::time::sleep(pause).await;
        }
    }));
    receiver
}

/// What keeps the data directory from being written, before anything has to be. Its own time takes no room, and no wait for
/// the disk.
fn unwritable(data_dir: &Path) -> Option<Problem> {
    let touched = File::open(data_dir).and_then(|directory| directory.set_modified(SystemTime::now()));
    let error = touched.err().filter(|error| !is_no_room(error))?;
    Some(Problem::Unwritable(format!("nothing can be written in {}: {error}; {ADVICE}", data_dir.display())))
}

/// Whether a disk has so little room left that no new tasks are taken. One that cannot be measured is not full.
pub(super) fn is_full(disk: &Path) -> bool {
    capacity::disk(disk).is_ok_and(|disk| lacking(&disk, (FULL, FILES.0)).is_some())
}

/// What a disk has less of than this: bytes and files.
fn lacking(disk: &Disk, (bytes, files): (u64, u64)) -> Option<Lack> {
    match disk.free_files {
        _ if disk.free_bytes < bytes => Some(Lack::Bytes(disk.free_bytes)),
        Some(free) if free < files => Some(Lack::Files(free)),
        Some(_) | None => None,
    }
}

/// What there is too little of, and how much of it is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lack {
    Bytes(u64),
    Files(u64),
}

/// Until the next question: one that gets no answer at all is not asked so soon again.
fn next_pause(pause: Duration, hangs: bool) -> Duration {
    if hangs { (pause * 2).min(LONGEST) } else { EVERY }
}

/// What was seen before.
#[derive(Debug)]
struct Looks {
    /// Answers that are missing, in a row.
    misses: u32,
    /// Directories whose disks matter.
    disks: Vec<PathBuf>,
    /// Which of them had no room.
    full: Option<PathBuf>,
}

impl Looks {
    fn judge(&mut self, engine: Result<(), RuntimeError>, look: impl Fn(&PathBuf) -> Option<Disk>) -> Option<Problem> {
        self.misses = if engine.is_ok() { 0 } else { self.misses.saturating_add(1) };
        // What cannot be measured is not held against anybody.
        let found = self.disks.iter().find_map(|disk| {
            let limits = if self.full.as_ref() == Some(disk) { (ROOM, FILES.1) } else { (FULL, FILES.0) };
            look(disk).and_then(|found| lacking(&found, limits)).map(|lack| (disk.clone(), lack))
        });
        self.full = found.as_ref().map(|(disk, _)| disk.clone());
        match (engine, found) {
            (Err(error), _) if self.misses >= MISSES => Some(Problem::Engine(engine::in_words(&error))),
            (_, Some((disk, Lack::Bytes(free)))) => Some(Problem::Disk(format!(
                "the disk of {} is full: {} are left, {} are needed",
                disk.display(),
                Bytes(free),
                Bytes(ROOM)
            ))),
            (_, Some((disk, Lack::Files(free)))) => Some(Problem::Disk(format!(
                "the disk of {} has no room for more files, whatever their size: {free} can be made, {} are needed (`df -i`)",
                disk.display(),
                FILES.1
            ))),
            (_, None) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looks() -> Looks {
        Looks { misses: 0, disks: vec!["/data".into(), "/docker".into()], full: None }
    }

    fn disk(free_bytes: u64, free_files: Option<u64>) -> Disk {
        Disk { used_bytes: 0, free_bytes, free_files }
    }

    fn broken() -> Result<(), RuntimeError> {
        Err(RuntimeError::Engine("no answer".to_owned()))
    }

    #[test]
    fn one_missing_answer_is_no_problem_and_one_that_comes_ends_it() {
        let mut looks = looks();
        let room = |_: &PathBuf| Some(disk(u64::MAX, None));
        assert_eq!(looks.judge(broken(), room), None);
        assert_eq!(looks.judge(Ok(()), room), None);
        assert_eq!(looks.judge(broken(), room), None);
        let silent = || Some(Problem::Engine("container engine: no answer".to_owned()));
        assert_eq!(looks.judge(broken(), room), silent());
        assert_eq!(looks.judge(broken(), |_| Some(disk(0, None))), silent(), "whatever else there is");
        assert_eq!(looks.judge(Ok(()), room), None);
    }

    #[test]
    fn a_data_directory_that_cannot_be_written_is_a_problem() {
        let scratch = tempfile::tempdir().expect("a directory");
        assert_eq!(unwritable(scratch.path()), None);
        let gone = scratch.path().join("gone");
        let Some(Problem::Unwritable(words)) = unwritable(&gone) else { panic!("it is not there") };
        assert_eq!(
            words,
            format!("nothing can be written in {}: No such file or directory (os error 2); {ADVICE}", gone.display())
        );
    }

    #[test]
    fn an_engine_that_hangs_is_asked_less_and_less() {
        let mut pause = EVERY;
        let pauses: Vec<u128> = (0..6)
            .map(|_| {
                pause = next_pause(pause, true);
                pause.as_millis()
            })
            .collect();
        assert_eq!(pauses, [5_000, 10_000, 20_000, 40_000, 60_000, 60_000]);
        assert_eq!(next_pause(pause, false), EVERY, "one that answers, or is away, as before");
    }

    #[test]
    fn a_disk_is_full_until_there_is_some_more_room() {
        let mut looks = looks();
        let mut at = |free: u64| {
            let problem = looks.judge(Ok(()), |path| path.ends_with("docker").then(|| disk(free, None)));
            problem.is_some_and(|problem| matches!(problem, Problem::Disk(words) if words.contains("/docker is full")))
        };
        assert!(!at(300 << 20));
        assert!(at(200 << 20));
        assert!(at(300 << 20));
        assert!(!at(600 << 20));
    }

    #[test]
    fn a_disk_that_can_hold_no_more_files_is_full_too_where_they_are_counted() {
        let mut looks = looks();
        let mut at = |files: Option<u64>| {
            let problem = looks.judge(Ok(()), |path| path.ends_with("data").then(|| disk(u64::MAX, files)));
            problem.is_some_and(|problem| problem.to_string().contains("/data has no room for more files"))
        };
        assert!(!at(None), "it does not count them");
        assert!(!at(Some(1_500)));
        assert!(at(Some(999)));
        assert!(at(Some(1_500)));
        assert!(!at(Some(2_000)));
        assert!(at(Some(0)));
    }
}
