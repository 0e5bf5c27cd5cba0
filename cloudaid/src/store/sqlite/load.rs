//! Reads what has not ended.

use cloudaid_core::record::{AttemptRecord, ClusterRecord, Snapshot};
use rusqlite::{Connection, Row};
use shared::audit::Chain;
use shared::id::ElementId;

use super::lookup::all;
use super::row;
use crate::store::{Position, StoreError};

/// The snapshot to start from, all of one state.
pub(super) fn load(connection: &Connection) -> Result<(Snapshot, Position), StoreError> {
    let open =
        format!("SELECT {} FROM tasks t WHERE state IN ('queued', 'pending', 'running') ORDER BY sequence", row::TASK);
    let live = format!(
        "SELECT {}, a.task, a.idx FROM assignments a WHERE a.state <> 'ended' ORDER BY a.task, a.idx, a.attempt",
        row::ATTEMPT
    );
    let Counters { cluster, position, last_sequence } = counters(connection)?;
    let snapshot = Snapshot {
        cluster,
        last_sequence,
        tokens: all(connection, row::TOKENS, [], row::token)?,
        logins: all(connection, row::LOGINS, [], row::login)?,
        guesses: all(connection, row::GUESSES, [], row::guesses)?,
        unswept: all(connection, "SELECT leftover FROM unswept", [], |row| row::parsed(row, 0))?,
        inputs: all(connection, row::INPUTS, [], row::input)?,
        missing: all(connection, row::MISSING, [], |row| Ok((row::parsed(row, 0)?, row::parsed(row, 1)?)))?,
        file_usage: all(connection, row::FILE_USAGE, [], row::file_usage)?,
        audit: audit_end(connection)?,
        users: all(connection, row::USERS, [], row::user)?,
        workers: all(connection, row::WORKERS, [], row::worker)?,
        join_tokens: all(connection, "SELECT record FROM join_tokens", [], |row| row::json(row, 0))?,
        registries: all(connection, "SELECT record FROM registries", [], |row| row::json(row, 0))?,
        pending: all(connection, "SELECT record FROM pending_workers", [], |row| row::json(row, 0))?,
        tasks: all(connection, &open, [], |row| Ok((row::task_record(row)?, row::progress(row)?)))?,
        attempts: all(connection, &live, [], attempt)?,
    };
    Ok((snapshot, position))
}

/// The row that there is one of.
pub(super) struct Counters {
    pub(super) cluster: Option<ClusterRecord>,
    position: Position,
    last_sequence: u64,
}

pub(super) fn counters(connection: &Connection) -> Result<Counters, StoreError> {
    let sql = "SELECT cluster, epoch, position, last_sequence FROM cluster";
    let rows = all(connection, sql, [], |row| {
        let (position, last_sequence) = (row.get::<_, i64>(2)?.cast_unsigned(), row.get::<_, i64>(3)?.cast_unsigned());
        Ok(Counters { cluster: row::cluster(row)?, position: Position(position), last_sequence })
    })?;
    rows.into_iter().next().ok_or_else(|| StoreError::Corrupt("the table `cluster` is empty".into()))
}

/// Where the audit log ends.
fn audit_end(connection: &Connection) -> Result<Chain, StoreError> {
    let sql = format!("SELECT {} FROM audit ORDER BY sequence DESC LIMIT 1", row::AUDIT);
    let last = all(connection, &sql, [], row::audit)?.pop();
    Ok(last.map_or_else(Chain::default, |entry| Chain { sequence: entry.sequence, seal: entry.seal }))
}

/// Reads [`row::ATTEMPT`], and the task and the index behind it.
pub(super) fn attempt(row: &Row<'_>) -> Result<AttemptRecord, StoreError> {
    let element = ElementId { task: row::parsed(row, row::ATTEMPT_WIDTH)?, index: row.get(row::ATTEMPT_WIDTH + 1)? };
    row::attempt(row, 0, element)
}
