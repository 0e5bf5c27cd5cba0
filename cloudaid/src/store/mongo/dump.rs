//! Answers with all submissions, page by page.

use mongodb::bson::{Document, doc};

use super::collections::{ASSIGNMENTS, FILE_METADATA, RESULTS, TASKS};
use super::server::Server;
use super::{documents, lookup, uploads};
use crate::store::dump::{DumpCursor, Found, Page};
use crate::store::{StoreError, StoredFile};

/// One page, and where the next one begins.
pub(super) async fn page(server: &Server, from: DumpCursor, limit: usize) -> Result<Page, StoreError> {
    let limit = limit.max(1);
    let mut wanted = limit.saturating_add(1);
    loop {
        if let Some(page) = find(server, from, wanted).await?.cut(from, limit, wanted) {
            return Ok(page);
        }
        wanted = wanted.saturating_mul(8);
    }
}

/// Of each kind the first rows.
async fn find(server: &Server, from: DumpCursor, wanted: usize) -> Result<Found, StoreError> {
    let first = from.sequence.cast_signed();
    let filter = doc! { "sequence": { "$gte": first }, "gone": { "$exists": false } };
    let tasks = server.find_some(TASKS, filter, doc! { "sequence": 1 }, wanted).await?;
    let tasks = tasks.into_iter().map(documents::read_task).collect::<Result<Vec<_>, _>>()?;
    let Some((last, _)) = tasks.last() else { return Ok(Found::default()) };
    let last = last.sequence.cast_signed();
    let here = doc! { "$exists": false };
    let filter = if from.index == 0 {
        doc! { "sequence": { "$gte": first, "$lte": last }, "gone": here }
    } else {
        let rest = doc! { "sequence": { "$gt": first, "$lte": last } };
        doc! { "$or": [{ "sequence": first, "index": { "$gte": i64::from(from.index) } }, rest], "gone": here }
    };
    let of_run = doc! { "sequence": 1, "index": 1, "attempt": 1 };
    let (attempts, results, files) = futures_util::try_join!(
        server.find_some(ASSIGNMENTS, filter.clone(), of_run.clone(), wanted),
        server.find_some(RESULTS, filter.clone(), doc! { "sequence": 1, "index": 1 }, wanted),
        server.find_some(FILE_METADATA, filter, of_run, wanted),
    )?;
    let file = |document: Document| {
        let task = document.get_str("task").ok().and_then(|id| id.parse().ok());
        let task = task.ok_or_else(|| StoreError::Corrupt(format!("{FILE_METADATA}: `task` is no id")))?;
        documents::read_file(task, document)
    };
    let mut found = Found {
        attempts: attempts.into_iter().map(documents::read_attempt).collect::<Result<_, _>>()?,
        results: results.into_iter().map(documents::read_result).collect::<Result<_, _>>()?,
        files: files.into_iter().map(file).collect::<Result<_, _>>()?,
        uploads: uploads::all_of_them(server).await?,
        tasks,
    };
    sort(&mut found.files);
    Ok(found)
}

/// Those of a run by their path, which the server orders in another way; runs stay where they are.
fn sort(files: &mut [StoredFile]) {
    for run in files.chunk_by_mut(|a, b| (a.element, a.attempt) == (b.element, b.attempt)) {
        lookup::sort(run);
    }
}
