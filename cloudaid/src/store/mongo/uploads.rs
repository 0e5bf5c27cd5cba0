//! Answers about runs and their output files, also those whose upload has not ended.

use std::collections::{BTreeMap, BTreeSet};

use cloudaid_core::files::{FileUsage, UploadRecord};
use mongodb::bson::{Bson, Document, doc};
use shared::id::{AttemptKey, BlobId, ElementId, Elements, TaskId};

use super::collections::{FILE_METADATA, UPLOADS};
use super::documents;
use super::server::{Server, number};
use crate::store::{RunSize, StoreError, StoredFile};

/// Leaves out the files of uploads that have not ended; `of` selects the uploads of their tasks.
pub(super) async fn keep_ended(server: &Server, of: Document, files: &mut Vec<StoredFile>) -> Result<(), StoreError> {
    if files.is_empty() {
        return Ok(());
    }
    let uploads: BTreeSet<_> = keys(server, of, 0).await?.iter().map(|key| (key.element(), key.attempt)).collect();
    files.retain(|file| !uploads.contains(&(file.element, file.attempt)));
    Ok(())
}

pub(super) async fn all_of_them(server: &Server) -> Result<Vec<(AttemptKey, UploadRecord)>, StoreError> {
    let found = server.find(UPLOADS, doc! { "gone": { "$exists": false } }, doc! {}).await?;
    found.into_iter().map(|upload| Ok((documents::upload_key(&upload)?, documents::read_upload(upload)?))).collect()
}

/// `limit` at the most; 0: all.
pub(super) async fn keys(server: &Server, of: Document, limit: usize) -> Result<Vec<AttemptKey>, StoreError> {
    let mut filter = doc! { "gone": { "$exists": false } };
    filter.extend(of);
    let fields = doc! { "task": 1, "index": 1, "attempt": 1, "fence": 1 };
    let found = server.find_fields(UPLOADS, filter, fields, doc! {}, limit).await?;
    found.iter().map(documents::upload_key).collect()
}

pub(super) async fn find(
    server: &Server,
    element: ElementId,
    attempt: u32,
) -> Result<Option<UploadRecord>, StoreError> {
    let filter = doc! { "_id": documents::upload_id(element, attempt), "gone": { "$exists": false } };
    server.find_first(UPLOADS, filter, doc! {}).await?.map(documents::read_upload).transpose()
}

pub(super) async fn run_sizes(server: &Server, task: TaskId, elements: Elements) -> Result<Vec<RunSize>, StoreError> {
    let uploads = keys(server, doc! { "task": task.to_string() }, 0).await?;
    let mut filter = documents::elements(task, elements);
    if !uploads.is_empty() {
        filter.insert("$nor", uploads.iter().map(documents::of_run).collect::<Vec<_>>());
    }
    // Counted there: a run may have a million files.
    let run = || Bson::Document(doc! { "index": "$index", "attempt": "$attempt" });
    let bytes = server.sum_by(FILE_METADATA, filter.clone(), run(), "$size".into()).await?;
    let files = server.sum_by(FILE_METADATA, filter, run(), 1_i64.into()).await?;
    let mut sizes: BTreeMap<(u32, u32), FileUsage> = BTreeMap::new();
    let bytes = bytes.into_iter().map(|(run, bytes)| (run, FileUsage { bytes, files: 0 }));
    let files = files.into_iter().map(|(run, files)| (run, FileUsage { bytes: 0, files }));
    for (run, usage) in bytes.chain(files) {
        let Some(run) = run_of(&run) else {
            return Err(StoreError::Corrupt(format!("{FILE_METADATA} of {task}: a file without its run")));
        };
        let size = sizes.entry(run).or_default();
        *size = size.plus(usage);
    }
    let size = |((index, attempt), size)| RunSize { element: ElementId { task, index }, attempt, size };
    Ok(sizes.into_iter().map(size).collect())
}

/// Element and number.
fn run_of(group: &Bson) -> Option<(u32, u32)> {
    let group = group.as_document()?;
    let of = |name: &str| group.get(name).and_then(number).and_then(|number| u32::try_from(number).ok());
    Some((of("index")?, of("attempt")?))
}

pub(super) async fn run_blobs(
    server: &Server,
    element: ElementId,
    attempt: u32,
) -> Result<BTreeSet<BlobId>, StoreError> {
    let mut filter = documents::elements(element.task, Elements::One(element.index));
    filter.insert("attempt", i64::from(attempt));
    let found = server.find_fields(FILE_METADATA, filter, doc! { "blob": 1 }, doc! {}, 0).await?;
    let blobs = found.iter().filter_map(|file| file.get_str("blob").ok()?.parse().ok());
    let open = find(server, element, attempt).await?.and_then(|upload| upload.open);
    Ok(blobs.chain(open.map(|open| open.blob)).collect())
}
