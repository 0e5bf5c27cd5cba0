//! Commands to the server, each with a limit, and their answers.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::TryStreamExt;
use mongodb::action::Action;
use mongodb::bson::{Bson, Document, doc};
use mongodb::{Collection, Database};
use tokio::sync::Semaphore;

use super::fault::{self, Fault, call};
use crate::store::StoreError;

/// How long an answer to a question may take while a master serves people.
pub(super) const READ_LIMIT: Duration = Duration::from_secs(10);
/// And where nobody waits but who has asked for all of it: a start, a copy, a backup.
const PATIENT_READ_LIMIT: Duration = Duration::from_secs(180);
/// How long a write of projections may take, and for each of its statements: a server that looks through a collection for
/// each needs that. Writes are tried again for ever, so one that is given up too early would never end.
const WRITE_LIMIT: Duration = Duration::from_secs(10);
const WRITE_LIMIT_EACH: Duration = Duration::from_millis(50);
/// The most statements of a command, and their bytes: a message has at most 48 MB.
const STATEMENTS: usize = 1000;
const COMMAND_BYTES: usize = 12 << 20;
/// No such collection.
const NO_COLLECTION: &str = "(code 26)";
/// Two documents with one key.
const DUPLICATE: i32 = 11000;

/// The most updates of single documents in a command to a server that keeps a cursor open for each of them until the command
/// is done, out of a hundred for all clients together: with more it waits for itself (FerretDB 1.x on SQLite).
const SINGLES: usize = 50;

/// The database. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Server {
    database: Database,
    /// To a server that keeps cursors, one at a time.
    cursors: Option<Arc<Semaphore>>,
    read_limit: Duration,
}

/// What became of the statements of a command.
#[derive(Debug, Default)]
pub(super) struct Written {
    /// Which of them found a document with the same key, and so did nothing.
    pub(super) duplicates: Vec<usize>,
}

impl Server {
    /// `build` is what it says of itself.
    pub(super) fn new(database: Database, build: &Document) -> Self {
        let keeps_cursors = build.contains_key("ferretdb") || build.contains_key("ferretdbVersion");
        let cursors = keeps_cursors.then(|| Arc::new(Semaphore::new(1)));
        Self { database, cursors, read_limit: READ_LIMIT }
    }

    /// The same, for who reads all that there is.
    pub(super) fn patient(&self) -> Self {
        Self { read_limit: PATIENT_READ_LIMIT, ..self.clone() }
    }

    /// How long to wait until what was written can be read, where the usual limit is `usual`.
    pub(super) fn show_limit(&self, usual: Duration) -> Duration {
        if self.read_limit > READ_LIMIT { self.read_limit } else { usual }
    }

    pub(super) fn collection(&self, name: &str) -> Collection<Document> {
        self.database.collection(name)
    }

    /// A command as it is; an answer that reports errors of writes is one.
    pub(super) async fn command(&self, limit: Duration, command: Document) -> Result<Document, Fault> {
        let database = self.database.clone();
        call(limit, async move { database.run_command(command).await }).await
    }

    /// All documents of an answer.
    pub(super) async fn find(&self, name: &str, filter: Document, order: Document) -> Result<Vec<Document>, Fault> {
        self.find_some(name, filter, order, 0).await
    }

    /// The first documents of an answer; 0: all.
    pub(super) async fn find_some(
        &self,
        name: &str,
        filter: Document,
        order: Document,
        limit: usize,
    ) -> Result<Vec<Document>, Fault> {
        self.select(name, filter, None, order, limit).await
    }

    /// The first document of an answer.
    pub(super) async fn find_first(
        &self,
        name: &str,
        filter: Document,
        order: Document,
    ) -> Result<Option<Document>, Fault> {
        Ok(self.find_some(name, filter, order, 1).await?.pop())
    }

    /// Some fields of the first documents of an answer; 0: all.
    pub(super) async fn find_fields(
        &self,
        name: &str,
        filter: Document,
        fields: Document,
        order: Document,
        limit: usize,
    ) -> Result<Vec<Document>, Fault> {
        self.select(name, filter, Some(fields), order, limit).await
    }

    async fn select(
        &self,
        name: &str,
        filter: Document,
        fields: Option<Document>,
        order: Document,
        limit: usize,
    ) -> Result<Vec<Document>, Fault> {
        let collection = self.collection(name);
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        call(self.read_limit, async move {
            let found = collection.find(filter).optional(fields, |find, fields| find.projection(fields));
            found.sort(order).limit(limit).await?.try_collect().await
        })
        .await
    }

    /// How many documents there are of each value of a field.
    pub(super) async fn count_by(
        &self,
        name: &str,
        filter: Document,
        field: &str,
    ) -> Result<Vec<(String, u64)>, Fault> {
        let counts = self.sum_by(name, filter, format!("${field}").into(), 1_i64.into()).await?;
        let text = |(value, count): (Bson, u64)| Some((value.as_str()?.to_owned(), count));
        Ok(counts.into_iter().filter_map(text).collect())
    }

    /// What a number comes to in the documents of each group. One number at a time: some servers show the documents of a group
    /// to the first that asks for them, and to no other.
    pub(super) async fn sum_by(
        &self,
        name: &str,
        filter: Document,
        group: Bson,
        number_of_each: Bson,
    ) -> Result<Vec<(Bson, u64)>, Fault> {
        let collection = self.collection(name);
        let group = doc! { "$group": { "_id": group, "sum": { "$sum": number_of_each } } };
        let stages = vec![doc! { "$match": filter }, group];
        let groups: Vec<Document> =
            call(self.read_limit, async move { collection.aggregate(stages).await?.try_collect().await }).await?;
        let sum = |mut group: Document| {
            let sum = group.get("sum").and_then(number).and_then(|sum| u64::try_from(sum).ok())?;
            Some((group.remove("_id")?, sum))
        };
        Ok(groups.into_iter().filter_map(sum).collect())
    }

    /// Inserts documents; those that are there stay as they are.
    pub(super) async fn insert(&self, name: &str, documents: Vec<Document>) -> Result<Written, Fault> {
        let mut written = Written::default();
        let mut offset = 0;
        for chunk in chunks(documents) {
            let count = chunk.len();
            let command = doc! { "insert": name, "documents": chunk, "ordered": false, "writeConcern": durable() };
            let answer = self.command(write_limit(count), command).await?;
            written.add(name, |index| index + offset, &answer)?;
            offset += count;
        }
        Ok(written)
    }

    /// Carries out update statements (`q`, `u`, `upsert`, `multi`). An upsert that finds its document, but newer than its
    /// filter wants it, does nothing.
    pub(super) async fn update(&self, name: &str, statements: Vec<Document>) -> Result<Written, Fault> {
        let mut written = Written::default();
        let mut offset = 0;
        let singles = if self.cursors.is_some() { SINGLES } else { STATEMENTS };
        for chunk in chunks_of(statements, singles) {
            let _alone = match &self.cursors {
                Some(cursors) => cursors.acquire().await.ok(),
                None => None,
            };
            let count = chunk.len();
            self.update_chunk(name, offset, chunk, &mut written).await?;
            offset += count;
        }
        Ok(written)
    }

    /// In order, because some servers stop at the first statement that finds a newer document, whatever they are told. That
    /// happens only where commits are shown again; which documents are newer is looked up then.
    async fn update_chunk(
        &self,
        name: &str,
        offset: usize,
        chunk: Vec<Document>,
        written: &mut Written,
    ) -> Result<(), Fault> {
        let mut left: Vec<(usize, Document)> = chunk.into_iter().enumerate().collect();
        while !left.is_empty() {
            let statements: Vec<Document> = left.iter().map(|(_, statement)| statement.clone()).collect();
            let command = doc! { "update": name, "updates": statements, "ordered": true, "writeConcern": durable() };
            let answer = self.command(write_limit(left.len()), command).await?;
            let before = written.duplicates.len();
            written.add(name, |index| left.get(index).map_or(index, |(place, _)| *place) + offset, &answer)?;
            let Some(last) = written.duplicates.get(before..).and_then(<[usize]>::last) else { return Ok(()) };
            left.retain(|(place, _)| place + offset > *last);
            self.drop_late(name, offset, &mut left, written).await?;
        }
        Ok(())
    }

    /// Removes upserts of documents that are newer.
    async fn drop_late(
        &self,
        name: &str,
        offset: usize,
        left: &mut Vec<(usize, Document)>,
        written: &mut Written,
    ) -> Result<(), Fault> {
        let ids: Vec<Bson> = left.iter().filter_map(|(_, statement)| upserted_id(statement)).cloned().collect();
        let filter = doc! { "_id": { "$in": ids } };
        let found = self.find_fields(name, filter, doc! { "position": 1 }, doc! {}, 0).await?;
        let positions: HashMap<String, i64> = found
            .iter()
            .filter_map(|found| Some((found.get("_id")?.to_string(), found.get("position").and_then(number)?)))
            .collect();
        left.retain(|(place, statement)| {
            let known = upserted_id(statement).and_then(|id| positions.get(&id.to_string()));
            let is_late = known.is_some_and(|known| latest(statement).is_some_and(|latest| *known > latest));
            if is_late {
                written.duplicates.push(place + offset);
            }
            !is_late
        });
        Ok(())
    }

    /// Carries out delete statements (`q`, `limit`).
    pub(super) async fn delete(&self, name: &str, statements: Vec<Document>) -> Result<(), Fault> {
        for chunk in chunks(statements) {
            let limit = write_limit(chunk.len());
            let command = doc! { "delete": name, "deletes": chunk, "ordered": false, "writeConcern": durable() };
            let answer = self.command(limit, command).await?;
            Written::default().add(name, |index| index, &answer)?;
        }
        Ok(())
    }

    /// The names of the indexes of a collection; none if there is no such collection.
    pub(super) async fn indexes(&self, name: &str) -> Result<Vec<String>, Fault> {
        let collection = self.collection(name);
        let listed = call(self.read_limit, async move { collection.list_index_names().await }).await;
        match listed {
            Err(Fault::Refused(StoreError::Server(message))) if message.contains(NO_COLLECTION) => Ok(Vec::new()),
            other => other,
        }
    }
}

fn write_limit(statements: usize) -> Duration {
    WRITE_LIMIT + WRITE_LIMIT_EACH * u32::try_from(statements).unwrap_or(u32::MAX)
}

/// The document that an upsert is about.
fn upserted_id(statement: &Document) -> Option<&Bson> {
    statement.get_bool("upsert").ok().filter(|upsert| *upsert)?;
    statement.get_document("q").ok()?.get("_id")
}

/// The latest position that a document may have for the statement to apply.
fn latest(statement: &Document) -> Option<i64> {
    statement.get_document("q").ok()?.get_document("position").ok()?.get("$lte").and_then(number)
}

/// On a majority of the members, on disk.
pub(super) fn durable() -> Document {
    doc! { "w": "majority", "j": true }
}

impl Written {
    /// Of a command whose statements have these `places` among all.
    fn add(&mut self, name: &str, place: impl Fn(usize) -> usize, answer: &Document) -> Result<(), Fault> {
        check_concern(answer)?;
        let index = |item: &Document| item.get("index").and_then(number).and_then(|index| usize::try_from(index).ok());
        for error in items(answer, "writeErrors") {
            let code = error.get("code").and_then(number).and_then(|code| i32::try_from(code).ok()).unwrap_or_default();
            let message = error.get_str("errmsg").unwrap_or("no reason given");
            match index(error) {
                Some(index) if code == DUPLICATE => self.duplicates.push(place(index)),
                _ if fault::is_passing(code) => {
                    return Err(Fault::Unknown(StoreError::Unreachable(message.to_owned())));
                }
                _ => return Err(Fault::Refused(fault::refused(code, &format!("{name}: {message}")))),
            }
        }
        Ok(())
    }
}

/// What was written is not durable yet, as far as is known.
pub(super) fn check_concern(answer: &Document) -> Result<(), Fault> {
    match answer.get_document("writeConcernError") {
        Ok(error) => {
            let message = error.get_str("errmsg").unwrap_or("the write is not durable");
            Err(Fault::Unknown(StoreError::Unreachable(message.to_owned())))
        }
        Err(_) => Ok(()),
    }
}

/// The error of the first statement of an answer that was not carried out.
pub(super) fn first_error(answer: &Document) -> Option<(i32, String)> {
    let error = items(answer, "writeErrors").next()?;
    let code = error.get("code").and_then(number).and_then(|code| i32::try_from(code).ok());
    Some((code.unwrap_or_default(), error.get_str("errmsg").unwrap_or("no reason given").to_owned()))
}

pub(super) fn is_duplicate(code: i32) -> bool {
    code == DUPLICATE
}

fn items<'a>(answer: &'a Document, name: &str) -> impl Iterator<Item = &'a Document> {
    answer.get_array(name).into_iter().flatten().filter_map(Bson::as_document)
}

/// Servers answer with whatever type of number.
pub(super) fn number(value: &Bson) -> Option<i64> {
    match value {
        Bson::Int32(number) => Some(i64::from(*number)),
        Bson::Int64(number) => Some(*number),
        Bson::Double(number) => Some(*number as i64),
        _ => None,
    }
}

/// As many as fit into a command each.
fn chunks(statements: Vec<Document>) -> Vec<Vec<Document>> {
    chunks_of(statements, STATEMENTS)
}

/// The same, with `singles` at the most that are about one document.
fn chunks_of(statements: Vec<Document>, singles: usize) -> Vec<Vec<Document>> {
    let (mut chunks, mut chunk, mut bytes, mut single) = (Vec::new(), Vec::new(), 0, 0);
    for statement in statements {
        let size = mongodb::bson::serialize_to_vec(&statement).map_or(0, |bytes| bytes.len());
        if !chunk.is_empty() && (chunk.len() == STATEMENTS || bytes + size > COMMAND_BYTES || single == singles) {
            chunks.push(std::mem::take(&mut chunk));
            (bytes, single) = (0, 0);
        }
        bytes += size;
        single += usize::from(!statement.get_bool("multi").unwrap_or(false));
        chunk.push(statement);
    }
    if !chunk.is_empty() {
        chunks.push(chunk);
    }
    chunks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_are_cut_by_number_and_by_size() {
        let small = vec![doc! { "a": 1 }; 2500];
        assert_eq!(chunks(small).iter().map(Vec::len).collect::<Vec<_>>(), [1000, 1000, 500]);
        let large = vec![doc! { "a": "x".repeat(5 << 20) }; 5];
        assert_eq!(chunks(large).iter().map(Vec::len).collect::<Vec<_>>(), [2, 2, 1]);
        assert!(chunks(Vec::new()).is_empty());
    }

    #[test]
    fn answers_tell_what_was_done() {
        let answer = doc! {
            "ok": 1.0,
            "writeErrors": [{ "index": 2, "code": 11000, "errmsg": "E11000" }],
        };
        let mut written = Written::default();
        written.add("TASKS", |index| index + 10, &answer).expect("nothing is wrong");
        assert_eq!(written.duplicates, [12]);
        let other = doc! { "writeErrors": [{ "index": 0, "code": 13, "errmsg": "not authorized" }] };
        let fault = Written::default().add("TASKS", |index| index, &other).expect_err("refused");
        assert!(matches!(fault, Fault::Refused(StoreError::NotAllowed(_))), "{fault:?}");
        let late = doc! { "ok": 1, "writeConcernError": { "code": 64, "errmsg": "waiting for replication timed out" } };
        assert!(matches!(Written::default().add("TASKS", |index| index, &late), Err(Fault::Unknown(_))));
    }
}
