//! Writes runs and results.

use cloudaid_core::record::{AttemptRecord, ResultRecord};
use rusqlite::{Connection, params};
use shared::id::{AttemptKey, WorkerId};
use shared::task::{AttemptState, TaskState, Verdict};

use super::super::row::{self, attempt_state_name};
use super::{Gain, json};
use crate::store::StoreError;

/// A run that is placed is nearly always new, and a later state nearly always of a known one; the other way round works
/// too. A run keeps its worker, so the index by worker stays as it is.
pub(super) fn write_attempts(connection: &Connection, attempts: &[AttemptRecord]) -> Result<(), StoreError> {
    let update = "UPDATE assignments SET fence = ?4, state = ?6, verdict = ?7, infrastructure_failures = ?8,
                  placed_at = ?9, started_at = ?10, finished_at = ?11, memory = ?12, gpus = ?13, confinement = ?14,
                  notes = ?15
                  WHERE task = ?1 AND idx = ?2 AND attempt = ?3 AND worker = ?5";
    let insert = "INSERT OR REPLACE INTO assignments (task, idx, attempt, fence, worker, state, verdict,
                  infrastructure_failures, placed_at, started_at, finished_at, memory, gpus, confinement, notes,
                  sequence)
                  VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15,
                  (SELECT sequence FROM tasks WHERE id = ?1))";
    let (mut update, mut insert) = (connection.prepare_cached(update)?, connection.prepare_cached(insert)?);
    for attempt in attempts {
        let AttemptKey { task, index, attempt: number, fence } = attempt.key;
        let task = task.to_string();
        let verdict = attempt.verdict.as_ref().map(json).transpose()?;
        let gpus = (!attempt.gpus.is_empty()).then(|| json(&attempt.gpus)).transpose()?;
        let confinement = attempt.confinement.as_ref().map(json).transpose()?;
        let notes = (!attempt.notes.is_empty()).then(|| json(&attempt.notes)).transpose()?;
        let values = params![
            task,
            index,
            number,
            fence.0.cast_signed(),
            attempt.worker.as_str(),
            attempt_state_name(attempt.state),
            verdict,
            attempt.infrastructure_failures,
            attempt.placed_at.0,
            attempt.started_at.map(|time| time.0),
            attempt.finished_at.map(|time| time.0),
            attempt.memory.map(u64::cast_signed),
            gpus,
            confinement,
            notes,
        ];
        if attempt.state == AttemptState::Pending || update.execute(values)? == 0 {
            insert.execute(values)?;
        }
    }
    Ok(())
}

/// Writes results and counts them; one that is written again is counted once, as what it is now.
pub(super) fn write_results(
    connection: &Connection,
    results: &[ResultRecord],
    gain: &mut Gain,
) -> Result<(), StoreError> {
    let insert = "INSERT INTO results (task, idx, verdict, attempt, worker, started_at, finished_at, outcome)
                  VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT DO NOTHING";
    let update = "UPDATE results SET verdict = ?3, attempt = ?4, worker = ?5, started_at = ?6, finished_at = ?7,
                  outcome = ?8 WHERE task = ?1 AND idx = ?2";
    let mut insert = connection.prepare_cached(insert)?;
    for result in results {
        let task = result.element.task.to_string();
        let index = result.element.index;
        let (verdict, outcome) = (json(&result.verdict)?, result.outcome.as_ref().map(json).transpose()?);
        let values = params![
            task,
            index,
            verdict,
            result.attempt,
            result.worker.as_ref().map(WorkerId::as_str),
            result.started_at.map(|time| time.0),
            result.finished_at.0,
            outcome,
        ];
        if insert.execute(values)? == 0 {
            let sql = "SELECT verdict FROM results WHERE task = ?1 AND idx = ?2";
            let old = connection.prepare_cached(sql)?.query_one(params![task, index], |row| row.get::<_, String>(0))?;
            *gain.of(row::from_json::<Verdict>("verdict", &old)?.state()) -= 1;
            connection.prepare_cached(update)?.execute(values)?;
        }
        *gain.of(result.verdict.state()) += 1;
    }
    Ok(())
}

impl Gain {
    /// The counter of a final state.
    fn of(&mut self, state: TaskState) -> &mut i64 {
        match state {
            TaskState::Completed => &mut self.completed,
            TaskState::Cancelled => &mut self.cancelled,
            _ => &mut self.failed,
        }
    }
}
