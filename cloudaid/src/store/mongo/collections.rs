//! The collections and their indexes. The first six have the names of the specification.
//!
//! Each document carries the `position` of the commit that it shows, so that a projection that comes late, from whoever,
//! never takes the place of a newer one. What is deleted stays for an hour as a mark (`gone`) for the same reason.

use mongodb::bson::{Document, doc};

use super::fault::Fault;
use super::server::{READ_LIMIT, Server};
use crate::store::StoreError;

pub(super) const USERS: &str = "USERS";
pub(super) const WORKER_REGISTRY: &str = "WORKER_REGISTRY";
pub(super) const TASKS: &str = "TASKS";
pub(super) const ASSIGNMENTS: &str = "ASSIGNMENTS";
pub(super) const RESULTS: &str = "RESULTS";
pub(super) const FILE_METADATA: &str = "FILE_METADATA";

/// The cluster's own facts, and the version of all this.
pub(super) const CLUSTER: &str = "CLUSTER";
/// Commits.
pub(super) const JOURNAL: &str = "JOURNAL";
/// Parts of commits that are too large for a document.
pub(super) const JOURNAL_PARTS: &str = "JOURNAL_PARTS";
pub(super) const TOKENS: &str = "TOKENS";
pub(super) const LOGINS: &str = "LOGINS";
pub(super) const GUESSES: &str = "GUESSES";
pub(super) const AUDIT: &str = "AUDIT";
pub(super) const INPUTS: &str = "INPUTS";
pub(super) const FILE_USAGE: &str = "FILE_USAGE";
pub(super) const UPLOADS: &str = "UPLOADS";
pub(super) const UNSWEPT: &str = "UNSWEPT";
pub(super) const JOIN_TOKENS: &str = "JOIN_TOKENS";
pub(super) const PENDING_WORKERS: &str = "PENDING_WORKERS";
pub(super) const REGISTRIES: &str = "REGISTRIES";

/// Those of which deleted documents leave a mark.
pub(super) const MARKED: [&str; 13] = [
    TASKS,
    FILE_METADATA,
    UPLOADS,
    WORKER_REGISTRY,
    TOKENS,
    LOGINS,
    GUESSES,
    INPUTS,
    UNSWEPT,
    JOIN_TOKENS,
    PENDING_WORKERS,
    REGISTRIES,
    FILE_USAGE,
];

/// `_id` of the document in [`CLUSTER`] that holds the version.
const SCHEMA: &str = "schema";
/// The version that this program writes.
const VERSION: i64 = 1;
/// Collection exists already.
const EXISTS: &str = "(code 48)";

/// Makes what is missing, or says why that cannot be had.
pub(super) async fn ensure(server: &Server, database: &str) -> Result<(), StoreError> {
    let version = server.find_first(CLUSTER, doc! { "_id": SCHEMA }, doc! {}).await?;
    match version.as_ref().map(|found| found.get("version").and_then(super::server::number)) {
        Some(Some(VERSION)) => {}
        Some(Some(found)) if found > VERSION => {
            let found = u32::try_from(found).unwrap_or(u32::MAX);
            return Err(StoreError::TooNew { found, known: 1 });
        }
        Some(_) => {
            return Err(StoreError::Corrupt(format!("{CLUSTER} `{SCHEMA}` has no version; restore a backup")));
        }
        None => refuse_foreign(server, database).await?,
    }
    // Also where it is there: who may not write finds out now.
    let mark = doc! {
        "q": { "_id": SCHEMA },
        "u": { "$set": { "version": VERSION, "program": "cloudaid" } },
        "upsert": true,
    };
    server.update(CLUSTER, vec![mark]).await?;
    for (name, indexes) in indexes() {
        let there = server.indexes(name).await?;
        let missing =
            |index: &Document| index.get_str("name").is_ok_and(|name| !there.iter().any(|there| there == name));
        let indexes: Vec<Document> = indexes.into_iter().filter(missing).collect();
        if there.is_empty() {
            create(server, name).await?;
        }
        if !indexes.is_empty() {
            let command = doc! { "createIndexes": name, "indexes": indexes };
            server.command(READ_LIMIT * 6, command).await.map_err(|fault| clarify(name, fault))?;
        }
    }
    Ok(())
}

/// Collections of these names that another program has made are not ours to write to.
async fn refuse_foreign(server: &Server, database: &str) -> Result<(), StoreError> {
    if server.find_first(CLUSTER, doc! { "_id": super::project::SELF }, doc! {}).await?.is_some() {
        return Err(StoreError::Corrupt(format!(
            "{CLUSTER} has no document `{SCHEMA}`: somebody has removed it by hand; restore a backup"
        )));
    }
    for (name, _) in indexes() {
        if server.find_first(name, doc! {}, doc! {}).await?.is_some() {
            return Err(StoreError::Server(format!(
                "the database `{database}` has a collection {name} of another program: choose another database with \
                 CLOUDAI_MONGODB_DATABASE, or in MONGODB_URI behind the host"
            )));
        }
    }
    Ok(())
}

async fn create(server: &Server, name: &str) -> Result<(), StoreError> {
    match server.command(READ_LIMIT, doc! { "create": name }).await {
        Ok(_) => Ok(()),
        Err(Fault::Refused(StoreError::Server(message))) if message.contains(EXISTS) => Ok(()),
        Err(fault) => Err(fault.into()),
    }
}

fn clarify(name: &str, fault: Fault) -> StoreError {
    match fault {
        Fault::Refused(StoreError::Server(message)) => StoreError::Server(format!(
            "the indexes of {name} cannot be made: {message}. Two documents there have one key: nothing was changed; \
             remove the one that was put there by hand, or restore a backup"
        )),
        other => other.into(),
    }
}

/// Every collection with its indexes, beside that of `_id`.
fn indexes() -> [(&'static str, Vec<Document>); 20] {
    let index = |name: &str, key: Document| doc! { "name": name, "key": key };
    let unique = |name: &str, key: Document| doc! { "name": name, "key": key, "unique": true };
    [
        (USERS, Vec::new()),
        (WORKER_REGISTRY, Vec::new()),
        (
            TASKS,
            vec![
                unique("by_sequence", doc! { "sequence": 1 }),
                // `user/key` of a submission with an idempotency key, its own id for the others.
                unique("by_key", doc! { "dedup": 1 }),
                index("by_state", doc! { "state": 1, "sequence": -1 }),
                index("by_user", doc! { "user": 1, "sequence": -1 }),
                index("by_time", doc! { "submitted_at": 1 }),
                index("by_label", doc! { "labels": 1 }),
                index("by_end", doc! { "progress.finished_at": 1 }),
            ],
        ),
        (
            ASSIGNMENTS,
            vec![
                index("by_element", doc! { "task": 1, "index": 1, "attempt": 1 }),
                index("by_state", doc! { "state": 1 }),
                index("by_worker", doc! { "worker": 1, "sequence": -1 }),
                index("by_sequence", doc! { "sequence": 1, "index": 1, "attempt": 1 }),
            ],
        ),
        (
            RESULTS,
            vec![
                index("by_element", doc! { "task": 1, "index": 1 }),
                index("by_state", doc! { "state": 1 }),
                index("by_sequence", doc! { "sequence": 1, "index": 1 }),
            ],
        ),
        (
            FILE_METADATA,
            vec![
                index("by_element", doc! { "task": 1, "index": 1, "attempt": 1 }),
                index("missing", doc! { "missing": 1 }),
                index("by_sequence", doc! { "sequence": 1, "index": 1, "attempt": 1 }),
            ],
        ),
        (CLUSTER, Vec::new()),
        (JOURNAL, Vec::new()),
        (JOURNAL_PARTS, vec![index("by_position", doc! { "position": 1 })]),
        (TOKENS, Vec::new()),
        (LOGINS, Vec::new()),
        (GUESSES, Vec::new()),
        (AUDIT, vec![index("by_user", doc! { "user": 1 }), index("by_time", doc! { "at": 1 })]),
        (INPUTS, Vec::new()),
        (FILE_USAGE, Vec::new()),
        (UPLOADS, vec![index("by_task", doc! { "task": 1 })]),
        (UNSWEPT, Vec::new()),
        (JOIN_TOKENS, Vec::new()),
        (PENDING_WORKERS, Vec::new()),
        (REGISTRIES, Vec::new()),
    ]
}
