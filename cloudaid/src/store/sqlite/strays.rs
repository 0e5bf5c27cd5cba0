//! Finds what is wrong with the file itself, and rows that no other question shows.

use rusqlite::{Connection, params};

use super::lookup::all;
use crate::store::{StoreError, strays};

/// In words, `limit` at the most.
pub(super) fn list(connection: &Connection, limit: usize) -> Result<Vec<String>, StoreError> {
    let mut found = damage(connection)?;
    let most = i64::try_from(limit).unwrap_or(i64::MAX);
    for (table, what) in [("assignments", "a run"), ("results", "a result"), ("file_metadata", "files")] {
        // Files of inputs stand beside those of tasks.
        let sql = format!(
            "SELECT DISTINCT x.task, x.idx FROM {table} x
             WHERE x.task NOT LIKE 'input-%' AND NOT EXISTS (SELECT 1 FROM tasks t WHERE t.id = x.task) LIMIT ?1"
        );
        let elements = all(connection, &sql, params![most], |row| {
            Ok(format!("{}.{}", row.get::<_, String>(0)?, row.get::<_, u32>(1)?))
        })?;
        found.extend(elements.into_iter().map(|element| strays::of_task(what, element)));
    }
    let sql = "SELECT DISTINCT f.task FROM file_metadata f
               WHERE f.task LIKE 'input-%' AND NOT EXISTS (SELECT 1 FROM inputs i WHERE i.id = f.task) LIMIT ?1";
    let inputs = all(connection, sql, params![most], |row| Ok(row.get::<_, String>(0)?))?;
    found.extend(inputs.iter().map(|id| strays::of_input(id)));
    found.truncate(limit);
    Ok(found)
}

/// What SQLite finds wrong with its own pages and indexes.
fn damage(connection: &Connection) -> Result<Vec<String>, StoreError> {
    let mut check = connection.prepare("PRAGMA integrity_check(20)")?;
    let rows = check.query_map([], |row| row.get::<_, String>(0))?.collect::<Result<Vec<_>, _>>()?;
    Ok(rows.into_iter().filter(|row| row != "ok").map(|row| format!("the file: {row}")).collect())
}
