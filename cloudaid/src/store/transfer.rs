//! Copies everything from one store to another of any kind.
//!
//! The cluster's own facts come last and in a commit of their own, so a store that has anything but them is a copy that
//! was not finished: no master starts on it, and the next copy goes on where it ended.

use std::time::Duration;

use cloudaid_core::record::{Change, ClusterRecord, Snapshot};
use shared::id::Epoch;
use tokio::time::Instant;

use crate::store::summary::{Summary, summarize};
use crate::store::walk::{Place, Walk};
use crate::store::{CommitError, DumpCursor, Position, Store, StoreError};

/// How long a store that does not answer is waited for, and how often it is tried.
const PATIENCE: Duration = Duration::from_secs(120);
const RETRY: Duration = Duration::from_millis(200);

/// How far a copy is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Records go over.
    Copying(Place),
    /// What the source holds is looked at.
    ReadingSource(Place),
    /// And what the target holds.
    ReadingTarget(Place),
}

/// Why there is no copy.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// The source, or the target, cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The target does not take a commit.
    #[error("the target does not take a commit: {0}")]
    Commit(#[from] CommitError),
    /// No master has ever run on the source.
    #[error("there is nothing to copy: the source has never been in use")]
    EmptySource,
    /// The source is a copy itself.
    #[error("the source is a copy that was not finished")]
    UnfinishedSource,
    /// It would be mixed with what is there.
    #[error("the target is not empty: it is the store of cluster {cluster}, which was started {starts} times")]
    NotEmpty {
        /// Whose it is.
        cluster: String,
        /// The epoch.
        starts: u32,
    },
    /// The source is in use.
    #[error("a master has written to the source meanwhile")]
    Changed,
    /// What has arrived is something else.
    #[error("the copy differs from its source{what}, so it was not finished")]
    Differs {
        /// In which numbers.
        what: String,
    },
}

/// Copies all of `source` to `target`, which is empty or a copy of it that was not finished, and compares the two.
///
/// Nothing may write to either meanwhile. Whatever ends it in the middle, calling it again finishes it.
pub async fn copy(
    source: &dyn Store,
    target: &dyn Store,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<Summary, CopyError> {
    copy_as(source, target, |cluster| cluster, progress).await
}

/// By how much a restore raises the epoch.
///
/// The master that was lost may have been started again after the backup was made, each time with the next epoch, and
/// workers still hold what those starts gave them. The next start must be later than all of these, or a fence of before
/// could be given twice and an old report count for a new run. Nobody knows how many starts there were; nobody starts a
/// master a thousand times between two backups either.
pub const RESTORED_EPOCHS: u32 = 1000;

/// The same for a backup: whatever came after it is fenced off.
pub async fn restore(
    backup: &dyn Store,
    target: &dyn Store,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<Summary, CopyError> {
    let raised = |cluster: ClusterRecord| ClusterRecord {
        epoch: Epoch(cluster.epoch.0.saturating_add(RESTORED_EPOCHS)),
        ..cluster
    };
    copy_as(backup, target, raised, progress).await
}

/// Refuses a target that a copy cannot begin or go on with.
pub fn check_target(snapshot: &Snapshot) -> Result<(), CopyError> {
    match snapshot.cluster {
        None => Ok(()),
        Some(ClusterRecord { cluster, epoch }) => {
            Err(CopyError::NotEmpty { cluster: cluster.to_string(), starts: epoch.0 })
        }
    }
}

async fn copy_as(
    source: &dyn Store,
    target: &dyn Store,
    change: impl Fn(ClusterRecord) -> ClusterRecord,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<Summary, CopyError> {
    let (from, before) = source.load().await?;
    let cluster = match from.cluster {
        Some(cluster) => change(cluster),
        None if from.is_unfinished_copy() => return Err(CopyError::UnfinishedSource),
        None => return Err(CopyError::EmptySource),
    };
    let (to, position) = target.load().await?;
    check_target(&to)?;
    // Entries and submissions came in their order, so only the last submission may be there in part.
    let tasks = DumpCursor { sequence: to.last_sequence, index: 0 };
    let walk = Walk::from(source, from, to.audit.sequence, tasks);
    let position = write(walk, target, position, progress).await?;
    settle(target).await?;

    let expected = summarize(source, &mut |place| progress(Progress::ReadingSource(place))).await?;
    let found = summarize(target, &mut |place| progress(Progress::ReadingTarget(place))).await?;
    if found != expected {
        return Err(CopyError::Differs { what: differences(&expected, &found) });
    }
    if source.load().await?.1 != before {
        return Err(CopyError::Changed);
    }
    commit(target, vec![Change::Cluster(cluster)], position).await?;
    match target.load().await?.0.cluster {
        Some(found) if found == cluster => Ok(expected),
        _ => Err(CopyError::Differs { what: " in the cluster's own facts".to_owned() }),
    }
}

/// A commit for each page of the source.
async fn write(
    mut walk: Walk<'_>,
    target: &dyn Store,
    mut position: Position,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<Position, CopyError> {
    while let Some((changes, place)) = walk.next().await? {
        position = commit(target, changes, position).await?;
        progress(Progress::Copying(place));
    }
    Ok(position)
}

/// Waits until what was written can be read.
async fn settle(target: &dyn Store) -> Result<(), StoreError> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match target.load().await {
            Err(StoreError::Unreachable(_)) if Instant::now() < deadline => tokio::time::sleep(RETRY).await,
            outcome => return outcome.map(drop),
        }
    }
}

/// A commit that waits where a master would refuse its callers: a server may be slow, or be away for a while.
pub(super) async fn commit(
    target: &dyn Store,
    changes: Vec<Change>,
    position: Position,
) -> Result<Position, CommitError> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match target.commit(changes.clone(), position).await {
            Err(CommitError::Unavailable(_) | CommitError::Unknown(_)) if Instant::now() < deadline => {
                tokio::time::sleep(RETRY).await;
            }
            outcome => return outcome,
        }
    }
}

fn differences(expected: &Summary, found: &Summary) -> String {
    let pairs = expected.counts.list().into_iter().zip(found.counts.list());
    let differ: Vec<_> = pairs
        .filter(|(expected, found)| expected != found)
        .map(|((name, expected), (_, found))| format!("{found} {name} instead of {expected}"))
        .collect();
    if differ.is_empty() { String::new() } else { format!(" ({})", differ.join(", ")) }
}
