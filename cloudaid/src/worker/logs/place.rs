//! Where in a log the next reading begins, over restarts too.

use std::path::{Path, PathBuf};

use crate::runtime::LogMark;
use crate::worker::data_dir::replace;

/// Kept in a file of the run, which is there only for long logs.
#[derive(Debug)]
pub(in crate::worker) struct Place {
    path: PathBuf,
    pub(super) mark: LogMark,
}

impl Place {
    /// The one in this file, which need not be there.
    pub(in crate::worker) fn at(path: PathBuf) -> Self {
        Self { path, mark: LogMark::default() }
    }

    /// What an earlier life has remembered. Without it reading begins at the start.
    pub(super) async fn recall(&mut self) {
        let path = self.path.clone();
        let read = tokio::task::spawn_blocking(move || read(&path)).await;
        self.mark = read.ok().flatten().unwrap_or_default();
    }

    /// From now on reading begins there: the master has everything before it.
    pub(super) async fn remember(&mut self, mark: LogMark) {
        self.mark = mark;
        let path = self.path.clone();
        let written = tokio::task::spawn_blocking(move || {
            let json = serde_json::to_vec(&mark)?;
            replace(&path, &json)
        });
        if let Ok(Err(error)) = written.await {
            tracing::warn!(path = %self.path.display(), %error, "A place in a long log cannot be kept: a restart of this worker may tell it wrong");
        }
    }
}

fn read(path: &Path) -> Option<LogMark> {
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
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
        let mark = LogMark { at: 7, bytes: [1, 2], cut: [true, false] };
        place.remember(mark).await;
        let mut again = Place::at(path.clone());
        again.recall().await;
        assert_eq!(again.mark, mark);
        std::fs::write(&path, "{").expect("written");
        again.recall().await;
        assert_eq!(again.mark, LogMark::default());
    }
}
