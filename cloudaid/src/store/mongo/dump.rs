//! Answers with all submissions, page by page.

use cloudaid_core::record::{AttemptRecord, ResultRecord};
use mongodb::bson::{Document, doc};
use shared::id::TaskId;

use super::collections::{ASSIGNMENTS, FILE_METADATA, RESULTS, TASKS};
use super::server::Server;
use super::{documents, lookup};
use crate::store::dump::{DumpCursor, Found, Page};
use crate::store::{StoreError, StoredFile};

/// One page, and where the next one begins.
pub(super) async fn page(server: &Server, from: DumpCursor, limit: usize) -> Result<Page, StoreError> {
    let limit = limit.max(1);
    let mut wanted = limit.saturating_add(1);
    loop {
        let (found, next) = find(server, from, wanted).await?;
        match found.cut(from, limit, wanted) {
            Some((changes, None)) => return Ok((changes, next)),
            Some(page) => return Ok(page),
            None => wanted = wanted.saturating_mul(8),
        }
    }
}

/// Of each kind the first rows, and the submission that comes behind them.
async fn find(server: &Server, from: DumpCursor, wanted: usize) -> Result<(Found, Option<DumpCursor>), StoreError> {
    let filter = doc! { "sequence": { "$gte": from.sequence.cast_signed() }, "gone": { "$exists": false } };
    let tasks = server.find_some(TASKS, filter, doc! { "sequence": 1 }, wanted).await?;
    let mut tasks = tasks.into_iter().map(documents::read_task).collect::<Result<Vec<_>, _>>()?;
    // Rows come in the order of the ids of their submissions, which need not be that of the sequences: so either all rows
    // of some submissions are there, or the first rows of one.
    let mut count = if from.index > 0 { 1 } else { tasks.len() };
    loop {
        let ids: Vec<TaskId> = tasks.iter().take(count).map(|(record, _)| record.id).collect();
        if ids.is_empty() {
            return Ok((Found::default(), None));
        }
        let (attempts, results, files) = rows(server, &ids, from.index, wanted).await?;
        if count > 1 && [attempts.len(), results.len(), files.len()].into_iter().any(|rows| rows >= wanted) {
            count /= 2;
            continue;
        }
        let next = tasks.get(count).map(|(record, _)| DumpCursor { sequence: record.sequence, index: 0 });
        // More may follow than was asked for.
        let next = next.or_else(|| {
            let (last, _) = tasks.last().filter(|_| tasks.len() >= wanted)?;
            Some(DumpCursor { sequence: last.sequence + 1, index: 0 })
        });
        tasks.truncate(count);
        let mut found = Found { tasks, attempts, results, files };
        sort(&mut found, &ids);
        return Ok((found, next));
    }
}

async fn rows(
    server: &Server,
    ids: &[TaskId],
    index: u32,
    wanted: usize,
) -> Result<(Vec<AttemptRecord>, Vec<ResultRecord>, Vec<StoredFile>), StoreError> {
    let mut filter = match ids {
        [id] => doc! { "task": id.to_string() },
        ids => doc! { "task": documents::ids(ids) },
    };
    if index > 0 {
        filter.insert("index", doc! { "$gte": i64::from(index) });
    }
    let of_run = doc! { "task": 1, "index": 1, "attempt": 1 };
    let (attempts, results, files) = futures_util::try_join!(
        server.find_some(ASSIGNMENTS, filter.clone(), of_run.clone(), wanted),
        server.find_some(RESULTS, filter.clone(), doc! { "task": 1, "index": 1 }, wanted),
        server.find_some(FILE_METADATA, filter, of_run, wanted),
    )?;
    let file = |document: Document| {
        let task = document.get_str("task").ok().and_then(|id| id.parse().ok());
        let task = task.ok_or_else(|| StoreError::Corrupt(format!("{FILE_METADATA}: `task` is no id")))?;
        documents::read_file(task, document)
    };
    Ok((
        attempts.into_iter().map(documents::read_attempt).collect::<Result<_, _>>()?,
        results.into_iter().map(documents::read_result).collect::<Result<_, _>>()?,
        files.into_iter().map(file).collect::<Result<_, _>>()?,
    ))
}

fn sort(found: &mut Found, ids: &[TaskId]) {
    let order: std::collections::HashMap<TaskId, usize> = ids.iter().copied().zip(0..).collect();
    let place = |id: TaskId| order.get(&id).copied();
    lookup::sort(&mut found.files);
    found.attempts.sort_by_key(|attempt| (place(attempt.key.task), attempt.key.index, attempt.key.attempt));
    found.results.sort_by_key(|result| (place(result.element.task), result.element.index));
    found.files.sort_by_key(|file| place(file.element.task));
}
