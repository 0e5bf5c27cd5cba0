//! Writes submissions and their progress.

use std::collections::BTreeMap;
use std::sync::Arc;

use cloudaid_core::files::Leftover;
use cloudaid_core::recent::Recent;
use cloudaid_core::record::{Progress, Requeued, Spared, TaskRecord};
use rusqlite::{Connection, params};
use serde::Serialize;
use shared::id::TaskId;
use shared::ranges::RangeSet;
use shared::task::{TaskSpec, VerdictKind};
use shared::view::Tally;

use super::{Gain, json};
use crate::store::StoreError;
use crate::store::coalesce::NewTask;

/// The part of [`Progress`] that is JSON; the times have columns. It reads back as a `Progress` without times.
#[derive(Serialize)]
struct StoredProgress<'a> {
    tally: &'a Tally,
    untouched: &'a RangeSet,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    requeued: &'a [Requeued],
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    ended: &'a BTreeMap<VerdictKind, RangeSet>,
    #[serde(skip_serializing_if = "RangeSet::is_empty")]
    cancelling: &'a RangeSet,
    #[serde(skip_serializing_if = "RangeSet::is_empty")]
    unreachable: &'a RangeSet,
    #[serde(skip_serializing_if = "RangeSet::is_empty")]
    evicting: &'a RangeSet,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    spared: &'a [Spared],
    #[serde(skip_serializing_if = "Recent::is_empty")]
    recent: &'a Recent,
    #[serde(skip_serializing_if = "Option::is_none")]
    image: &'a Option<String>,
}

/// The columns of [`Progress`].
struct Columns {
    state: &'static str,
    started_at: Option<i64>,
    finished_at: Option<i64>,
    progress: String,
}

impl Columns {
    fn of(progress: &Progress) -> Result<Self, StoreError> {
        let Progress {
            tally,
            untouched,
            requeued,
            ended,
            cancelling,
            unreachable,
            evicting,
            spared,
            recent,
            image,
            started_at,
            finished_at,
        } = progress;
        Ok(Self {
            state: progress.state().as_str(),
            started_at: started_at.map(|time| time.0),
            finished_at: finished_at.map(|time| time.0),
            progress: json(&StoredProgress {
                tally,
                untouched,
                requeued,
                ended,
                cancelling,
                unreachable,
                evicting,
                spared,
                recent,
                image,
            })?,
        })
    }
}

/// Writes new submissions; of those that are known already, only the progress.
pub(super) fn insert(connection: &Connection, tasks: &[NewTask], gain: &mut Gain) -> Result<(), StoreError> {
    let sql = "INSERT INTO tasks (sequence, id, user, count, key, digest, submitted_at, state, started_at, finished_at,
               progress, spec, array, retry_of)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14) ON CONFLICT DO NOTHING";
    let mut insert = connection.prepare_cached(sql)?;
    for NewTask { record, progress } in tasks {
        let columns = match progress {
            Some(progress) => Columns::of(progress)?,
            None => Columns::of(&Progress::untouched(record.indices()))?,
        };
        let key = record.key.as_ref();
        let rows = insert.execute(params![
            record.sequence.cast_signed(),
            record.id.to_string(),
            record.user.as_str(),
            record.count(),
            key.map(|key| &*key.key),
            key.map(|key| key.digest),
            record.submitted_at.0,
            columns.state,
            columns.started_at,
            columns.finished_at,
            columns.progress,
            json(&*record.spec)?,
            record.array.as_deref().map(json).transpose()?,
            record.retry_of.map(|id| id.to_string()),
        ])?;
        if rows == 0 {
            check_known(connection, record)?;
            progress.iter().try_for_each(|progress| update_one(connection, record.id, progress))?;
        }
        gain.last_sequence = gain.last_sequence.max(record.sequence);
    }
    Ok(())
}

/// Tells a submission that is sent again from one that takes the sequence or key of another.
fn check_known(connection: &Connection, record: &TaskRecord) -> Result<(), StoreError> {
    let mut select = connection.prepare_cached("SELECT 1 FROM tasks WHERE sequence = ?1 AND id = ?2")?;
    if select.exists(params![record.sequence.cast_signed(), record.id.to_string()])? {
        return Ok(());
    }
    Err(StoreError::Corrupt(format!("{} has the sequence or key of another task", record.id)))
}

/// Writes other names and labels of known submissions.
pub(super) fn change(connection: &Connection, specs: &[(TaskId, Arc<TaskSpec>)]) -> Result<(), StoreError> {
    let mut update = connection.prepare_cached("UPDATE tasks SET spec = ?2 WHERE id = ?1")?;
    for (id, spec) in specs {
        if update.execute(params![id.to_string(), json(&**spec)?])? == 0 {
            return Err(StoreError::Corrupt(format!("{id} is not known")));
        }
    }
    Ok(())
}

/// Deletes submissions with all that is known of them.
pub(super) fn delete(connection: &Connection, tasks: &[TaskId]) -> Result<(), StoreError> {
    for task in tasks {
        let id = task.to_string();
        for table in ["assignments", "results", "file_metadata", "uploads"] {
            connection.prepare_cached(&format!("DELETE FROM {table} WHERE task = ?1"))?.execute(params![id])?;
        }
        if connection.prepare_cached("DELETE FROM tasks WHERE id = ?1")?.execute(params![id])? > 0 {
            super::files::leave(connection, Leftover::Task(*task))?;
        }
    }
    Ok(())
}

/// Writes the progress of known submissions.
pub(super) fn update(connection: &Connection, progress: &[(TaskId, Progress)]) -> Result<(), StoreError> {
    progress.iter().try_for_each(|(id, progress)| update_one(connection, *id, progress))
}

fn update_one(connection: &Connection, id: TaskId, progress: &Progress) -> Result<(), StoreError> {
    let sql = "UPDATE tasks SET state = ?2, started_at = ?3, finished_at = ?4, progress = ?5 WHERE id = ?1";
    let Columns { state, started_at, finished_at, progress } = Columns::of(progress)?;
    let mut update = connection.prepare_cached(sql)?;
    match update.execute(params![id.to_string(), state, started_at, finished_at, progress])? {
        0 => Err(StoreError::Corrupt(format!("{id} is not known"))),
        _ => Ok(()),
    }
}
