//! Answers about runs and their output files, also those whose upload has not ended.

use std::collections::BTreeSet;

use cloudaid_core::files::{FileUsage, UploadRecord};
use rusqlite::{Connection, Row, params};
use shared::id::{AttemptKey, BlobId, ElementId, Elements, Fence, TaskId};

use super::lookup::{all, first};
use super::row;
use crate::store::{RunSize, StoreError};

/// That files `f` are there to be seen: their upload has ended.
pub(super) const ENDED: &str =
    "NOT EXISTS (SELECT 1 FROM uploads u WHERE u.task = f.task AND u.idx = f.idx AND u.attempt = f.attempt)";

/// The last run, of the element of files `f`, that has files to be seen. Where an upload goes on, the runs are gone through;
/// else the key of the files gives it at once.
pub(super) const LAST_RUN: &str = "iif(EXISTS (SELECT 1 FROM uploads WHERE task = f.task AND idx = f.idx),
    (SELECT max(a.attempt) FROM assignments a WHERE a.task = f.task AND a.idx = f.idx
        AND NOT EXISTS (SELECT 1 FROM uploads u WHERE u.task = a.task AND u.idx = a.idx AND u.attempt = a.attempt)
        AND EXISTS (SELECT 1 FROM file_metadata x WHERE x.task = a.task AND x.idx = a.idx AND x.attempt = a.attempt)),
    (SELECT max(attempt) FROM file_metadata WHERE task = f.task AND idx = f.idx))";

pub(super) fn run_sizes(connection: &Connection, task: TaskId, elements: Elements) -> Result<Vec<RunSize>, StoreError> {
    let sql = format!(
        "SELECT idx, attempt, sum(size), count(*) FROM file_metadata f
         WHERE task = ?1 AND idx BETWEEN ?2 AND ?3 AND {ENDED} GROUP BY idx, attempt ORDER BY idx, attempt"
    );
    let (from, to) = elements.bounds();
    all(connection, &sql, params![task.to_string(), from, to], |row| {
        let number = |column| row.get::<_, i64>(column).map(i64::cast_unsigned);
        Ok(RunSize {
            element: ElementId { task, index: row.get(0)? },
            attempt: row.get(1)?,
            size: FileUsage { bytes: number(2)?, files: number(3)? },
        })
    })
}

pub(super) fn run_blobs(
    connection: &Connection,
    element: ElementId,
    attempt: u32,
) -> Result<BTreeSet<BlobId>, StoreError> {
    let sql = "SELECT DISTINCT blob FROM file_metadata
               WHERE task = ?1 AND idx = ?2 AND attempt = ?3 AND blob IS NOT NULL";
    let values = params![element.task.to_string(), element.index, attempt];
    let blobs = all(connection, sql, values, |row| row::parsed(row, 0))?;
    let open = find(connection, element, attempt)?.and_then(|upload| upload.open);
    Ok(blobs.into_iter().chain(open.map(|open| open.blob)).collect())
}

pub(super) fn find(
    connection: &Connection,
    element: ElementId,
    attempt: u32,
) -> Result<Option<UploadRecord>, StoreError> {
    let sql = "SELECT record FROM uploads WHERE task = ?1 AND idx = ?2 AND attempt = ?3";
    first(connection, sql, params![element.task.to_string(), element.index, attempt], |row| row::json(row, 0))
}

pub(super) fn all_of_them(connection: &Connection) -> Result<Vec<(AttemptKey, UploadRecord)>, StoreError> {
    let sql = "SELECT task, idx, attempt, fence, record FROM uploads";
    all(connection, sql, [], |row| Ok((key(row)?, row::json(row, 4)?)))
}

pub(super) fn list(connection: &Connection, limit: usize) -> Result<Vec<AttemptKey>, StoreError> {
    let sql = "SELECT task, idx, attempt, fence FROM uploads LIMIT ?1";
    all(connection, sql, params![i64::try_from(limit).unwrap_or(i64::MAX)], key)
}

fn key(row: &Row<'_>) -> Result<AttemptKey, StoreError> {
    Ok(AttemptKey {
        task: row::parsed(row, 0)?,
        index: row.get(1)?,
        attempt: row.get(2)?,
        fence: Fence(row.get::<_, i64>(3)?.cast_unsigned()),
    })
}
