//! Answers with a page.

use std::collections::BTreeMap;

use mongodb::bson::{Document, doc};
use shared::audit::AuditEntry;
use shared::id::TaskId;
use shared::task::TaskState;
use shared::view::TaskCounts;

use super::codec::{date, from_document, label};
use super::collections::{ASSIGNMENTS, AUDIT, FILE_METADATA, TASKS};
use super::server::{Server, number};
use super::{documents, lookup, uploads};
use crate::store::{
    AuditPage, AuditQuery, FileCursor, FileQuery, StoreError, StoredFile, StoredTask, TaskCursor, TaskQuery,
};

/// Runs or submissions that are looked at together.
const CHUNK: usize = 1000;

/// One page, and the cursor of the next.
pub(super) async fn list_tasks(
    server: &Server,
    query: &TaskQuery,
) -> Result<(Vec<StoredTask>, Option<TaskCursor>), StoreError> {
    let wanted = query.page_size() + 1;
    let newest_first = doc! { "sequence": -1 };
    let found = match &query.worker {
        None => {
            let mut filter = filter(query);
            if let Some(after) = query.after {
                filter.insert("sequence", doc! { "$lt": after.0.cast_signed() });
            }
            server.find_some(TASKS, filter, newest_first, wanted).await?
        }
        Some(worker) => {
            let mut found = Vec::new();
            let mut below = query.after.map_or(i64::MAX, |after| after.0.cast_signed());
            while found.len() < wanted {
                let runs = doc! { "worker": worker.as_str(), "sequence": { "$lt": below } };
                let fields = doc! { "sequence": 1, "task": 1 };
                let runs = server.find_fields(ASSIGNMENTS, runs, fields, newest_first.clone(), CHUNK).await?;
                let Some(last) = runs.last().and_then(|run| run.get("sequence")).and_then(number) else { break };
                // An array has many runs: those of the last submission that do not fit are of no interest.
                below = last;
                let mut filter = filter(query);
                filter.insert("_id", doc! { "$in": tasks_of(&runs) });
                found.extend(server.find(TASKS, filter, newest_first.clone()).await?);
            }
            found.truncate(wanted);
            found
        }
    };
    let mut page = lookup::with_runs(server, found).await?;
    let cursor = query.end_page(&mut page);
    Ok((page, cursor))
}

/// Each once.
fn tasks_of(runs: &[Document]) -> Vec<String> {
    let mut tasks: Vec<String> = runs.iter().filter_map(|run| run.get_str("task").ok().map(str::to_owned)).collect();
    tasks.sort_unstable();
    tasks.dedup();
    tasks
}

/// All but the page and the worker. Values are typed, so no text of a user becomes an operator.
fn filter(query: &TaskQuery) -> Document {
    let mut filter = doc! { "gone": { "$exists": false } };
    if let Some(state) = query.state {
        filter.insert("state", state.as_str());
    }
    if let Some(user) = &query.user {
        filter.insert("user", user.as_str());
    }
    let mut time = Document::new();
    if let Some(since) = query.since {
        time.insert("$gte", date(since));
    }
    if let Some(until) = query.until {
        time.insert("$lt", date(until));
    }
    if !time.is_empty() {
        filter.insert("submitted_at", time);
    }
    let labels: Vec<Document> =
        query.labels.iter().map(|(name, value)| doc! { "labels": label(name, value) }).collect();
    if !labels.is_empty() {
        filter.insert("$and", labels);
    }
    filter
}

/// How many submissions there are in each state.
pub(super) async fn count_tasks(server: &Server, query: &TaskQuery) -> Result<TaskCounts, StoreError> {
    let mut counts = TaskCounts::default();
    match &query.worker {
        None => add(&mut counts, server.count_by(TASKS, filter(query), "state").await?)?,
        Some(worker) => {
            let mut below = i64::MAX;
            loop {
                let runs = doc! { "worker": worker.as_str(), "sequence": { "$lt": below } };
                let fields = doc! { "sequence": 1, "task": 1 };
                let order = doc! { "sequence": -1 };
                let runs = server.find_fields(ASSIGNMENTS, runs, fields, order, CHUNK).await?;
                let Some(last) = runs.last().and_then(|run| run.get("sequence")).and_then(number) else { break };
                below = last;
                let mut filter = filter(query);
                filter.insert("_id", doc! { "$in": tasks_of(&runs) });
                add(&mut counts, server.count_by(TASKS, filter, "state").await?)?;
            }
        }
    }
    Ok(counts)
}

fn add(counts: &mut TaskCounts, found: Vec<(String, u64)>) -> Result<(), StoreError> {
    for (state, count) in found {
        let state: TaskState =
            state.parse().map_err(|_| StoreError::Corrupt(format!("{TASKS}: `{state}` is no state")))?;
        *counts.of(state) += count;
    }
    Ok(())
}

/// One page of the files of a user, and the cursor of the next.
pub(super) async fn list_user_files(
    server: &Server,
    query: &FileQuery,
) -> Result<(Vec<StoredFile>, Option<FileCursor>), StoreError> {
    let mut page: Vec<(u64, StoredFile)> = Vec::new();
    let mut from = query.after.as_ref().map_or(i64::MAX, |after| after.sequence.cast_signed());
    loop {
        let of_user = doc! { "user": query.user.as_str(), "sequence": { "$lte": from } };
        let fields = doc! { "sequence": 1 };
        let tasks = server.find_fields(TASKS, of_user, fields, doc! { "sequence": -1 }, CHUNK).await?;
        let Some(last) = tasks.last().and_then(|task| task.get("sequence")).and_then(number) else { break };
        let mut files = files_of(server, &tasks).await?;
        for task in &tasks {
            let (Ok(id), Some(sequence)) = (task.get_str("_id"), task.get("sequence").and_then(number)) else {
                continue;
            };
            let sequence = sequence.cast_unsigned();
            let of_task = query.select(sequence, files.remove(id).unwrap_or_default());
            page.extend(of_task.into_iter().map(|file| (sequence, file)));
        }
        if page.len() > query.limit || tasks.len() < CHUNK {
            break;
        }
        from = last - 1;
    }
    page.truncate(query.limit.saturating_add(1));
    let next = query.end_page(&mut page);
    Ok((page.into_iter().map(|(_, file)| file).collect(), next))
}

/// Of all runs of each submission.
async fn files_of(server: &Server, tasks: &[Document]) -> Result<BTreeMap<String, Vec<StoredFile>>, StoreError> {
    let ids: Vec<&str> = tasks.iter().filter_map(|task| task.get_str("_id").ok()).collect();
    let found = server.find(FILE_METADATA, doc! { "task": { "$in": ids.clone() } }, doc! {}).await?;
    let mut all = Vec::new();
    for document in found {
        let id: TaskId = document
            .get_str("task")
            .ok()
            .and_then(|id| id.parse().ok())
            .ok_or_else(|| StoreError::Corrupt(format!("{FILE_METADATA}: a file without a task")))?;
        all.push(documents::read_file(id, document)?);
    }
    uploads::keep_ended(server, doc! { "task": { "$in": ids } }, &mut all).await?;
    let mut files: BTreeMap<String, Vec<StoredFile>> = BTreeMap::new();
    for file in all {
        files.entry(file.element.task.to_string()).or_default().push(file);
    }
    files.values_mut().for_each(|of_task| lookup::sort(of_task));
    Ok(files)
}

/// One page of the audit log in the order that the query wants, and where the next one begins.
pub(super) async fn list_audit(
    server: &Server,
    query: &AuditQuery,
) -> Result<(Vec<AuditEntry>, Option<u64>), StoreError> {
    let mut filter = Document::new();
    let signed = |sequence: u64| i64::try_from(sequence).unwrap_or(i64::MAX);
    let order = match query.page {
        AuditPage::Before(before) => {
            if let Some(before) = before {
                filter.insert("_id", doc! { "$lt": signed(before) });
            }
            -1
        }
        AuditPage::After(after) => {
            filter.insert("_id", doc! { "$gt": signed(after) });
            1
        }
    };
    if let Some(user) = &query.user {
        filter.insert("user", user.as_str());
    }
    if let Some(since) = query.since {
        filter.insert("at", doc! { "$gte": date(since) });
    }
    let found = server.find_some(AUDIT, filter, doc! { "_id": order }, query.limit.saturating_add(1)).await?;
    let mut page =
        found.into_iter().map(|entry| from_document(AUDIT, "sequence", entry)).collect::<Result<Vec<_>, _>>()?;
    let next = query.end_page(&mut page);
    Ok((page, next))
}
