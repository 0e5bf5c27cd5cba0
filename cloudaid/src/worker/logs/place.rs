//! Where in a log a reading begins, over restarts too.
//!
//! One place is behind what the master has. Those further on are of use while it is away: who goes on counting begins at the
//! last, and who reads again what is not kept here begins at the first that the engine still has. Of each it is known how much
//! was written before it, so that what is lacking before it is known to the byte.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::offsets::Offsets;
use crate::runtime::LogMark;
use crate::worker::data_dir::replace;

/// Places further on that are remembered. The engine's two files have four each: what is before the last so many is gone.
const AHEAD: usize = 16;

/// Kept in a file of the run, which is there once something of its log was read.
#[derive(Debug)]
pub(in crate::worker) struct Place {
    path: PathBuf,
    pub(super) mark: LogMark,
    /// Where the engine's log has begun, as far as that is known.
    pub(super) start: LogMark,
    /// Whether something before was dropped by the engine, and not counted.
    pub(super) has_gap: bool,
    /// In their order, behind `mark`.
    ahead: VecDeque<LogMark>,
    /// The last one that the engine does not have any more, and so none before it.
    lost: Option<LogMark>,
}

/// What the file says. The first version had the mark alone.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Kept {
    #[serde(flatten)]
    mark: LogMark,
    #[serde(default)]
    start: LogMark,
    #[serde(default)]
    has_gap: bool,
    #[serde(default, skip_serializing_if = "VecDeque::is_empty")]
    ahead: VecDeque<LogMark>,
}

impl Place {
    /// The one in this file, which need not be there.
    pub(in crate::worker) fn at(path: PathBuf) -> Self {
        let (mark, start) = Default::default();
        Self { path, mark, start, has_gap: false, ahead: VecDeque::new(), lost: None }
    }

    /// What an earlier life has remembered. Without it reading begins at the start.
    pub(super) async fn recall(&mut self) {
        let path = self.path.clone();
        let read = tokio::task::spawn_blocking(move || read(&path)).await;
        let kept = read.ok().flatten().unwrap_or_default();
        (self.mark, self.start, self.has_gap, self.ahead) = (kept.mark, kept.start, kept.has_gap, kept.ahead);
    }

    /// One was passed, and everything before it is at the master, or kept here, or counted.
    pub(super) fn pass(&mut self, mark: LogMark, durable: Offsets) {
        let is_start = mark.first || mark == LogMark::default();
        if is_start || durable.reach(mark) {
            // Before a start nothing can be read, and of the others none is known to be behind it.
            self.ahead.retain(|ahead| !is_start && !Offsets::from(mark).reach(*ahead));
            self.mark = mark;
        } else {
            self.ahead.push_back(mark);
            if self.ahead.len() > AHEAD {
                self.ahead.pop_front();
            }
        }
        if mark.first {
            self.start = mark;
        }
    }

    /// The master has this much. Returns whether another place is the one behind it.
    pub(super) fn advance(&mut self, durable: Offsets) -> bool {
        let passed = self.ahead.iter().take_while(|ahead| durable.reach(**ahead)).count();
        if let Some(last) = self.ahead.drain(..passed).next_back() {
            self.mark = last;
        }
        passed > 0
    }

    /// Writes it down: from now on readings begin there.
    pub(super) async fn remember(&self) {
        let Self { mark, start, has_gap, .. } = *self;
        let (path, kept) = (self.path.clone(), Kept { mark, start, has_gap, ahead: self.ahead.clone() });
        let written = tokio::task::spawn_blocking(move || write(&path, &kept));
        if let Ok(Err(error)) = written.await {
            tracing::warn!(path = %self.path.display(), %error, "A place in a long log cannot be kept: a restart of this worker may tell it wrong");
        }
    }

    /// Up to where it was counted.
    pub(super) fn counted(&self) -> Offsets {
        self.ahead.back().copied().unwrap_or(self.mark).into()
    }

    /// The last one before `position`: what follows on that is read with the least effort, and for the longest time.
    pub(super) fn last_before(&self, position: Offsets) -> LogMark {
        self.ahead.iter().rev().find(|ahead| position.reach(**ahead)).copied().unwrap_or(self.mark)
    }

    /// Where to begin to read what is behind `durable`, as far back as the engine may have it; none if that is not before
    /// `far`.
    pub(super) fn back_to(&self, durable: Offsets, far: Offsets) -> Option<LogMark> {
        let is_there =
            |place: &LogMark| self.lost.is_none_or(|lost| *place != lost && Offsets::from(*place).reach(lost));
        let places: Vec<LogMark> =
            [self.start, self.mark].into_iter().chain(self.ahead.iter().copied()).filter(is_there).collect();
        let last_before = places.iter().rev().find(|place| durable.reach(**place));
        last_before.or_else(|| places.first()).copied().filter(|place| !Offsets::from(*place).reach(far))
    }

    /// The engine does not have what was written from there on.
    pub(super) fn lose(&mut self, mark: LogMark) {
        self.lost = Some(mark);
    }
}

fn read(path: &Path) -> Option<Kept> {
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}

fn write(path: &Path, kept: &Kept) -> io::Result<()> {
    let json = serde_json::to_vec(kept)?;
    if kept.mark.bytes != [0; 2] || !kept.ahead.is_empty() {
        return replace(path, &json);
    }
    // Every run has such a place, and only the end of this process makes it needed, not that of the host: not worth a sync.
    let new = path.with_extension("new");
    std::fs::write(&new, &json)?;
    std::fs::rename(&new, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(at: i64, stdout: u64) -> LogMark {
        LogMark { at, bytes: [stdout, 0], cut: [false; 2], first: false }
    }

    fn stdout(stdout: u64) -> Offsets {
        Offsets { stdout, stderr: 0 }
    }

    #[tokio::test]
    async fn a_place_outlives_the_process_and_what_cannot_be_read_is_the_start() {
        let scratch = tempfile::tempdir().expect("a directory");
        let path = scratch.path().join("log-place");
        let mut place = Place::at(path.clone());
        place.recall().await;
        assert_eq!(place.mark, LogMark::default());
        let start = LogMark { at: 5, first: true, ..LogMark::default() };
        place.pass(start, Offsets::default());
        place.remember().await;
        let mut again = Place::at(path.clone());
        again.recall().await;
        assert_eq!((again.mark, again.start, again.has_gap), (start, start, false));
        let mark = LogMark { at: 7, bytes: [1, 2], cut: [true, false], first: false };
        let ahead = LogMark { at: 8, bytes: [1, 3], ..mark };
        place.has_gap = true;
        place.pass(mark, mark.into());
        place.pass(ahead, mark.into());
        place.remember().await;
        again.recall().await;
        assert_eq!(
            (again.mark, again.start, again.has_gap, again.counted()),
            (mark, start, true, Offsets::from(ahead))
        );
        std::fs::write(&path, r#"{"at":7,"bytes":[1,2],"cut":[true,false]}"#).expect("written by an earlier version");
        again.recall().await;
        assert_eq!((again.mark, again.start, again.has_gap), (mark, LogMark::default(), false));
        assert_eq!(again.counted(), Offsets::from(mark));
        std::fs::write(&path, "{").expect("written");
        again.recall().await;
        assert_eq!(again.mark, LogMark::default());
    }

    #[test]
    fn who_reads_again_begins_as_far_back_as_the_engine_has_it() {
        let start = LogMark { first: true, ..place(1, 0) };
        let mut log = Place::at(PathBuf::new());
        log.pass(start, stdout(0));
        [place(2, 100), place(3, 200), place(4, 300)].into_iter().for_each(|mark| log.pass(mark, stdout(50)));
        assert_eq!((log.mark, log.last_before(stdout(250)), log.counted()), (start, place(3, 200), stdout(300)));
        assert_eq!(log.back_to(stdout(50), stdout(400)), Some(start));
        assert_eq!(log.back_to(stdout(250), stdout(400)), Some(place(3, 200)), "no further than is needed");
        log.lose(start);
        assert_eq!(log.back_to(stdout(50), stdout(400)), Some(place(2, 100)), "what is between is lacking");
        assert_eq!(log.back_to(stdout(50), stdout(100)), None, "that is here");
        log.lose(place(4, 300));
        assert_eq!(log.back_to(stdout(50), stdout(400)), None);
        assert!(log.advance(stdout(210)) && !log.advance(stdout(220)));
        assert_eq!((log.mark, log.counted()), (place(3, 200), stdout(300)));
        // The clock was set back: by their times nothing is found any more.
        log.pass(start, stdout(220));
        assert_eq!((log.mark, log.counted(), log.last_before(stdout(400))), (start, stdout(0), start));
    }

    #[test]
    fn no_more_places_are_remembered_than_the_engine_can_have() {
        let mut log = Place::at(PathBuf::new());
        (1..100_i64).for_each(|number| log.pass(place(number, 100 * number.unsigned_abs()), stdout(0)));
        assert_eq!((log.ahead.len(), log.ahead[0]), (AHEAD, place(84, 8400)));
    }
}
