//! Shows commits in the collections. Repeating that does no harm: each statement says what a document is, and none touches
//! one that shows a later commit.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use cloudaid_core::files::Leftover;
use cloudaid_core::record::{Change, Progress};
use futures_util::future::try_join_all;
use mongodb::bson::{DateTime, Document, doc};
use serde::Serialize;
use shared::id::{AttemptKey, TaskId};
use shared::view::TaskCounts;

use super::codec::to_document;
use super::collections::{
    ASSIGNMENTS, AUDIT, CLUSTER, GUESSES, JOIN_TOKENS, LOGINS, PENDING_WORKERS, REGISTRIES, RESULTS, TASKS, TOKENS,
    UNSWEPT, USERS, WORKER_REGISTRY,
};
use super::documents;
use super::fault::Fault;
use super::server::{Server, number};
use crate::failpoint;
use crate::store::StoreError;
use crate::store::coalesce::{Batch, NewTask};

mod files;
mod forget;

/// `_id` of the cluster's own facts.
pub(super) const SELF: &str = "cluster";

/// What a projection has found out about the number of ended elements.
#[derive(Debug, Default)]
pub(super) struct Gain {
    /// New results.
    pub(super) ended: TaskCounts,
    /// They have to be counted: results were there already, or totals were set.
    pub(super) recount: bool,
}

/// What has not ended, and so is there already.
#[derive(Debug, Clone, Default)]
pub(super) struct Open {
    /// Submissions, with their sequences.
    pub(super) sequences: HashMap<TaskId, u64>,
    /// Runs.
    pub(super) runs: HashSet<AttemptKey>,
}

/// Projects what a merged batch comes to.
pub(super) struct Projection<'a> {
    server: &'a Server,
    position: i64,
    statements: BTreeMap<&'static str, Vec<Document>>,
    /// Documents that are not there yet, as far as is known.
    fresh: BTreeMap<&'static str, Vec<Document>>,
    gain: Gain,
}

impl<'a> Projection<'a> {
    /// Of commits up to `position`.
    pub(super) fn new(server: &'a Server, position: u64) -> Self {
        Self {
            server,
            position: position.cast_signed(),
            statements: BTreeMap::new(),
            fresh: BTreeMap::new(),
            gain: Gain::default(),
        }
    }

    /// Shows the changes.
    pub(super) async fn show(mut self, changes: Vec<Change>, open: &Open) -> Result<Gain, Fault> {
        let mut batch = Batch::of(changes);
        self.tasks(&mut batch).await?;
        failpoint::hit("store.show.tasks");
        let sequences = self.sequences(&batch, open).await?;
        self.runs(&batch, open, &sequences)?;
        self.forget_runs(&batch).await?;
        let known = self.known_files(&batch).await?;
        self.files(&batch, &sequences, &known)?;
        self.people(&batch)?;
        self.workers(&batch)?;
        let audit = self.audit(&batch)?;
        self.fresh.insert(AUDIT, audit);
        self.send_fresh().await?;
        failpoint::hit("store.show.new");
        self.send().await?;
        failpoint::hit("store.show.changed");
        self.forget(&batch).await?;
        if let Some(totals) = batch.totals {
            self.take_over(totals).await?;
        }
        Ok(self.gain)
    }

    /// Inserts what is new, all kinds at once. What was there all the same may be older, and is then updated.
    async fn send_fresh(&mut self) -> Result<(), Fault> {
        let fresh = std::mem::take(&mut self.fresh);
        let server = self.server;
        let sent = fresh.iter().map(|(name, documents)| server.insert(name, documents.clone()));
        let written = try_join_all(sent).await?;
        for ((name, documents), written) in fresh.into_iter().zip(written) {
            let known: BTreeSet<usize> = written.duplicates.into_iter().collect();
            let (mut known_documents, mut ended) = (Vec::new(), TaskCounts::default());
            for (place, document) in documents.into_iter().enumerate() {
                if known.contains(&place) {
                    known_documents.push(document);
                } else if name == RESULTS
                    && let Some(state) = document.get_str("state").ok().and_then(|state| state.parse().ok())
                {
                    *ended.of(state) += 1;
                }
            }
            if name == RESULTS {
                self.gain.recount |= !known_documents.is_empty();
                self.gain.ended = ended;
            }
            // Entries of the audit log never change.
            if name != AUDIT {
                self.replace_older(name, known_documents).await?;
            }
        }
        Ok(())
    }

    /// Of documents that are there already, those that show an earlier commit.
    async fn replace_older(&mut self, name: &'static str, documents: Vec<Document>) -> Result<(), Fault> {
        if documents.is_empty() {
            return Ok(());
        }
        let ids: Vec<&str> = documents.iter().filter_map(|document| document.get_str("_id").ok()).collect();
        let older = self.older(name, &ids).await?;
        for document in documents {
            if document.get_str("_id").is_ok_and(|id| older.contains(id)) {
                match name {
                    ASSIGNMENTS => self.set(name, Ok(document))?,
                    _ => self.put(name, Ok(document))?,
                }
            }
        }
        Ok(())
    }

    /// Which of these documents show an earlier commit.
    async fn older(&self, name: &str, ids: &[&str]) -> Result<HashSet<String>, Fault> {
        let filter = doc! { "_id": { "$in": ids }, "position": { "$lt": self.position } };
        let found = self.server.find_fields(name, filter, doc! { "_id": 1 }, doc! {}, 0).await?;
        Ok(found.iter().filter_map(|found| found.get_str("_id").ok().map(str::to_owned)).collect())
    }

    async fn send(&mut self) -> Result<(), Fault> {
        let statements = std::mem::take(&mut self.statements);
        let server = self.server;
        let sent = statements.into_iter().map(|(name, statements)| server.update(name, statements));
        try_join_all(sent).await.map(drop)
    }

    /// New submissions are inserted in one go; of those that are there already only what has changed is written.
    async fn tasks(&mut self, batch: &mut Batch) -> Result<(), Fault> {
        let mut specs: HashMap<TaskId, Document> = HashMap::new();
        for (id, spec) in batch.specs.drain(..) {
            specs.insert(id, documents::spec(&spec).map_err(Fault::Refused)?);
        }
        let mut new = Vec::with_capacity(batch.tasks.len());
        for NewTask { record, progress } in &batch.tasks {
            let untouched;
            let progress = match progress {
                Some(progress) => progress,
                None => {
                    untouched = Progress::untouched(record.indices());
                    &untouched
                }
            };
            let mut document = documents::task(record, progress).map_err(Fault::Refused)?;
            document.extend(specs.get(&record.id).cloned().unwrap_or_default());
            document.insert("position", self.position);
            new.push(document);
        }
        let written = self.server.insert(TASKS, new).await?;
        let mut changed: BTreeMap<TaskId, Document> = BTreeMap::new();
        for (id, progress) in &batch.progress {
            changed.entry(*id).or_default().extend(documents::standing(progress).map_err(Fault::Refused)?);
        }
        let known: Vec<&NewTask> = written.duplicates.iter().filter_map(|index| batch.tasks.get(*index)).collect();
        let older = self.check_known(&known).await?;
        for NewTask { record, progress } in &known {
            if let Some(progress) = progress.as_ref().filter(|_| older.contains(&record.id)) {
                changed.entry(record.id).or_default().extend(documents::standing(progress).map_err(Fault::Refused)?);
            }
        }
        // What was inserted just now has it already.
        let known: HashSet<TaskId> = known.iter().map(|task| task.record.id).collect();
        let inserted = batch.tasks.iter().map(|task| task.record.id).filter(|id| !known.contains(id));
        let inserted: HashSet<TaskId> = inserted.collect();
        specs.retain(|id, _| !inserted.contains(id));
        for (id, spec) in specs {
            changed.entry(id).or_default().extend(spec);
        }
        for (id, mut fields) in changed {
            fields.insert("position", self.position);
            let filter = doc! { "_id": id.to_string(), "position": self.not_later(), "gone": { "$exists": false } };
            self.add(TASKS, doc! { "q": filter, "u": { "$set": fields }, "multi": true });
        }
        Ok(())
    }

    /// A document with the same key is the same submission, or somebody has put it there by hand. Returns those that show an
    /// earlier commit.
    async fn check_known(&self, tasks: &[&NewTask]) -> Result<HashSet<TaskId>, Fault> {
        if tasks.is_empty() {
            return Ok(HashSet::new());
        }
        let filter = doc! { "_id": documents::ids(tasks.iter().map(|task| task.record.id)) };
        let found = self.server.find_fields(TASKS, filter, doc! { "position": 1 }, doc! {}, 0).await?;
        let position = |found: &Document| {
            let id: TaskId = found.get_str("_id").ok()?.parse().ok()?;
            Some((id, found.get("position").and_then(number)))
        };
        let positions: HashMap<TaskId, Option<i64>> = found.iter().filter_map(position).collect();
        if let Some(other) = tasks.iter().find(|task| !positions.contains_key(&task.record.id)) {
            return Err(Fault::Refused(StoreError::Corrupt(format!(
                "{TASKS}: a document that was put there by hand has the sequence or key of {}: remove it",
                other.record.id
            ))));
        }
        let is_older =
            |(_, position): &(TaskId, Option<i64>)| position.is_some_and(|position| position < self.position);
        Ok(positions.into_iter().filter(is_older).map(|(id, _)| id).collect())
    }

    fn runs(&mut self, batch: &Batch, open: &Open, sequences: &HashMap<TaskId, u64>) -> Result<(), Fault> {
        let sequence = |task: TaskId| sequences.get(&task).copied().unwrap_or_default();
        for attempt in &batch.attempts {
            let document = documents::attempt(attempt, sequence(attempt.key.task));
            if open.runs.contains(&attempt.key) {
                self.set(ASSIGNMENTS, document)?;
            } else {
                self.insert(ASSIGNMENTS, document)?;
            }
        }
        for result in &batch.results {
            self.insert(RESULTS, documents::result(result, sequence(result.element.task)))?;
        }
        Ok(())
    }

    /// Of the submissions of which there are runs, results or files.
    async fn sequences(&self, batch: &Batch, open: &Open) -> Result<HashMap<TaskId, u64>, Fault> {
        let mut known = open.sequences.clone();
        known.extend(batch.tasks.iter().map(|task| (task.record.id, task.record.sequence)));
        let runs = batch.attempts.iter().map(|attempt| attempt.key.task);
        let results = batch.results.iter().map(|result| result.element.task);
        let all = runs.chain(results).chain(batch.files.iter().chain(&batch.files_added).map(|(key, _)| key.task));
        let unknown: BTreeSet<TaskId> = all.filter(|id| !known.contains_key(id)).collect();
        if unknown.is_empty() {
            return Ok(known);
        }
        let filter = doc! { "_id": documents::ids(unknown) };
        let found = self.server.find_fields(TASKS, filter, doc! { "sequence": 1 }, doc! {}, 0).await?;
        let sequence = |found: Document| {
            let id = found.get_str("_id").ok()?.parse().ok()?;
            Some((id, found.get("sequence").and_then(number)?.cast_unsigned()))
        };
        known.extend(found.into_iter().filter_map(sequence));
        Ok(known)
    }

    fn people(&mut self, batch: &Batch) -> Result<(), Fault> {
        for user in &batch.users {
            self.put(USERS, to_document(user, "name"))?;
        }
        self.put_or_remove(TOKENS, "id", &batch.tokens)?;
        self.put_or_remove(LOGINS, "id", &batch.logins)?;
        for (key, count) in &batch.guesses {
            match count {
                Some(count) => self.put(GUESSES, documents::guess(key, count))?,
                None => self.remove(GUESSES, documents::guess_id(key)),
            }
        }
        Ok(())
    }

    fn workers(&mut self, batch: &Batch) -> Result<(), Fault> {
        self.put_or_remove(WORKER_REGISTRY, "id", &batch.workers)?;
        self.put_or_remove(JOIN_TOKENS, "id", &batch.join_tokens)?;
        self.put_or_remove(PENDING_WORKERS, "worker", &batch.pending)?;
        self.put_or_remove(REGISTRIES, "registry", &batch.registries)?;
        if let Some(cluster) = &batch.cluster {
            let mut fields = to_document(cluster, "").map_err(Fault::Refused)?;
            fields.insert("position", self.position);
            let filter = doc! { "_id": SELF, "position": self.not_later() };
            self.add(CLUSTER, doc! { "q": filter, "u": { "$set": fields }, "upsert": true });
        }
        Ok(())
    }

    fn audit(&self, batch: &Batch) -> Result<Vec<Document>, Fault> {
        batch.audit.iter().map(|entry| to_document(entry, "sequence").map_err(Fault::Refused)).collect()
    }

    fn leave(&mut self, leftover: Leftover) {
        let document = doc! { "_id": leftover.to_string(), "position": self.position };
        let filter = doc! { "_id": leftover.to_string(), "position": self.not_later() };
        self.add(UNSWEPT, doc! { "q": filter, "u": document, "upsert": true });
    }

    fn put_or_remove<I: ToString, R: Serialize>(
        &mut self,
        name: &'static str,
        id_field: &str,
        records: &[(I, Option<R>)],
    ) -> Result<(), Fault> {
        for (id, record) in records {
            match record {
                Some(record) => self.put(name, to_document(record, id_field))?,
                None => self.remove(name, id.to_string()),
            }
        }
        Ok(())
    }

    /// Makes the document, which is not there yet.
    fn insert(&mut self, name: &'static str, document: Result<Document, StoreError>) -> Result<(), Fault> {
        let mut document = document.map_err(Fault::Refused)?;
        document.insert("position", self.position);
        self.fresh.entry(name).or_default().push(document);
        Ok(())
    }

    /// Changes the document, which never loses a field.
    fn set(&mut self, name: &'static str, document: Result<Document, StoreError>) -> Result<(), Fault> {
        let mut document = document.map_err(Fault::Refused)?;
        document.insert("position", self.position);
        let filter = doc! { "_id": document.remove("_id"), "position": self.not_later() };
        self.add(name, doc! { "q": filter, "u": { "$set": document }, "upsert": true, "multi": true });
        Ok(())
    }

    /// Makes the document what it is.
    fn put(&mut self, name: &'static str, document: Result<Document, StoreError>) -> Result<(), Fault> {
        let mut document = document.map_err(Fault::Refused)?;
        document.insert("position", self.position);
        let filter = doc! { "_id": document.get("_id"), "position": self.not_later() };
        self.add(name, doc! { "q": filter, "u": document, "upsert": true });
        Ok(())
    }

    /// Leaves a mark in its place.
    fn remove(&mut self, name: &'static str, id: String) {
        let filter = doc! { "_id": id, "position": self.not_later() };
        let mark = self.mark();
        self.add(name, doc! { "q": filter, "u": mark });
    }

    fn mark(&self) -> Document {
        doc! { "position": self.position, "gone": DateTime::now() }
    }

    fn not_later(&self) -> Document {
        doc! { "$lte": self.position }
    }

    fn add(&mut self, name: &'static str, statement: Document) {
        self.statements.entry(name).or_default().push(statement);
    }
}

/// The submission of which a change makes a part.
pub(super) fn part_of(change: &Change) -> Option<TaskId> {
    match change {
        Change::Attempt(attempt) => Some(attempt.key.task),
        Change::Result(result) => Some(result.element.task),
        Change::Files(key, _) | Change::FilesAdded(key, _) => Some(key.task),
        _ => None,
    }
}
