//! What each record is as a document.

use std::sync::Arc;

use cloudaid_core::files::{InputFile, UploadRecord};
use cloudaid_core::guesses::{GuessCount, GuessKey};
use cloudaid_core::record::{AttemptRecord, FileRecord, Progress, ResultRecord, TaskRecord};
use mongodb::bson::{Bson, Document, doc};
use shared::id::{AttemptKey, ElementId, Fence, TaskId, UserName};
use shared::task::{AttemptState, TaskSpec};

use super::codec::{self, from_document, lift, lower, part, to_document};
use super::collections::{ASSIGNMENTS, FILE_METADATA, GUESSES, RESULTS, TASKS, UPLOADS};
use crate::store::{StoreError, StoredFile};

const ATTEMPT_KEY: [&str; 4] = ["task", "index", "attempt", "fence"];
const ELEMENT: [&str; 2] = ["task", "index"];

/// A submission that nobody has changed yet.
pub(super) fn task(record: &TaskRecord, progress: &Progress) -> Result<Document, StoreError> {
    let mut document = to_document(record, "id")?;
    document.insert("dedup", dedup(record));
    document.insert("labels", labels(&record.spec));
    document.extend(standing(progress)?);
    Ok(document)
}

/// The fields of a submission that people may change while it waits.
pub(super) fn spec(spec: &TaskSpec) -> Result<Document, StoreError> {
    Ok(doc! { "spec": part(spec)?, "labels": labels(spec) })
}

/// Labels as they are searched for.
fn labels(spec: &TaskSpec) -> Vec<String> {
    spec.labels.iter().map(|(name, value)| codec::label(name, value)).collect()
}

/// What no two submissions have in common.
pub(super) fn dedup(record: &TaskRecord) -> String {
    record.key.as_ref().map_or_else(|| record.id.to_string(), |key| dedup_of(&record.user, &key.key))
}

/// The same of a user's key. An id has no `/`.
pub(super) fn dedup_of(user: &UserName, key: &str) -> String {
    format!("{user}/{key}")
}

/// The fields of a submission that say how far it is.
pub(super) fn standing(progress: &Progress) -> Result<Document, StoreError> {
    Ok(doc! { "state": progress.state().as_str(), "progress": part(progress)? })
}

/// The reverse of [`task`].
pub(super) fn read_task(mut document: Document) -> Result<(Arc<TaskRecord>, Progress), StoreError> {
    let id = document.get("_id").cloned();
    let state = document.get_str("state").unwrap_or_default().to_owned();
    let progress = match document.remove("progress") {
        Some(Bson::Document(progress)) => progress,
        _ => Document::new(),
    };
    let record: TaskRecord = from_document(TASKS, "id", document)?;
    let mut progress = progress;
    progress.insert("_id", id);
    let progress: Progress = from_document(TASKS, "_", progress)?;
    if progress.state().as_str() != state {
        return Err(StoreError::Corrupt(format!(
            "{TASKS} {}: its `state` is `{state}`, and its progress says `{}`; restore a backup",
            record.id,
            progress.state()
        )));
    }
    Ok((Arc::new(record), progress))
}

/// A run, with the sequence of its submission.
pub(super) fn attempt(record: &AttemptRecord, sequence: u64) -> Result<Document, StoreError> {
    let mut document = to_document(record, "")?;
    lift(&mut document, "key");
    document.insert("_id", format!("{}/{}", record.key.element(), record.key.attempt));
    document.insert("state", attempt_state(record.state));
    document.insert("sequence", sequence.cast_signed());
    Ok(document)
}

/// The reverse.
pub(super) fn read_attempt(mut document: Document) -> Result<AttemptRecord, StoreError> {
    lower(&mut document, "key", &ATTEMPT_KEY);
    from_document(ASSIGNMENTS, "_", document)
}

/// The state of a run that has not ended.
pub(super) fn live_states() -> Vec<String> {
    [AttemptState::Pending, AttemptState::Running].into_iter().map(attempt_state).collect()
}

fn attempt_state(state: AttemptState) -> String {
    serde_json::to_value(state).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

/// The end of an element.
pub(super) fn result(record: &ResultRecord, sequence: u64) -> Result<Document, StoreError> {
    let mut document = to_document(record, "")?;
    lift(&mut document, "element");
    document.insert("_id", record.element.to_string());
    document.insert("state", record.verdict.state().as_str());
    document.insert("sequence", sequence.cast_signed());
    Ok(document)
}

/// The reverse.
pub(super) fn read_result(mut document: Document) -> Result<ResultRecord, StoreError> {
    lower(&mut document, "element", &ELEMENT);
    from_document(RESULTS, "_", document)
}

/// An output file of a run.
pub(super) fn file(element: ElementId, attempt: u32, file: &FileRecord, sequence: u64) -> Result<Document, StoreError> {
    let mut document = to_document(file, "")?;
    document.extend(doc! {
        "_id": file_id(element, attempt, &file.path),
        "task": element.task.to_string(),
        "index": i64::from(element.index),
        "attempt": i64::from(attempt),
        "sequence": sequence.cast_signed(),
    });
    Ok(document)
}

/// Paths are long and of any bytes, so not they but their digests are in ids.
pub(super) fn file_id(element: ElementId, attempt: u32, path: &[u8]) -> String {
    format!("{element}/{attempt}/{}", path_digest(path))
}

fn path_digest(path: &[u8]) -> String {
    hex::encode(&blake3::hash(path).as_bytes()[..16])
}

/// The reverse of [`file()`].
pub(super) fn read_file(task: TaskId, document: Document) -> Result<StoredFile, StoreError> {
    let number = |name: &str| {
        let number = document.get(name).and_then(super::server::number).and_then(|number| u32::try_from(number).ok());
        number.ok_or_else(|| StoreError::Corrupt(format!("{FILE_METADATA} of {task}: `{name}` is no number")))
    };
    let (element, attempt) = (ElementId { task, index: number("index")? }, number("attempt")?);
    Ok(StoredFile { element, attempt, file: from_document(FILE_METADATA, "_", document)? })
}

/// How far the upload of a run is.
pub(super) fn upload(key: AttemptKey, upload: &UploadRecord) -> Result<Document, StoreError> {
    let mut document = to_document(upload, "")?;
    document.extend(of_run(&key));
    document.extend(doc! { "_id": upload_id(key.element(), key.attempt), "fence": key.fence.0.cast_signed() });
    Ok(document)
}

/// Selects what belongs to a run.
pub(super) fn of_run(key: &AttemptKey) -> Document {
    doc! { "task": key.task.to_string(), "index": i64::from(key.index), "attempt": i64::from(key.attempt) }
}

pub(super) fn upload_id(element: ElementId, attempt: u32) -> String {
    format!("{element}/{attempt}")
}

/// The reverse.
pub(super) fn read_upload(document: Document) -> Result<UploadRecord, StoreError> {
    from_document(UPLOADS, "_", document)
}

/// Whose it is.
pub(super) fn upload_key(document: &Document) -> Result<AttemptKey, StoreError> {
    let number = |name: &str| document.get(name).and_then(super::server::number);
    let key = || {
        Some(AttemptKey {
            task: document.get_str("task").ok()?.parse().ok()?,
            index: u32::try_from(number("index")?).ok()?,
            attempt: u32::try_from(number("attempt")?).ok()?,
            fence: Fence(number("fence")?.cast_unsigned()),
        })
    };
    key().ok_or_else(|| StoreError::Corrupt(format!("{UPLOADS}: an upload of no run")))
}

/// A file of an input. Those that have not arrived are found by a field of their own.
pub(super) fn input_file(input: &str, file: &InputFile) -> Result<Document, StoreError> {
    let mut document = to_document(file, "")?;
    document.extend(doc! { "_id": input_file_id(input, &file.path), "input": input });
    if file.blake3.is_none() {
        document.insert("missing", true);
    }
    Ok(document)
}

pub(super) fn input_file_id(input: &str, path: &[u8]) -> String {
    format!("{input}/{}", path_digest(path))
}

/// The reverse.
pub(super) fn read_input_file(document: Document) -> Result<InputFile, StoreError> {
    from_document(FILE_METADATA, "_", document)
}

pub(super) fn guess_id(key: &GuessKey) -> String {
    key.place.map_or_else(|| key.name.to_string(), |place| format!("{} from {place}", key.name))
}

/// Wrong passwords in a row.
pub(super) fn guess(key: &GuessKey, count: &GuessCount) -> Result<Document, StoreError> {
    let mut document = to_document(key, "")?;
    document.extend(to_document(count, "")?);
    document.insert("_id", guess_id(key));
    Ok(document)
}

/// The reverse.
pub(super) fn read_guess(document: Document) -> Result<(GuessKey, GuessCount), StoreError> {
    Ok((from_document(GUESSES, "_", document.clone())?, from_document(GUESSES, "_", document)?))
}

/// Ids as a filter has them.
pub(super) fn ids<T: ToString>(ids: impl IntoIterator<Item = T>) -> Document {
    doc! { "$in": ids.into_iter().map(|id| id.to_string()).collect::<Vec<_>>() }
}

/// A filter for elements of a submission.
pub(super) fn elements(task: TaskId, elements: shared::id::Elements) -> Document {
    let (first, last) = elements.bounds();
    match (first, last) {
        (0, u32::MAX) => doc! { "task": task.to_string() },
        (first, last) if first == last => doc! { "task": task.to_string(), "index": i64::from(first) },
        (first, last) => {
            doc! { "task": task.to_string(), "index": { "$gte": i64::from(first), "$lte": i64::from(last) } }
        }
    }
}

/// The path as a document has it.
pub(super) fn path(bytes: &[u8]) -> Bson {
    codec::path(bytes.to_vec())
}
