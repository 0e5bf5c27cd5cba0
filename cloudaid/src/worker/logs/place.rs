//! Where in a log the next reading begins, over restarts too.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::runtime::LogMark;
use crate::worker::data_dir::replace;

/// Kept in a file of the run, which is there once something of its log was read.
#[derive(Debug)]
pub(in crate::worker) struct Place {
    path: PathBuf,
    pub(super) mark: LogMark,
    /// Where the engine's log has begun, as far as that is known.
    pub(super) start: LogMark,
    /// Whether something before was dropped by the engine.
    pub(super) has_gap: bool,
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
}

impl Place {
    /// The one in this file, which need not be there.
    pub(in crate::worker) fn at(path: PathBuf) -> Self {
        Self { path, mark: LogMark::default(), start: LogMark::default(), has_gap: false }
    }

    /// What an earlier life has remembered. Without it reading begins at the start.
    pub(super) async fn recall(&mut self) {
        let path = self.path.clone();
        let read = tokio::task::spawn_blocking(move || read(&path)).await;
        let kept = read.ok().flatten().unwrap_or_default();
        (self.mark, self.start, self.has_gap) = (kept.mark, kept.start, kept.has_gap);
    }

    /// From now on reading begins there: everything before it is at the master, or kept here, or gone for good.
    pub(super) async fn remember(&mut self, mark: LogMark) {
        self.mark = mark;
        if mark.first {
            self.start = mark;
        }
        let (path, kept) = (self.path.clone(), Kept { mark, start: self.start, has_gap: self.has_gap });
        let written = tokio::task::spawn_blocking(move || write(&path, &kept));
        if let Ok(Err(error)) = written.await {
            tracing::warn!(path = %self.path.display(), %error, "A place in a long log cannot be kept: a restart of this worker may tell it wrong");
        }
    }
}

fn read(path: &Path) -> Option<Kept> {
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}

fn write(path: &Path, kept: &Kept) -> io::Result<()> {
    let json = serde_json::to_vec(kept)?;
    if kept.mark.bytes != [0; 2] {
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

    #[tokio::test]
    async fn a_place_outlives_the_process_and_what_cannot_be_read_is_the_start() {
        let scratch = tempfile::tempdir().expect("a directory");
        let path = scratch.path().join("log-place");
        let mut place = Place::at(path.clone());
        place.recall().await;
        assert_eq!(place.mark, LogMark::default());
        let start = LogMark { at: 5, first: true, ..LogMark::default() };
        place.remember(start).await;
        let mut again = Place::at(path.clone());
        again.recall().await;
        assert_eq!((again.mark, again.start, again.has_gap), (start, start, false));
        let mark = LogMark { at: 7, bytes: [1, 2], cut: [true, false], first: false };
        place.has_gap = true;
        place.remember(mark).await;
        again.recall().await;
        assert_eq!((again.mark, again.start, again.has_gap), (mark, start, true));
        std::fs::write(&path, r#"{"at":7,"bytes":[1,2],"cut":[true,false]}"#).expect("written by an earlier version");
        again.recall().await;
        assert_eq!((again.mark, again.start, again.has_gap), (mark, LogMark::default(), false));
        std::fs::write(&path, "{").expect("written");
        again.recall().await;
        assert_eq!(again.mark, LogMark::default());
    }
}
