//! Answers with all submissions, page by page.

use rusqlite::{Connection, params};
use shared::id::ElementId;

use super::load;
use super::lookup::all;
use super::row;
use super::uploads;
use crate::store::StoreError;
use crate::store::dump::{self, DumpCursor, Found, Page};

/// One page, and where the next one begins.
pub(super) fn page(connection: &Connection, from: DumpCursor, limit: usize) -> Result<Page, StoreError> {
    dump::page(from, limit, |from, wanted| find(connection, from, wanted))
}

/// One statement per table, over all submissions of the page.
fn find(connection: &Connection, from: DumpCursor, wanted: usize) -> Result<Found, StoreError> {
    let first = from.sequence.cast_signed();
    let wanted = i64::try_from(wanted).unwrap_or(i64::MAX);
    let sql = format!("SELECT {} FROM tasks t WHERE t.sequence >= ?1 ORDER BY t.sequence LIMIT ?2", row::TASK);
    let tasks = all(connection, &sql, params![first, wanted], |row| Ok((row::task_record(row)?, row::progress(row)?)))?;
    let Some((last, _)) = tasks.last() else { return Ok(Found::default()) };
    let values = params![first, from.index, last.sequence.cast_signed(), wanted];
    Ok(Found {
        attempts: all(connection, &attempts(), values, load::attempt)?,
        results: all(connection, &results(), values, |row| {
            row::result(row, 0, ElementId { task: row::parsed(row, 6)?, index: row.get(7)? })
        })?,
        files: all(connection, &files(), values, |row| row::file(row, 1, row::parsed(row, 0)?))?,
        uploads: uploads::all_of_them(connection)?,
        tasks,
    })
}

/// Submissions come in the order of their table, and the rows of each in that of their key: nothing is sorted, and where
/// a page begins in the middle of an array nothing before it is read.
const OF_PAGE: &str = "t.sequence BETWEEN ?1 AND ?3 AND";

fn attempts() -> String {
    format!(
        "SELECT {}, t.id, a.idx FROM tasks t CROSS JOIN assignments a ON a.task = t.id
         WHERE {OF_PAGE} a.idx >= iif(t.sequence = ?1, ?2, 0) ORDER BY t.sequence, a.idx, a.attempt LIMIT ?4",
        row::ATTEMPT
    )
}

fn results() -> String {
    format!(
        "SELECT {}, t.id, r.idx FROM tasks t CROSS JOIN results r ON r.task = t.id
         WHERE {OF_PAGE} r.idx >= iif(t.sequence = ?1, ?2, 0) ORDER BY t.sequence, r.idx LIMIT ?4",
        row::RESULT
    )
}

fn files() -> String {
    format!(
        "SELECT t.id, f.idx, f.attempt, f.path, f.size, f.blake3, f.blob, f.start
         FROM tasks t CROSS JOIN file_metadata f ON f.task = t.id
         WHERE {OF_PAGE} f.idx >= iif(t.sequence = ?1, ?2, 0)
         ORDER BY t.sequence, f.idx, f.attempt, f.path LIMIT ?4"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::sqlite::schema;

    #[test]
    fn pages_are_read_in_the_order_of_the_keys() {
        let mut connection = Connection::open_in_memory().expect("a database");
        schema::migrate(&mut connection, schema::MIGRATIONS).expect("the tables");
        for sql in [attempts(), results(), files()] {
            let mut explain = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).expect("a statement");
            let rows = explain.query_map(params![1, 1, 9, 9], |row| row.get::<_, String>(3)).expect("a plan");
            let plan: Vec<_> = rows.map(|row| row.expect("a step")).collect();
            assert!(!plan.iter().any(|step| step.contains("TEMP B-TREE")), "{plan:?}");
            assert!(plan[0].contains("(rowid>? AND rowid<?)"), "{plan:?}");
            assert!(plan[1].contains("USING PRIMARY KEY (task=? AND idx>?)"), "{plan:?}");
        }
    }
}
