//! Answers about one submission, element or input.

use std::collections::HashMap;
use std::sync::Arc;

use cloudaid_core::files::InputFile;
use cloudaid_core::record::{AttemptRecord, ResultRecord, TaskRecord};
use mongodb::bson::{Bson, Document, doc};
use shared::id::{ElementId, Elements, InputId, TaskId, UserName};
use shared::time::WallTime;

use super::codec::date;
use super::collections::{ASSIGNMENTS, FILE_METADATA, RESULTS, TASKS};
use super::fault::Fault;
use super::server::Server;
use super::{documents, uploads};
use crate::store::{StoreError, StoredFile, StoredTask};

pub(super) async fn task(server: &Server, id: TaskId) -> Result<Option<StoredTask>, StoreError> {
    let filter = doc! { "_id": id.to_string(), "gone": { "$exists": false } };
    let found = server.find_some(TASKS, filter, doc! {}, 1).await?;
    Ok(with_runs(server, found).await?.pop())
}

/// Adds the last run and the end of plain submissions, in two questions for all of them.
pub(super) async fn with_runs(server: &Server, tasks: Vec<Document>) -> Result<Vec<StoredTask>, StoreError> {
    let mut stored = Vec::with_capacity(tasks.len());
    for document in tasks {
        let (record, progress) = documents::read_task(document)?;
        stored.push(StoredTask { record, progress, last_attempt: None, result: None });
    }
    let plain: Vec<TaskId> =
        stored.iter().filter(|task| task.record.array.is_none()).map(|task| task.record.id).collect();
    if plain.is_empty() {
        return Ok(stored);
    }
    let of = doc! { "task": documents::ids(&plain), "index": 0_i64 };
    let attempts = server.find(ASSIGNMENTS, of, doc! { "attempt": 1 }).await?;
    let results = doc! { "_id": documents::ids(plain.iter().map(|task| ElementId { task: *task, index: 0 })) };
    let results = server.find(RESULTS, results, doc! {}).await?;
    // The last one of each stays.
    let mut last: HashMap<TaskId, AttemptRecord> = HashMap::new();
    for document in attempts {
        let attempt = documents::read_attempt(document)?;
        last.insert(attempt.key.task, attempt);
    }
    let mut ends: HashMap<TaskId, ResultRecord> = HashMap::new();
    for document in results {
        let result = documents::read_result(document)?;
        ends.insert(result.element.task, result);
    }
    for task in &mut stored {
        task.last_attempt = last.remove(&task.record.id);
        task.result = ends.remove(&task.record.id);
    }
    Ok(stored)
}

pub(super) async fn attempts(server: &Server, element: ElementId) -> Result<Vec<AttemptRecord>, StoreError> {
    let of = documents::elements(element.task, Elements::One(element.index));
    let found = server.find(ASSIGNMENTS, of, doc! { "attempt": 1 }).await?;
    found.into_iter().map(documents::read_attempt).collect()
}

pub(super) async fn result(server: &Server, element: ElementId) -> Result<Option<ResultRecord>, StoreError> {
    let found = server.find_first(RESULTS, doc! { "_id": element.to_string() }, doc! {}).await?;
    found.map(documents::read_result).transpose()
}

/// Within `limit`, because somebody waits for it.
pub(super) async fn keys(
    server: &Server,
    keys: &[(UserName, Arc<str>)],
) -> Result<Vec<Option<Arc<TaskRecord>>>, StoreError> {
    let dedup: Vec<String> = keys.iter().map(|(user, key)| documents::dedup_of(user, key)).collect();
    let filter = doc! { "dedup": { "$in": dedup.clone() }, "gone": { "$exists": false } };
    let found = server.find(TASKS, filter, doc! {}).await?;
    let mut tasks: HashMap<String, Arc<TaskRecord>> = HashMap::new();
    for document in found {
        let (record, _) = documents::read_task(document)?;
        tasks.insert(documents::dedup(&record), record);
    }
    Ok(dedup.iter().map(|dedup| tasks.get(dedup).cloned()).collect())
}

pub(super) async fn failures(
    server: &Server,
    task: TaskId,
    elements: Elements,
    limit: usize,
) -> Result<Vec<ResultRecord>, StoreError> {
    if limit == 0 {
        return Ok(Vec::new());
    }
    let mut filter = documents::elements(task, elements);
    filter.insert("state", "failed");
    let found = server.find_some(RESULTS, filter, doc! { "index": 1 }, limit).await?;
    found.into_iter().map(documents::read_result).collect()
}

/// Of all runs.
pub(super) async fn run_files(
    server: &Server,
    task: TaskId,
    elements: Elements,
) -> Result<Vec<StoredFile>, StoreError> {
    let found = server.find(FILE_METADATA, documents::elements(task, elements), doc! {}).await?;
    let mut files =
        found.into_iter().map(|document| documents::read_file(task, document)).collect::<Result<Vec<_>, _>>()?;
    uploads::keep_ended(server, doc! { "task": task.to_string() }, &mut files).await?;
    sort(&mut files);
    Ok(files)
}

/// By element, run and path; paths that are no text are not among the texts in the server's order.
pub(super) fn sort(files: &mut [StoredFile]) {
    files.sort_by(|a, b| (a.element, a.attempt, &a.file.path).cmp(&(b.element, b.attempt, &b.file.path)));
}

pub(super) async fn input_files(server: &Server, id: InputId) -> Result<Vec<InputFile>, StoreError> {
    let found = server.find(FILE_METADATA, doc! { "input": id.to_string() }, doc! {}).await?;
    let mut files = found.into_iter().map(documents::read_input_file).collect::<Result<Vec<_>, _>>()?;
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

pub(super) async fn input_file(server: &Server, id: InputId, path: &[u8]) -> Result<Option<InputFile>, StoreError> {
    let filter = doc! { "_id": documents::input_file_id(&id.to_string(), path), "path": documents::path(path) };
    let found = server.find_first(FILE_METADATA, filter, doc! {}).await?;
    found.map(documents::read_input_file).transpose()
}

/// By id.
pub(super) async fn tasks_with_files(
    server: &Server,
    ended_before: WallTime,
    limit: usize,
) -> Result<Vec<TaskId>, StoreError> {
    let collection = server.collection(FILE_METADATA);
    let with_files = super::fault::call(super::server::READ_LIMIT, async move {
        collection.distinct("task", doc! { "task": { "$exists": true } }).await
    });
    let mut ids: Vec<String> =
        with_files.await.map_err(Fault::into_error)?.iter().filter_map(Bson::as_str).map(str::to_owned).collect();
    ids.sort_unstable();
    let mut ended = Vec::new();
    for some in ids.chunks(1000) {
        let filter = doc! { "_id": documents::ids(some), "progress.finished_at": { "$lt": date(ended_before) } };
        let found = server.find_fields(TASKS, filter, doc! { "_id": 1 }, doc! { "_id": 1 }, limit).await?;
        ended.extend(found.iter().filter_map(|found| found.get_str("_id").ok()?.parse::<TaskId>().ok()));
        if ended.len() >= limit {
            break;
        }
    }
    ended.truncate(limit);
    Ok(ended)
}
