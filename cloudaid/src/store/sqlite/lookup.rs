//! Answers about one submission or element.

use std::sync::Arc;

use cloudaid_core::files::InputFile;
use cloudaid_core::record::{AttemptRecord, ResultRecord, TaskRecord};
use rusqlite::{Connection, Params, Row, params};
use shared::id::{ElementId, Elements, InputId, TaskId, UserName};
use shared::task::Verdict;
use shared::time::WallTime;
use shared::view::TaskCounts;

use super::row;
use super::uploads::{ENDED, LAST_RUN};
use super::write::json;
use crate::store::{FileName, FilePlace, PageRoom, StoreError, StoredFile, StoredTask};

pub(super) fn task(connection: &Connection, id: TaskId) -> Result<Option<StoredTask>, StoreError> {
    let (task, attempt, result, joins) = (row::TASK, row::ATTEMPT, row::RESULT, row::ONLY_ELEMENT);
    let sql = format!("SELECT {task}, {attempt}, {result} FROM tasks t {joins} WHERE t.id = ?1");
    first(connection, &sql, params![id.to_string()], row::stored_task)
}

pub(super) fn attempts(connection: &Connection, element: ElementId) -> Result<Vec<AttemptRecord>, StoreError> {
    let sql = format!("SELECT {} FROM assignments a WHERE task = ?1 AND idx = ?2 ORDER BY attempt", row::ATTEMPT);
    let values = params![element.task.to_string(), element.index];
    all(connection, &sql, values, |row| row::attempt(row, 0, element))
}

pub(super) fn result(connection: &Connection, element: ElementId) -> Result<Option<ResultRecord>, StoreError> {
    let sql = format!("SELECT {} FROM results r WHERE task = ?1 AND idx = ?2", row::RESULT);
    let values = params![element.task.to_string(), element.index];
    first(connection, &sql, values, |row| row::result(row, 0, element))
}

pub(super) fn keys(
    connection: &Connection,
    keys: &[(UserName, Arc<str>)],
) -> Result<Vec<Option<Arc<TaskRecord>>>, StoreError> {
    let sql = format!("SELECT {} FROM tasks t WHERE user = ?1 AND key = ?2", row::TASK);
    let find =
        |(user, key): &(UserName, Arc<str>)| first(connection, &sql, params![user.as_str(), key], row::task_record);
    keys.iter().map(find).collect()
}

pub(super) fn failures(
    connection: &Connection,
    task: TaskId,
    elements: Elements,
    limit: usize,
) -> Result<Vec<ResultRecord>, StoreError> {
    let sql = format!(
        "SELECT {}, r.idx FROM results r WHERE task = ?1 AND idx BETWEEN ?2 AND ?3 AND verdict NOT IN (?4, ?5)
         ORDER BY idx LIMIT ?6",
        row::RESULT
    );
    let (from, to) = elements.bounds();
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    // Neither has evidence, so each is always the same text.
    let (success, cancelled) = (json(&Verdict::Success)?, json(&Verdict::Cancelled)?);
    all(connection, &sql, params![task.to_string(), from, to, success, cancelled, limit], |row| {
        row::result(row, 0, ElementId { task, index: row.get(6)? })
    })
}

/// Element by element, each from where the page begins: nothing before it is read.
pub(super) fn files(
    connection: &Connection,
    (task, elements): (TaskId, Elements),
    after: Option<FilePlace>,
    limit: usize,
) -> Result<Vec<StoredFile>, StoreError> {
    // The run that is seen of the first element that has any.
    let element = format!(
        "SELECT f.idx, {LAST_RUN} FROM file_metadata f WHERE f.task = ?1 AND f.idx BETWEEN ?2 AND ?3
         ORDER BY f.task, f.idx LIMIT 1"
    );
    let page = format!(
        "SELECT idx, attempt, path, size, blake3, blob, start FROM file_metadata f
         WHERE task = ?1 AND idx = ?2 AND attempt = ?3 AND path > ?4 AND {ENDED} ORDER BY path LIMIT ?5"
    );
    let (from, to) = elements.bounds();
    let id = task.to_string();
    // No path is empty.
    let FilePlace { index: begun, attempt: begun_in, mut path } = after.unwrap_or_default();
    let (mut next, mut files, mut room) = (Some(from.max(begun)), Vec::new(), PageRoom::new(limit));
    let mut page = connection.prepare_cached(&page)?;
    while let Some(from) = next.filter(|from| *from <= to && !room.is_full()) {
        let found = first(connection, &element, params![id, from, to], |row| {
            Ok((row.get::<_, u32>(0)?, row.get::<_, Option<u32>>(1)?))
        })?;
        let Some((index, last)) = found else { break };
        if let Some(attempt) = begun_in.filter(|_| index == begun).or(last) {
            // The path is that of another element if this one has none.
            let behind = if index == from { std::mem::take(&mut path) } else { Vec::new() };
            let left = i64::try_from(room.files()).unwrap_or(i64::MAX);
            let mut rows = page.query(params![id, index, attempt, behind, left])?;
            while !room.is_full()
                && let Some(row) = rows.next()?
            {
                let file = row::file(row, 0, task)?;
                room.take(&file.file.path);
                files.push(file);
            }
        }
        path.clear();
        next = index.checked_add(1);
    }
    Ok(files)
}

/// Those with this name, of the run that is seen or of those with this number.
pub(super) fn files_at(
    connection: &Connection,
    (task, elements): (TaskId, Elements),
    attempt: Option<u32>,
    name: &FileName,
) -> Result<Vec<StoredFile>, StoreError> {
    let (column, value) = match name {
        FileName::Path(path) => ("path", &path[..]),
        FileName::Digest(digest) => ("path_blake3", &digest[..]),
    };
    let sql = format!(
        "SELECT idx, attempt, path, size, blake3, blob, start FROM file_metadata f
         WHERE task = ?1 AND idx BETWEEN ?2 AND ?3 AND {column} = ?4
             AND attempt = coalesce(?5, {LAST_RUN}) AND {ENDED} ORDER BY idx"
    );
    let (from, to) = elements.bounds();
    let values = params![task.to_string(), from, to, value, attempt];
    all(connection, &sql, values, |row| row::file(row, 0, task))
}

/// Of all runs.
pub(super) fn run_files(
    connection: &Connection,
    task: TaskId,
    elements: Elements,
) -> Result<Vec<StoredFile>, StoreError> {
    let sql = format!(
        "SELECT idx, attempt, path, size, blake3, blob, start FROM file_metadata f
         WHERE task = ?1 AND idx BETWEEN ?2 AND ?3 AND {ENDED} ORDER BY idx, attempt, path"
    );
    let (from, to) = elements.bounds();
    all(connection, &sql, params![task.to_string(), from, to], |row| row::file(row, 0, task))
}

pub(super) fn input_files(connection: &Connection, id: InputId) -> Result<Vec<InputFile>, StoreError> {
    let sql = "SELECT path, size, executable, blob, blake3 FROM file_metadata WHERE task = ?1 ORDER BY path";
    all(connection, sql, params![id.to_string()], row::input_file)
}

pub(super) fn input_file(connection: &Connection, id: InputId, path: &[u8]) -> Result<Option<InputFile>, StoreError> {
    let sql = "SELECT path, size, executable, blob, blake3 FROM file_metadata
               WHERE task = ?1 AND idx = 0 AND attempt = 0 AND path = ?2";
    first(connection, sql, params![id.to_string(), path], row::input_file)
}

/// By id.
pub(super) fn tasks_with_files(
    connection: &Connection,
    ended_before: WallTime,
    limit: usize,
) -> Result<Vec<TaskId>, StoreError> {
    let sql = "SELECT DISTINCT f.task FROM file_metadata f CROSS JOIN tasks t ON t.id = f.task
               WHERE t.finished_at < ?1 ORDER BY f.task LIMIT ?2";
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    all(connection, sql, params![ended_before.0, limit], |row| row::parsed(row, 0))
}

pub(super) fn count_ended(connection: &Connection) -> Result<TaskCounts, StoreError> {
    let counts = first(connection, "SELECT completed, failed, cancelled FROM cluster", [], |row| {
        let count = |column| row.get::<_, i64>(column).map(i64::cast_unsigned);
        Ok(TaskCounts { completed: count(0)?, failed: count(1)?, cancelled: count(2)?, ..TaskCounts::default() })
    })?;
    counts.ok_or_else(|| StoreError::Corrupt("the table `cluster` is empty".into()))
}

/// All rows of the answer.
pub(super) fn all<T>(
    connection: &Connection,
    sql: &str,
    values: impl Params,
    read: impl Fn(&Row<'_>) -> Result<T, StoreError>,
) -> Result<Vec<T>, StoreError> {
    let mut select = connection.prepare_cached(sql)?;
    let mut rows = select.query(values)?;
    let mut answer = Vec::new();
    while let Some(row) = rows.next()? {
        answer.push(read(row)?);
    }
    Ok(answer)
}

/// The first row of the answer.
pub(super) fn first<T>(
    connection: &Connection,
    sql: &str,
    values: impl Params,
    read: impl Fn(&Row<'_>) -> Result<T, StoreError>,
) -> Result<Option<T>, StoreError> {
    let mut select = connection.prepare_cached(sql)?;
    let mut rows = select.query(values)?;
    rows.next()?.map(read).transpose()
}
