//! Output files, inputs, and what is left of them.

use std::collections::{BTreeSet, HashMap, HashSet};

use cloudaid_core::files::{GoneFile, Leftover};
use mongodb::bson::{Bson, doc};
use shared::id::{AttemptKey, BlobId, ElementId, TaskId};

use super::Projection;
use crate::store::coalesce::Batch;
use crate::store::mongo::codec::to_document;
use crate::store::mongo::collections::{FILE_METADATA, FILE_USAGE, INPUTS, UNSWEPT, UPLOADS};
use crate::store::mongo::documents;
use crate::store::mongo::fault::Fault;
use crate::store::mongo::server::number;

impl Projection<'_> {
    /// Files of the runs that have some now.
    pub(super) async fn known_files(&self, batch: &Batch) -> Result<HashMap<(ElementId, u32), Vec<String>>, Fault> {
        let mut known: HashMap<(ElementId, u32), Vec<String>> = HashMap::new();
        if batch.files.is_empty() {
            return Ok(known);
        }
        let tasks: BTreeSet<TaskId> = batch.files.iter().map(|(key, _)| key.task).collect();
        let fields = doc! { "task": 1, "index": 1, "attempt": 1 };
        let found = self.server.find_fields(FILE_METADATA, doc! { "task": documents::ids(tasks) }, fields, doc! {}, 0);
        for found in found.await? {
            let task = found.get_str("task").ok().and_then(|id| id.parse().ok());
            let number = |name: &str| found.get(name).and_then(number).and_then(|number| u32::try_from(number).ok());
            let (Some(task), Some(index), Some(attempt)) = (task, number("index"), number("attempt")) else { continue };
            if let Ok(id) = found.get_str("_id") {
                known.entry((ElementId { task, index }, attempt)).or_default().push(id.to_owned());
            }
        }
        Ok(known)
    }

    /// Removes the files of these runs before others of them come. What is newer stays.
    pub(super) async fn forget_runs(&mut self, batch: &Batch) -> Result<(), Fault> {
        if batch.run_files_gone.is_empty() {
            return Ok(());
        }
        let of_run = |key: &AttemptKey| {
            let mut filter = documents::of_run(key);
            filter.insert("position", self.not_later());
            filter
        };
        let runs = batch.run_files_gone.iter().map(|(key, _)| doc! { "q": of_run(key), "limit": 0 });
        self.server.delete(FILE_METADATA, runs.collect()).await?;
        for (key, _) in &batch.run_files_gone {
            self.remove(UPLOADS, documents::upload_id(key.element(), key.attempt));
        }
        self.send().await
    }

    pub(super) fn files(
        &mut self,
        batch: &Batch,
        sequences: &HashMap<TaskId, u64>,
        known: &HashMap<(ElementId, u32), Vec<String>>,
    ) -> Result<(), Fault> {
        let gone = |id: &str, blob: Option<BlobId>| {
            let mut gone = batch.files_gone.iter();
            gone.any(|gone| gone.blob == blob && documents::file_id(gone.element, gone.attempt, &gone.path) == id)
        };
        for (key, files) in &batch.files {
            let sequence = sequences.get(&key.task).copied().unwrap_or_default();
            let mut kept = HashSet::new();
            for file in files.iter() {
                let id = documents::file_id(key.element(), key.attempt, &file.path);
                if !batch.files_gone.is_empty() && gone(&id, file.blob) {
                    continue;
                }
                self.insert(FILE_METADATA, documents::file(key.element(), key.attempt, file, sequence))?;
                kept.insert(id);
            }
            // Others that were known of the run.
            for other in known.get(&(key.element(), key.attempt)).into_iter().flatten() {
                if !kept.contains(other) {
                    self.remove(FILE_METADATA, other.clone());
                }
            }
        }
        for (key, files) in &batch.files_added {
            let sequence = sequences.get(&key.task).copied().unwrap_or_default();
            for file in files.iter() {
                let id = documents::file_id(key.element(), key.attempt, &file.path);
                if batch.files_gone.is_empty() || !gone(&id, file.blob) {
                    self.insert(FILE_METADATA, documents::file(key.element(), key.attempt, file, sequence))?;
                }
            }
        }
        for (key, upload) in &batch.uploads {
            match upload {
                Some(upload) => self.put(UPLOADS, documents::upload(*key, upload))?,
                None => self.remove(UPLOADS, documents::upload_id(key.element(), key.attempt)),
            }
        }
        for gone in &batch.files_gone {
            let id = documents::file_id(gone.element, gone.attempt, &gone.path);
            let blob =
                gone.blob.map_or_else(|| Bson::Document(doc! { "$exists": false }), |blob| blob.to_string().into());
            let filter = doc! { "_id": id, "blob": blob, "position": self.not_later() };
            let mark = self.mark();
            self.add(FILE_METADATA, doc! { "q": filter, "u": mark });
        }
        for input in &batch.inputs {
            self.put(INPUTS, to_document(input, "id"))?;
        }
        for (id, files) in &batch.input_files {
            let id = id.to_string();
            for file in files.iter() {
                self.put(FILE_METADATA, documents::input_file(&id, file))?;
            }
        }
        for (user, usage) in &batch.file_usage {
            let document = to_document(usage, "").map(|mut document| {
                document.insert("_id", user.as_str());
                document
            });
            self.put(FILE_USAGE, document)?;
        }
        let left = batch.files_gone.iter().filter_map(GoneFile::leftover);
        let runs = batch.run_files_gone.iter().filter(|(_, sweep)| *sweep);
        let runs = runs.map(|(key, _)| Leftover::Run(key.element(), key.attempt));
        for leftover in
            batch.left.iter().copied().chain(left).chain(runs).filter(|leftover| !batch.swept.contains(leftover))
        {
            self.leave(leftover);
        }
        for leftover in &batch.swept {
            self.remove(UNSWEPT, leftover.to_string());
        }
        Ok(())
    }
}
