//! One state of the store, though a master may be writing: the collections are read while they change, and then all commits
//! that were made meanwhile are applied to what was read.

use std::collections::BTreeSet;

use cloudaid_core::record::{Change, ClusterRecord, Totals};
use shared::id::{InputId, TaskId};
use shared::view::TaskCounts;

use super::hold::Hold;
use super::project::part_of;
use super::server::number;
use super::{MongoStore, load};
use crate::store::sqlite::SqliteStore;
use crate::store::transfer::{CopyError, Progress};
use crate::store::walk::{PAGE, Part, Walk};
use crate::store::{DumpCursor, Position, Store, StoreError};

/// Commits that are read at a time.
const ENTRIES: usize = 64;

impl MongoStore {
    /// Writes all that the store holds to `target`, which is empty. It is the state after some commit that was made while
    /// this ran, and has its position.
    ///
    /// # Errors
    /// One of the two stores does not answer, no master has ever run here, or the backup took so long that commits are gone
    /// which it needs.
    pub async fn back_up_to(
        &self,
        target: &SqliteStore,
        progress: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<(), CopyError> {
        let hold = Hold::take(&self.server).await.map_err(StoreError::from)?;
        let done = self.copy_and_follow(target, &hold, progress).await;
        // It ends by itself too.
        let _ = hold.release().await;
        done
    }

    async fn copy_and_follow(
        &self,
        target: &SqliteStore,
        hold: &Hold<'_>,
        progress: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<(), CopyError> {
        // Commits go when they are in the collections: everything before is there, and what comes later is read below.
        let first = self.journal.tail().await?;
        let (_, position) = target.load().await?;
        let snapshot = load::load(&self.server).await?;
        if snapshot.cluster.is_none() {
            let is_begun = snapshot.is_unfinished_copy();
            return Err(if is_begun { CopyError::UnfinishedSource } else { CopyError::EmptySource });
        }
        let mut follower = Follower { target, position, next: first, has_begun: false, cluster: snapshot.cluster };
        let mut walk = Walk::new(self, snapshot);
        while let Some((changes, place)) = walk.next().await? {
            hold.renew().await.map_err(StoreError::from)?;
            // Totals of a moment that is not known are worth nothing.
            if place.part != Part::Totals {
                follower.commit(changes).await?;
            }
            progress(Progress::Copying(place));
        }
        loop {
            hold.renew().await.map_err(StoreError::from)?;
            self.follow(&mut follower).await?;
            if let Some(totals) = self.totals_at(target, follower.next - 1).await? {
                follower.commit(vec![Change::Totals(totals)]).await?;
                break;
            }
        }
        let cluster = follower.cluster.ok_or(CopyError::EmptySource)?;
        // It counts on from the same position.
        follower.position = Position(follower.next.saturating_sub(2));
        target.adopt(follower.position).await?;
        follower.commit(vec![Change::Cluster(cluster)]).await
    }

    /// Applies what the journal has.
    async fn follow(&self, follower: &mut Follower<'_>) -> Result<(), CopyError> {
        let end = self.journal.head().await.map_err(StoreError::from)?;
        let mut gone = Gone::default();
        let mut next = follower.next;
        while next <= end {
            let entries = self.journal.read(next, ENTRIES).await?;
            for entry in &entries {
                if !follower.has_begun {
                    // One who did not see the hold may have removed some more, which are in the collections too.
                    (next, follower.next, follower.has_begun) = (entry.position, entry.position, true);
                }
                if entry.position != next {
                    let missing = format!("the commits from {next} on are gone, because this took too long: try again");
                    return Err(StoreError::Server(missing).into());
                }
                gone.note(&entry.changes);
                next += 1;
            }
            if entries.is_empty() {
                return Err(StoreError::Server(format!("the commit {next} is gone: try again")).into());
            }
        }
        while follower.next <= end {
            for entry in self.journal.read(follower.next, ENTRIES).await?.into_iter().filter(|it| it.position <= end) {
                let changes = entry.changes.iter().filter(|change| !gone.has(change)).cloned().collect();
                follower.apply(entry.position, changes).await?;
            }
        }
        Ok(())
    }

    /// What no record shows, if it is known of just this position: of what was deleted the collections keep the number, and
    /// the rest is there to be counted.
    async fn totals_at(&self, target: &dyn Store, position: u64) -> Result<Option<Totals>, CopyError> {
        let kept = load::totals(&self.server).await?.unwrap_or_default();
        let at = kept.get("forgotten_at").and_then(number).unwrap_or_default();
        if at.cast_unsigned() > position {
            return Ok(None);
        }
        let count = |name: &str| kept.get(name).and_then(number).unwrap_or_default().cast_unsigned();
        let (snapshot, _) = target.load().await?;
        let mut ended = count_results(target).await?;
        load::add_forgotten(&kept, &mut ended);
        Ok(Some(Totals { last_sequence: snapshot.last_sequence.max(count("last_sequence")), ended }))
    }
}

/// Results that are there.
async fn count_results(store: &dyn Store) -> Result<TaskCounts, StoreError> {
    let (mut counts, mut from) = (TaskCounts::default(), Some(DumpCursor::default()));
    while let Some(cursor) = from {
        let (changes, next) = store.dump_tasks(cursor, PAGE).await?;
        for change in &changes {
            if let Change::Result(result) = change {
                *counts.of(result.verdict.state()) += 1;
            }
        }
        from = next;
    }
    Ok(counts)
}

/// A target that takes over commits.
struct Follower<'a> {
    target: &'a dyn Store,
    position: Position,
    /// The next commit of the source.
    next: u64,
    /// Whether that commit was seen.
    has_begun: bool,
    cluster: Option<ClusterRecord>,
}

impl Follower<'_> {
    async fn commit(&mut self, changes: Vec<Change>) -> Result<(), CopyError> {
        self.position = self.target.commit(changes, self.position).await?;
        Ok(())
    }

    /// The cluster's own facts come last: without them the target is no store yet.
    async fn apply(&mut self, position: u64, mut changes: Vec<Change>) -> Result<(), CopyError> {
        changes.retain(|change| match change {
            Change::Cluster(cluster) => {
                self.cluster = Some(*cluster);
                false
            }
            _ => true,
        });
        self.commit(changes).await?;
        self.next = position + 1;
        Ok(())
    }
}

/// What is deleted by a commit that is still to be applied: it may never have been read, so what happens to it before is
/// left out.
#[derive(Default)]
struct Gone {
    tasks: BTreeSet<TaskId>,
    inputs: BTreeSet<InputId>,
}

impl Gone {
    fn note(&mut self, changes: &[Change]) {
        for change in changes {
            match change {
                Change::Gone(id) => drop(self.tasks.insert(*id)),
                Change::InputGone(id) => drop(self.inputs.insert(*id)),
                _ => {}
            }
        }
    }

    fn has(&self, change: &Change) -> bool {
        match change {
            Change::NewTask(record) => self.tasks.contains(&record.id),
            Change::Progress(id, _) | Change::Spec(id, _) => self.tasks.contains(id),
            Change::Input(input) => self.inputs.contains(&input.id),
            Change::InputFiles(id, _) => self.inputs.contains(id),
            part => part_of(part).is_some_and(|id| self.tasks.contains(&id)),
        }
    }
}
