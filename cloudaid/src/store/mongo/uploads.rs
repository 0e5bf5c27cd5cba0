//! Answers about runs and their output files, also those whose upload has not ended.

use std::collections::{BTreeMap, BTreeSet};

use cloudaid_core::files::{FileUsage, UploadRecord};
use mongodb::bson::{Document, doc};
use shared::id::{AttemptKey, BlobId, ElementId, Elements, TaskId};

use super::collections::{FILE_METADATA, UPLOADS};
use super::server::Server;
use super::{documents, lookup};
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
    let mut sizes: BTreeMap<(ElementId, u32), FileUsage> = BTreeMap::new();
    for file in lookup::run_files(server, task, elements).await? {
        let size = sizes.entry((file.element, file.attempt)).or_default();
        *size = size.plus(FileUsage { bytes: file.file.size, files: 1 });
    }
    Ok(sizes.into_iter().map(|((element, attempt), size)| RunSize { element, attempt, size }).collect())
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
