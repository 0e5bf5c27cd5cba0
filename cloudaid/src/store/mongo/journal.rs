//! Commits: one document each, the position it makes as its `_id`. A second document for a position cannot be inserted, so
//! of two masters only one writes.
//!
//! Commits that are shown go, but the first one of each start of a master stays: it has the position at which a master that
//! came before would go on, however long that one has slept.

use std::sync::Arc;
use std::time::Duration;

use cloudaid_core::record::Change;
use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{Binary, Bson, DateTime, Document, doc};

use super::collections::{CLUSTER, JOURNAL, JOURNAL_PARTS};
use super::fault::{Fault, refused};
use super::server::{self, READ_LIMIT, Server, durable, number};
use crate::failpoint;
use crate::store::StoreError;

/// How long a commit may take before its outcome is looked up, and per MiB of it: who waits shall hear within a second.
const COMMIT_LIMIT: Duration = Duration::from_millis(400);
const COMMIT_LIMIT_PER_MIB: Duration = Duration::from_millis(100);
/// How long looking it up may take.
const LOOK_UP_LIMIT: Duration = Duration::from_millis(150);
/// Marks the first commit of a start.
const BEGINS: &str = "begins_epoch";
/// `_id` of the document that says how far the journal has come.
const MARK: &str = "journal";
/// The most bytes of a commit in one document, of 16 MiB that a document may have.
const PART_BYTES: usize = 8 << 20;

/// A commit.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// Which.
    pub(super) position: u64,
    /// What it changes.
    pub(super) changes: Arc<Vec<Change>>,
}

impl Entry {
    fn begins_epoch(&self) -> bool {
        self.changes.iter().any(|change| matches!(change, Change::Cluster(_)))
    }
}

/// Changes as they are kept.
pub(super) fn text(changes: &[Change]) -> Result<String, StoreError> {
    serde_json::to_string(changes).map_err(|error| StoreError::Corrupt(error.to_string()))
}

/// What became of a commit.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It is durable.
    Kept,
    /// Another commit has the position.
    Taken,
}

/// Writes commits, and reads them.
#[derive(Debug)]
pub(super) struct Journal {
    server: Server,
    /// Tells commits of this process from those of others.
    master: String,
}

impl Journal {
    pub(super) fn new(server: Server) -> Self {
        Self { server, master: ulid::Ulid::generate().to_string() }
    }

    /// Makes a commit durable, if its position is free. Repeating it does no harm.
    /// `text` is what [`text`] makes of its changes.
    pub(super) async fn append(&self, entry: &Entry, text: String, epoch: u32) -> Result<Outcome, Fault> {
        let digest = blake3::hash(text.as_bytes()).to_hex().to_string();
        let mut document = doc! {
            "_id": entry.position.cast_signed(),
            "master": &self.master,
            "epoch": i64::from(epoch),
            "written_at": DateTime::now(),
            "digest": &digest,
        };
        if entry.begins_epoch() {
            document.insert(BEGINS, true);
        }
        let limit = COMMIT_LIMIT + COMMIT_LIMIT_PER_MIB * u32::try_from(text.len() >> 20).unwrap_or(u32::MAX);
        if text.len() <= PART_BYTES {
            document.insert("changes", text);
        } else {
            // Parts are nothing before the document that names them is there.
            document.insert("parts", self.append_parts(entry.position, &digest, text.as_bytes()).await?);
        }
        failpoint::hit("store.commit.before");
        let insert = doc! { "insert": JOURNAL, "documents": [document], "writeConcern": durable() };
        let answer = match self.server.command(limit, insert).await {
            Ok(answer) => answer,
            Err(fault) => return self.look_up(entry.position, &digest, fault).await,
        };
        failpoint::hit("store.commit.after");
        match server::first_error(&answer) {
            Some((code, message)) if server::is_duplicate(code) => {
                self.look_up(entry.position, &digest, Fault::Unknown(StoreError::Unreachable(message))).await
            }
            Some((code, message)) => Err(Fault::Refused(refused(code, &message))),
            None => server::check_concern(&answer).map(|()| Outcome::Kept),
        }
    }

    async fn append_parts(&self, position: u64, digest: &str, bytes: &[u8]) -> Result<i64, Fault> {
        let mut count = 0_i64;
        for chunk in bytes.chunks(PART_BYTES) {
            let part = doc! {
                "_id": format!("{position}/{digest}/{count}"),
                "position": position.cast_signed(),
                "bytes": Binary { subtype: BinarySubtype::Generic, bytes: chunk.to_vec() },
            };
            self.server.insert(JOURNAL_PARTS, vec![part]).await?;
            count += 1;
        }
        Ok(count)
    }

    /// Whether a commit of which nothing was heard, or whose position is taken, is ours.
    async fn look_up(&self, position: u64, digest: &str, fault: Fault) -> Result<Outcome, Fault> {
        if !fault.is_passing() {
            return Err(fault);
        }
        let find = doc! {
            "find": JOURNAL,
            "filter": { "_id": position.cast_signed() },
            "projection": { "master": 1, "digest": 1 },
            "limit": 1,
        };
        let Ok(answer) = self.server.command(LOOK_UP_LIMIT, find).await else { return Err(fault) };
        let found = answer.get_document("cursor").and_then(|cursor| cursor.get_array("firstBatch"));
        match found.ok().and_then(|batch| batch.first()).and_then(Bson::as_document) {
            // It may still be on its way.
            None => Err(fault),
            Some(found) if self.is_ours(found, digest) => Ok(Outcome::Kept),
            Some(_) => Ok(Outcome::Taken),
        }
    }

    fn is_ours(&self, found: &Document, digest: &str) -> bool {
        found.get_str("master").is_ok_and(|master| master == self.master)
            && found.get_str("digest").is_ok_and(|other| other == digest)
    }

    /// Whether just this commit is there.
    pub(super) async fn has(&self, position: u64, changes: &[Change]) -> Result<bool, StoreError> {
        let text = text(changes)?;
        let digest = blake3::hash(text.as_bytes()).to_hex().to_string();
        let filter = doc! { "_id": position.cast_signed() };
        let found = self.server.find_fields(JOURNAL, filter, doc! { "digest": 1 }, doc! {}, 1).await?;
        Ok(found.first().is_some_and(|found| found.get_str("digest").is_ok_and(|other| other == digest)))
    }

    /// The position of the last commit; 0: there is none.
    pub(super) async fn head(&self) -> Result<u64, Fault> {
        let last = self.server.find_fields(JOURNAL, doc! {}, doc! { "_id": 1 }, doc! { "_id": -1 }, 1).await?;
        Ok(last.first().and_then(|last| last.get("_id")).and_then(number).map_or(0, i64::cast_unsigned))
    }

    /// The first of the commits at the end that follow each other: those that may not be shown yet.
    pub(super) async fn tail(&self) -> Result<u64, StoreError> {
        let fields = doc! { "_id": 1, BEGINS: 1 };
        let found = self.server.find_fields(JOURNAL, doc! {}, fields, doc! { "_id": 1 }, 0).await?;
        let (mut tail, mut last) = (0, None);
        for document in &found {
            let position = document.get("_id").and_then(number).unwrap_or_default();
            let follows = last.is_some_and(|(last, _)| position == last + 1);
            if let (false, Some((last, false))) = (follows, last) {
                return Err(StoreError::Corrupt(format!(
                    "{JOURNAL}: behind {last} comes {position}, so commits are missing: restore a backup"
                )));
            }
            if !follows {
                tail = position;
            }
            last = Some((position, document.get_bool(BEGINS).unwrap_or_default()));
        }
        Ok(tail.cast_unsigned())
    }

    /// Commits that are still here, from `first` on, `limit` at the most.
    pub(super) async fn read(&self, first: u64, limit: usize) -> Result<Vec<Entry>, StoreError> {
        let filter = doc! { "_id": { "$gte": first.cast_signed() } };
        let found = self.server.find_some(JOURNAL, filter, doc! { "_id": 1 }, limit).await?;
        let mut entries = Vec::with_capacity(found.len());
        for document in found {
            entries.push(self.entry(document).await?);
        }
        Ok(entries)
    }

    async fn entry(&self, document: Document) -> Result<Entry, StoreError> {
        let corrupt = |what: &str| {
            let id = document.get("_id").map(ToString::to_string).unwrap_or_default();
            StoreError::Corrupt(format!("{JOURNAL} {id}: {what}; somebody has changed it by hand: restore a backup"))
        };
        let position = document.get("_id").and_then(number).filter(|position| *position > 0);
        let position = position.ok_or_else(|| corrupt("its `_id` is no position"))?.cast_unsigned();
        let digest = document.get_str("digest").map_err(|_| corrupt("it has no digest"))?;
        let text = match document.get_str("changes") {
            Ok(text) => text.as_bytes().to_vec(),
            Err(_) => {
                let parts = document.get("parts").and_then(number).ok_or_else(|| corrupt("it has no changes"))?;
                self.read_parts(position, digest, parts).await?.ok_or_else(|| corrupt("a part is missing"))?
            }
        };
        if *blake3::hash(&text).to_hex() != *digest {
            return Err(corrupt("its changes do not have its digest"));
        }
        let changes = serde_json::from_slice(&text).map_err(|error| corrupt(&error.to_string()))?;
        Ok(Entry { position, changes: Arc::new(changes) })
    }

    async fn read_parts(&self, position: u64, digest: &str, parts: i64) -> Result<Option<Vec<u8>>, StoreError> {
        let mut text = Vec::new();
        for number in 0..parts {
            let filter = doc! { "_id": format!("{position}/{digest}/{number}") };
            let Some(part) = self.server.find_first(JOURNAL_PARTS, filter, doc! {}).await? else { return Ok(None) };
            let Ok(bytes) = part.get_binary_generic("bytes") else { return Ok(None) };
            text.extend_from_slice(bytes);
        }
        Ok(Some(text))
    }

    /// The position that it is known to have reached.
    pub(super) async fn reached(&self) -> Result<u64, StoreError> {
        let mark = self.server.find_first(CLUSTER, doc! { "_id": MARK }, doc! {}).await?;
        Ok(mark.and_then(|mark| mark.get("reached").and_then(number)).unwrap_or_default().cast_unsigned())
    }

    /// Removes the commits before `first`, which nobody needs any more. The last one has to stay: it is the position.
    pub(super) async fn trim(&self, first: u64) -> Result<(), Fault> {
        // First, so that a journal that somebody has cut off is noticed.
        let mark = doc! { "q": { "_id": MARK }, "u": { "$max": { "reached": first.cast_signed() } }, "upsert": true };
        self.server.update(CLUSTER, vec![mark]).await?;
        let before = doc! { "$lt": first.cast_signed() };
        let shown = doc! { "_id": before.clone(), BEGINS: { "$exists": false } };
        let entries = doc! { "delete": JOURNAL, "deletes": [{ "q": shown, "limit": 0 }] };
        self.server.command(READ_LIMIT, entries).await?;
        let parts = doc! { "q": { "position": before }, "limit": 0 };
        self.server.delete(JOURNAL_PARTS, vec![parts]).await
    }
}
