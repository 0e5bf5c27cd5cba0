//! Answers about runs and their output files, also those whose upload has not ended.

use std::collections::{BTreeMap, BTreeSet};

use cloudaid_core::files::{FileUsage, UploadRecord};
use mongodb::bson::{Document, doc};
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
    let fields = doc! { "_id": 0, "index": 1, "attempt": 1, "size": 1 };
    let mut sizes: BTreeMap<(u32, u32), FileUsage> = BTreeMap::new();
    for file in server.find_fields(FILE_METADATA, filter, fields, doc! {}, 0).await? {
        let number = |name: &str| file.get(name).and_then(number).map(i64::cast_unsigned);
        let of_run = |name: &str| number(name).and_then(|number| u32::try_from(number).ok());
        let (Some(index), Some(attempt), Some(bytes)) = (of_run("index"), of_run("attempt"), number("size")) else {
            return Err(StoreError::Corrupt(format!("{FILE_METADATA} of {task}: a file without its run or size")));
        };
        let size = sizes.entry((index, attempt)).or_default();
        *size = size.plus(FileUsage { bytes, files: 1 });
    }
    let size = |((index, attempt), size)| RunSize { element: ElementId { task, index }, attempt, size };
    Ok(sizes.into_iter().map(size).collect())
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
