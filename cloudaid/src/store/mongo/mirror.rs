//! The embedded store that follows this one, so that a master can go on with it where MongoDB cannot be reached.
//!
//! It gets each commit before MongoDB does, so it always has what MongoDB has; what only it has was never acknowledged, and
//! is given to MongoDB at the next start.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use cloudaid_core::record::Change;
use parking_lot::Mutex;
use shared::id::ClusterId;

use super::hold::Hold;
use super::{MongoStore, load};
use crate::store::sqlite::SqliteStore;
use crate::store::transfer::CopyError;
use crate::store::{CommitError, Position, Store, StoreError};

/// Commits that are read at a time.
const ENTRIES: usize = 64;

/// The store that follows, if there is one.
#[derive(Debug, Default)]
pub(super) struct Mirror {
    live: Mutex<Option<Live>>,
}

#[derive(Debug, Clone)]
struct Live {
    store: Arc<SqliteStore>,
    dir: PathBuf,
}

impl Mirror {
    /// Before a commit is made, with its changes as text as well. A store that fails does not follow any more.
    pub(super) async fn prepare(&self, changes: &[Change], text: &str, expected: Position) {
        let Some(live) = self.live.lock().clone() else { return };
        match live.store.commit_ahead(changes.to_vec(), text.to_owned(), expected).await {
            Ok(_) => {}
            // The same commit, tried again.
            Err(CommitError::Fenced { found, .. }) if found.0 == expected.0 + 1 => {}
            Err(error) => {
                tracing::warn!(
                    "The embedded store in {} does not follow MongoDB any more: {error}. It is made anew at the next start",
                    live.dir.display()
                );
                *self.live.lock() = None;
                drop(live.store);
                // What is incomplete must not be taken for more.
                if let Err(error) = SqliteStore::remove(&live.dir) {
                    tracing::warn!("{error}");
                }
            }
        }
    }
}

impl MongoStore {
    /// Lets `store`, in `dir`, follow from now on: it holds the same.
    pub fn lead(&self, store: SqliteStore, dir: &Path) {
        *self.mirror.live.lock() = Some(Live { store: Arc::new(store), dir: dir.to_owned() });
    }

    /// Copies everything to a new store in `fresh`, which is not there, moves it to `dir` when it is whole, and lets it
    /// follow then.
    ///
    /// # Errors
    /// One of the two cannot be read or written, or nothing was ever committed.
    pub async fn copy_and_lead(&self, fresh: &Path, dir: &Path) -> Result<(), CopyError> {
        let hold = Hold::take(&self.server).await.map_err(StoreError::from)?;
        let done = self.copy_and_catch_up(fresh, dir).await;
        let _ = hold.release().await;
        done
    }

    async fn copy_and_catch_up(&self, fresh: &Path, dir: &Path) -> Result<(), CopyError> {
        let store = SqliteStore::open_async(fresh).await?;
        self.back_up_to(&store, &mut |_| ()).await?;
        drop(store);
        SqliteStore::remove(dir)?;
        std::fs::rename(fresh, dir).map_err(|source| StoreError::Io { path: dir.display().to_string(), source })?;
        let store = SqliteStore::open_async(dir).await?;
        // Nobody commits meanwhile.
        let head = self.head.lock().await;
        let mut position = store.position().await?;
        while position.0 < head.position {
            let entries = self.journal.read(position.0 + 1, ENTRIES).await?;
            if entries.first().is_none_or(|entry| entry.position != position.0 + 1) {
                return Err(StoreError::Server("commits are gone that are needed".to_owned()).into());
            }
            for entry in entries {
                position = store.commit(entry.changes.to_vec(), position).await?;
            }
        }
        self.lead(store, dir);
        Ok(())
    }

    /// Whose facts are here.
    ///
    /// # Errors
    /// MongoDB does not answer.
    pub async fn cluster(&self) -> Result<Option<ClusterId>, StoreError> {
        Ok(load::cluster(&self.server).await?.map(|record| record.cluster))
    }

    /// The position of the last commit.
    pub async fn position(&self) -> Position {
        Position(self.head.lock().await.position)
    }
}
