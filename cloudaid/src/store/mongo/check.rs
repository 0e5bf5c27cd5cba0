//! Whether a commit fits to what is known, before anything of it is written. Costs a question only where there are keys,
//! or where something ended is changed.

use std::collections::{HashMap, HashSet};

use cloudaid_core::record::{Change, TaskRecord};
use mongodb::bson::doc;
use shared::id::TaskId;

use super::Head;
use super::collections::TASKS;
use super::documents;
use super::projector::Shown;
use super::server::{READ_LIMIT, Server, number};
use crate::store::{CommitError, StoreError};

/// `absent`: keys that no submission has.
pub(super) async fn check(
    server: &Server,
    shown: &Shown,
    head: &Head,
    changes: &[Change],
    absent: &HashSet<String>,
) -> Result<(), CommitError> {
    let mut new: HashMap<TaskId, &TaskRecord> = HashMap::new();
    let mut taken: HashMap<u64, TaskId> = HashMap::new();
    let mut keys: HashMap<String, TaskId> = HashMap::new();
    for change in changes {
        let Change::NewTask(record) = change else { continue };
        let sequence = taken.insert(record.sequence, record.id).is_none_or(|other| other == record.id);
        let id = new.insert(record.id, record).is_none_or(|other| other.sequence == record.sequence);
        let dedup = documents::dedup(record);
        let recent = head.recent.get(&dedup).is_none_or(|(other, _)| *other == record.id);
        let key = keys.insert(dedup, record.id).is_none_or(|other| other == record.id);
        if !(sequence && id && key && recent) {
            return Err(not_alone(record.id));
        }
    }
    let mut asked: Vec<TaskId> = Vec::new();
    {
        let known = shown.sequences.lock();
        for record in new.values() {
            match known.get(&record.id) {
                Some(sequence) if *sequence != record.sequence => return Err(not_alone(record.id)),
                None if record.sequence <= head.last_sequence => asked.push(record.id),
                Some(_) | None => {}
            }
        }
        let named = changes.iter().filter_map(|change| match change {
            Change::Progress(id, _) | Change::Spec(id, _) => Some(*id),
            Change::Attempt(attempt) => Some(attempt.key.task),
            _ => None,
        });
        asked.extend(named.filter(|id| !new.contains_key(id) && !known.contains_key(id)));
    }
    // A submission without a key has its id for one, and is new.
    keys.retain(|dedup, id| !absent.contains(dedup) && new.get(id).is_some_and(|record| record.key.is_some()));
    if asked.is_empty() && keys.is_empty() {
        return Ok(());
    }
    shown.wait_for(head.position, server.show_limit(READ_LIMIT)).await.map_err(CommitError::Unavailable)?;
    asked.sort_unstable();
    asked.dedup();
    check_stored(server, &asked, &new, &keys).await
}

async fn check_stored(
    server: &Server,
    asked: &[TaskId],
    new: &HashMap<TaskId, &TaskRecord>,
    keys: &HashMap<String, TaskId>,
) -> Result<(), CommitError> {
    let sequences: Vec<i64> =
        asked.iter().filter_map(|id| new.get(id)).map(|record| record.sequence.cast_signed()).collect();
    let mut ways = vec![doc! { "_id": documents::ids(asked) }];
    if !sequences.is_empty() {
        ways.push(doc! { "sequence": { "$in": sequences } });
    }
    if !keys.is_empty() {
        ways.push(doc! { "dedup": { "$in": keys.keys().cloned().collect::<Vec<_>>() } });
    }
    let fields = doc! { "sequence": 1, "dedup": 1, "gone": 1 };
    let found = server.find_fields(TASKS, doc! { "$or": ways }, fields, doc! {}, 0).await?;
    let mut known = Vec::new();
    for document in found {
        let id: Option<TaskId> = document.get_str("_id").ok().and_then(|id| id.parse().ok());
        let Some(id) = id else {
            return Err(CommitError::Fatal(StoreError::Corrupt(format!("{TASKS}: a document without a task id"))));
        };
        let sequence = document.get("sequence").and_then(number).map(i64::cast_unsigned);
        let holder = document.get_str("dedup").ok().and_then(|dedup| keys.get(dedup));
        let same = new.get(&id).is_none_or(|record| sequence == Some(record.sequence));
        let other = new.values().any(|record| Some(record.sequence) == sequence && record.id != id);
        if !same || other || holder.is_some_and(|holder| *holder != id) {
            return Err(not_alone(*holder.unwrap_or(&id)));
        }
        if !document.contains_key("gone") {
            known.push(id);
        }
    }
    match asked.iter().find(|id| !known.contains(id) && !new.contains_key(id)) {
        Some(id) => Err(CommitError::Fatal(StoreError::Corrupt(format!("{id} is not known")))),
        None => Ok(()),
    }
}

fn not_alone(id: TaskId) -> CommitError {
    CommitError::Fatal(StoreError::Corrupt(format!("{id} has the sequence or key of another task")))
}
