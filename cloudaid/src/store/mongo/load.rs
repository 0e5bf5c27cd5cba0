//! Reads what has not ended, after the collections have caught up with the journal.

use std::collections::{BTreeSet, HashMap, HashSet};

use cloudaid_core::record::{AttemptRecord, ClusterRecord, Snapshot};
use mongodb::bson::{Document, doc};
use serde::de::DeserializeOwned;
use shared::audit::{AuditEntry, Chain};
use shared::id::{AttemptKey, BlobId, InputId, TaskId};
use shared::task::TaskState;
use shared::view::TaskCounts;

use super::codec::from_document;
use super::collections::{
    ASSIGNMENTS, AUDIT, CLUSTER, FILE_METADATA, FILE_USAGE, GUESSES, INPUTS, JOIN_TOKENS, JOURNAL, LOGINS,
    PENDING_WORKERS, REGISTRIES, RESULTS, TASKS, TOKENS, UNSWEPT, USERS, WORKER_REGISTRY,
};
use super::documents;
use super::journal::Journal;
use super::project::SELF;
use super::projector::{self, Shown};
use super::server::{Server, number};
use crate::store::StoreError;

/// Commits that are read at a time.
const ENTRIES: usize = 64;
/// How often it is looked for commits that came meanwhile: where another master is at work there are always some.
const ROUNDS: usize = 3;
/// Changes of several commits that are shown together.
const TOGETHER: usize = 200;

/// Where commits go on.
#[derive(Debug)]
pub(super) struct CaughtUp {
    pub(super) position: u64,
    pub(super) epoch: u32,
    pub(super) last_sequence: u64,
}

/// Shows again all commits that are still in the journal: the last of them may not have been shown.
pub(super) async fn catch_up(server: &Server, journal: &Journal) -> Result<CaughtUp, StoreError> {
    let shown = Shown::new(0);
    *shown.sequences.lock() = sequences(server).await?;
    // First: a master that is at work goes on meanwhile.
    let reached = journal.reached().await?;
    let (mut position, mut next) = (0, journal.tail().await?);
    for _ in 0..ROUNDS {
        let end = journal.head().await?;
        while next <= end {
            let entries = journal.read(next, ENTRIES).await?;
            let Some(last) = entries.last() else { break };
            next = last.position + 1;
            let mut changes = Vec::new();
            for entry in entries {
                // Small ones together, to save messages. A large one alone: all of it that is shown already has its
                // position.
                if changes.len() + entry.changes.len() > TOGETHER && !changes.is_empty() {
                    projector::show(server, &shown, position, &std::mem::take(&mut changes)).await?;
                }
                position = entry.position;
                changes.extend(entry.changes.iter().cloned());
            }
            projector::show(server, &shown, position, &changes).await?;
        }
        if journal.head().await? <= position {
            break;
        }
    }
    if position < reached {
        return Err(StoreError::Corrupt(format!(
            "{JOURNAL} ends at {position}, and it had come to {reached}: somebody has removed commits by hand: restore a backup"
        )));
    }
    refuse_nonsense(server).await?;
    let cluster = cluster(server).await?;
    let totals = totals(server).await?;
    if position == 0 && (cluster.is_some() || totals.is_some()) {
        return Err(StoreError::Corrupt(format!(
            "{JOURNAL} is empty, but {CLUSTER} is not: somebody has emptied it by hand: restore a backup"
        )));
    }
    let last_sequence = last_sequence(server, totals.as_ref()).await?;
    Ok(CaughtUp { position, epoch: cluster.map_or(0, |record| record.epoch.0), last_sequence })
}

/// Submissions whose state is none, or says that they are over although they are not, would never be looked at again.
async fn refuse_nonsense(server: &Server) -> Result<(), StoreError> {
    let here = doc! { "$exists": false };
    let states = TaskState::ALL.map(|state| state.as_str()).to_vec();
    let none = doc! { "state": { "$nin": states }, "gone": here.clone() };
    let over = TaskState::ALL.into_iter().filter(|state| state.is_final()).map(TaskState::as_str).collect::<Vec<_>>();
    let early = doc! { "state": { "$in": over }, "progress.finished_at": here.clone(), "gone": here };
    for (filter, what) in
        [(none, "its `state` is none"), (early, "its `state` says that it is over, and it has no end")]
    {
        if let Some(found) = server.find_first(TASKS, filter, doc! {}).await? {
            let id = found.get("_id").map(ToString::to_string).unwrap_or_default();
            return Err(StoreError::Corrupt(format!("{TASKS} {id}: {what}; restore a backup")));
        }
    }
    Ok(())
}

/// The snapshot to start from.
pub(super) async fn load(server: &Server) -> Result<Snapshot, StoreError> {
    let open = doc! { "state": { "$in": open_states() } };
    let live = doc! { "state": { "$in": documents::live_states() } };
    let mut tasks = Vec::new();
    for document in server.find(TASKS, open, doc! { "sequence": 1 }).await? {
        tasks.push(documents::read_task(document)?);
    }
    let known: BTreeSet<TaskId> = tasks.iter().map(|(record, _)| record.id).collect();
    let attempts = server.find(ASSIGNMENTS, live, doc! { "_id": 1 }).await?;
    let attempts = attempts.into_iter().map(documents::read_attempt).collect::<Result<Vec<AttemptRecord>, _>>()?;
    let guesses = all(server, GUESSES).await?.into_iter().map(documents::read_guess).collect::<Result<_, _>>()?;
    let totals = totals(server).await?;
    Ok(Snapshot {
        cluster: cluster(server).await?,
        last_sequence: last_sequence(server, totals.as_ref()).await?,
        users: records(server, USERS, "name").await?,
        tokens: records(server, TOKENS, "id").await?,
        logins: records(server, LOGINS, "id").await?,
        guesses,
        unswept: texts(server, UNSWEPT).await?,
        inputs: records(server, INPUTS, "id").await?,
        missing: missing(server).await?,
        file_usage: usage(server).await?,
        audit: audit_end(server).await?,
        workers: records(server, WORKER_REGISTRY, "id").await?,
        join_tokens: records(server, JOIN_TOKENS, "id").await?,
        pending: records(server, PENDING_WORKERS, "worker").await?,
        registries: records(server, REGISTRIES, "registry").await?,
        // A run without its submission is what a master has left that was stopped in the middle of a deletion.
        attempts: attempts.into_iter().filter(|attempt| known.contains(&attempt.key.task)).collect(),
        tasks,
    })
}

/// Of submissions that have not ended.
pub(super) async fn sequences(server: &Server) -> Result<HashMap<TaskId, u64>, StoreError> {
    let open = doc! { "state": { "$in": open_states() } };
    let found = server.find_fields(TASKS, open, doc! { "sequence": 1 }, doc! {}, 0).await?;
    let sequence = |found: Document| {
        let id = found.get_str("_id").ok().and_then(|id| id.parse().ok());
        let sequence = found.get("sequence").and_then(number).map(i64::cast_unsigned);
        id.zip(sequence).ok_or_else(|| {
            let id = found.get("_id").map(ToString::to_string).unwrap_or_default();
            StoreError::Corrupt(format!("{TASKS} {id}: it has no task id or no sequence"))
        })
    };
    found.into_iter().map(sequence).collect()
}

/// Runs that have not ended.
pub(super) async fn runs(server: &Server) -> Result<HashSet<AttemptKey>, StoreError> {
    let live = doc! { "state": { "$in": documents::live_states() } };
    let live = server.find(ASSIGNMENTS, live, doc! {}).await?;
    live.into_iter().map(|run| documents::read_attempt(run).map(|attempt| attempt.key)).collect()
}

/// Ended elements, counted.
pub(super) async fn count_ended(server: &Server) -> Result<TaskCounts, StoreError> {
    let mut counts = TaskCounts::default();
    for (state, count) in server.count_by(RESULTS, doc! { "task": { "$exists": true } }, "state").await? {
        let state: TaskState =
            state.parse().map_err(|_| StoreError::Corrupt(format!("{RESULTS}: `{state}` is no state")))?;
        *counts.of(state) += count;
    }
    if let Some(totals) = totals(server).await? {
        add_forgotten(&totals, &mut counts);
    }
    Ok(counts)
}

/// Ended elements of submissions that are no more.
pub(super) fn add_forgotten(totals: &Document, counts: &mut TaskCounts) {
    let Ok(forgotten) = totals.get_document("forgotten") else { return };
    for state in [TaskState::Completed, TaskState::Failed, TaskState::Cancelled] {
        let count = forgotten.get(state.as_str()).and_then(number).unwrap_or_default();
        *counts.of(state) += count.cast_unsigned();
    }
}

pub(super) async fn cluster(server: &Server) -> Result<Option<ClusterRecord>, StoreError> {
    let found = server.find_first(CLUSTER, doc! { "_id": SELF }, doc! {}).await?;
    found.map(|document| from_document(CLUSTER, "_", document)).transpose()
}

pub(super) async fn totals(server: &Server) -> Result<Option<Document>, StoreError> {
    Ok(server.find_first(CLUSTER, doc! { "_id": "totals" }, doc! {}).await?)
}

async fn last_sequence(server: &Server, totals: Option<&Document>) -> Result<u64, StoreError> {
    let last = server.find_fields(TASKS, doc! {}, doc! { "sequence": 1 }, doc! { "sequence": -1 }, 1).await?.pop();
    let sequence = |document: &Document, name| document.get(name).and_then(number).unwrap_or_default().cast_unsigned();
    let forgotten = totals.map_or(0, |totals| sequence(totals, "last_sequence"));
    Ok(last.map_or(0, |last| sequence(&last, "sequence")).max(forgotten))
}

fn open_states() -> Vec<&'static str> {
    [TaskState::Queued, TaskState::Pending, TaskState::Running].map(|state| state.as_str()).to_vec()
}

async fn all(server: &Server, name: &str) -> Result<Vec<Document>, StoreError> {
    Ok(server.find(name, doc! { "gone": { "$exists": false } }, doc! { "_id": 1 }).await?)
}

async fn records<T: DeserializeOwned>(server: &Server, name: &str, id: &str) -> Result<Vec<T>, StoreError> {
    all(server, name).await?.into_iter().map(|document| from_document(name, id, document)).collect()
}

async fn texts<T: std::str::FromStr<Err: std::fmt::Display>>(
    server: &Server,
    name: &str,
) -> Result<Vec<T>, StoreError> {
    let found = all(server, name).await?;
    let text = |document: &Document| {
        let text = document.get_str("_id").map_err(|error| StoreError::Corrupt(format!("{name}: {error}")))?;
        text.parse().map_err(|error| StoreError::Corrupt(format!("{name} {text}: {error}")))
    };
    found.iter().map(text).collect()
}

async fn usage(server: &Server) -> Result<Vec<(shared::id::UserName, cloudaid_core::files::FileUsage)>, StoreError> {
    let found = all(server, FILE_USAGE).await?;
    let usage = |document: Document| {
        let user = document.get_str("_id").map_err(|error| StoreError::Corrupt(format!("{FILE_USAGE}: {error}")))?;
        let user = user.parse().map_err(|error| StoreError::Corrupt(format!("{FILE_USAGE}: {error}")))?;
        Ok((user, from_document(FILE_USAGE, "_", document)?))
    };
    found.into_iter().map(usage).collect()
}

async fn missing(server: &Server) -> Result<Vec<(InputId, BlobId)>, StoreError> {
    let fields = doc! { "input": 1, "blob": 1 };
    let found = server.find_fields(FILE_METADATA, doc! { "missing": true }, fields, doc! {}, 0).await?;
    let pair = |document: Document| {
        let input = document.get_str("input").ok().and_then(|id| id.parse().ok());
        let blob = document.get_str("blob").ok().and_then(|id| id.parse().ok());
        input.zip(blob).ok_or_else(|| StoreError::Corrupt(format!("{FILE_METADATA}: a missing file without a blob")))
    };
    found.into_iter().map(pair).collect()
}

/// Where the audit log ends.
async fn audit_end(server: &Server) -> Result<Chain, StoreError> {
    let Some(last) = server.find_first(AUDIT, doc! {}, doc! { "_id": -1 }).await? else { return Ok(Chain::default()) };
    let last: AuditEntry = from_document(AUDIT, "sequence", last)?;
    Ok(Chain { sequence: last.sequence, seal: last.seal })
}
