//! Commits that another store, which this one follows or stands in for, may not have yet.

use cloudaid_core::record::Change;
use rusqlite::{Connection, Transaction, params};

use super::write::json;
use crate::store::{Position, StoreError};

/// How a commit is kept for the other store.
#[derive(Debug, Clone)]
pub(super) struct Ahead {
    /// Whether the other one cannot be reached; otherwise it gets the commit next, and has all earlier ones.
    is_alone: bool,
    changes: String,
}

/// A commit that was kept.
#[derive(Debug)]
pub struct Kept {
    /// The position that it made.
    pub position: Position,
    /// Whether it was acknowledged without the other store.
    pub is_alone: bool,
    /// What it changed.
    pub changes: Vec<Change>,
}

impl Ahead {
    /// The other store gets these changes, which are JSON, next.
    pub(super) fn of_next(changes: String) -> Self {
        Self { is_alone: false, changes }
    }

    /// The other store cannot be reached.
    pub(super) fn alone(changes: &[Change]) -> Result<Self, StoreError> {
        Ok(Self { is_alone: true, changes: json(&changes)? })
    }

    /// Part of the commit that makes `position`.
    pub(super) fn write(&self, transaction: &Transaction<'_>, position: Position) -> Result<(), StoreError> {
        if !self.is_alone {
            transaction.prepare_cached("DELETE FROM ahead WHERE is_alone = 0")?.execute([])?;
        }
        let values = params![position.0.cast_signed(), self.is_alone, self.changes];
        transaction
            .prepare_cached("INSERT INTO ahead (position, is_alone, changes) VALUES (?1, ?2, ?3)")?
            .execute(values)?;
        Ok(())
    }
}

/// Those behind `after`, in their order, `limit` at the most.
pub(super) fn list(connection: &Connection, after: Position, limit: usize) -> Result<Vec<Kept>, StoreError> {
    let sql = "SELECT position, is_alone, changes FROM ahead WHERE position > ?1 ORDER BY position LIMIT ?2";
    let values = params![after.0.cast_signed(), i64::try_from(limit).unwrap_or(i64::MAX)];
    super::lookup::all(connection, sql, values, |row| {
        let text: String = row.get(2)?;
        let changes = serde_json::from_str(&text).map_err(|error| StoreError::Corrupt(format!("ahead: {error}")))?;
        Ok(Kept { position: Position(row.get::<_, i64>(0)?.cast_unsigned()), is_alone: row.get(1)?, changes })
    })
}

/// How many behind `after` were acknowledged without the other store.
pub(super) fn count_alone(connection: &Connection, after: Position) -> Result<usize, StoreError> {
    let sql = "SELECT count(*) FROM ahead WHERE position > ?1 AND is_alone";
    let count: i64 = connection.query_row(sql, [after.0.cast_signed()], |row| row.get(0))?;
    Ok(usize::try_from(count).unwrap_or_default())
}

/// What is done to the commits that are kept, and to the count of all.
#[derive(Debug, Clone, Copy)]
pub(super) enum Upkeep {
    /// The other store has these.
    Forget(Position),
    /// The store holds what another one does at this position.
    Adopt(Position),
}

pub(super) fn keep_up(connection: &mut Connection, upkeep: Upkeep) -> Result<(), StoreError> {
    match upkeep {
        Upkeep::Forget(through) => {
            connection.execute("DELETE FROM ahead WHERE position <= ?1", [through.0.cast_signed()])?
        }
        Upkeep::Adopt(position) => {
            connection.execute("UPDATE cluster SET position = ?1", [position.0.cast_signed()])?
        }
    };
    Ok(())
}
