//! Brings back what was written on the embedded store while MongoDB could not be reached.

use std::path::Path;

use cloudaid_core::record::ClusterRecord;

use super::hold::Hold;
use super::{MongoStore, load};
use crate::store::sqlite::SqliteStore;
use crate::store::transfer::{self, CopyError};
use crate::store::{Position, StoreError};

/// Commits that are read at a time.
const COMMITS: usize = 64;

/// How an embedded store and MongoDB stand to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// They hold the same.
    Equal {
        /// Commits that MongoDB did not have, and has now.
        imported: usize,
    },
    /// The embedded store has nothing that was acknowledged and that MongoDB lacks, but not all that MongoDB has.
    Behind,
}

impl MongoStore {
    /// Commits here what `local`, in `dir`, has and this store has not. Whatever ends it in the middle, calling it again goes
    /// on.
    ///
    /// # Errors
    /// One of the two cannot be read or written, or another master has written here since.
    pub async fn bring_back(&self, local: &SqliteStore, dir: &Path) -> Result<Standing, CopyError> {
        let hold = Hold::take(&self.server).await.map_err(StoreError::from)?;
        let done = self.import(local, dir, &hold).await;
        let _ = hold.release().await;
        done
    }

    async fn import(&self, local: &SqliteStore, dir: &Path, hold: &Hold<'_>) -> Result<Standing, CopyError> {
        let epoch = |record: Option<ClusterRecord>| record.map_or(0, |record| record.epoch.0);
        if epoch(load::cluster(&self.server).await?) > epoch(local.cluster().await?) {
            // Another master has started since, or a backup was restored.
            return behind(local, dir, Position(0)).await;
        }
        let mut imported = 0;
        let mut last = Position(0);
        loop {
            let kept = local.ahead(last, COMMITS).await?;
            let Some(end) = kept.last().map(|kept| kept.position) else { break };
            hold.renew().await.map_err(StoreError::from)?;
            for commit in kept {
                let head = self.position().await;
                if commit.position.0 == head.0 + 1 {
                    transfer::commit(self, commit.changes, head).await?;
                    imported += usize::from(commit.is_alone);
                } else if commit.position > head || !self.journal.has(commit.position.0, &commit.changes).await? {
                    return behind(local, dir, Position(commit.position.0 - 1)).await;
                }
            }
            local.forget_ahead(end).await?;
            last = end;
        }
        let is_equal = local.position().await? == self.position().await;
        Ok(if is_equal { Standing::Equal { imported } } else { Standing::Behind })
    }
}

/// `local` went another way behind `after`: no harm, if nobody was told of anything that it did there.
async fn behind(local: &SqliteStore, dir: &Path, after: Position) -> Result<Standing, CopyError> {
    match local.count_alone(after).await? {
        0 => Ok(Standing::Behind),
        commits => Err(StoreError::Diverged { path: dir.display().to_string(), commits }.into()),
    }
}
