//! Finds documents that belong to nothing, and collections that do not fit to each other.

use std::collections::BTreeSet;

use mongodb::bson::doc;

use super::collections::{ASSIGNMENTS, FILE_METADATA, INPUTS, RESULTS, TASKS};
use super::documents;
use super::server::Server;
use crate::store::{StoreError, strays};

/// Ids that are looked for together.
const CHUNK: usize = 1000;

/// In words, `limit` at the most.
pub(super) async fn list(server: &Server, limit: usize) -> Result<Vec<String>, StoreError> {
    let mut found = Vec::new();
    for (name, what) in [(ASSIGNMENTS, "a run"), (RESULTS, "a result"), (FILE_METADATA, "files")] {
        let strays = without_parent(server, name, "task", TASKS).await?;
        found.extend(strays.into_iter().map(|id| strays::of_task(what, id)));
    }
    let inputs = without_parent(server, FILE_METADATA, "input", INPUTS).await?;
    found.extend(inputs.iter().map(|id| strays::of_input(id)));
    found.truncate(limit);
    Ok(found)
}

/// What a field of a collection names that another collection does not have.
async fn without_parent(server: &Server, name: &str, field: &str, parents: &str) -> Result<Vec<String>, StoreError> {
    let filter = doc! { field: { "$exists": true }, "gone": { "$exists": false } };
    let named = server.count_by(name, filter, field).await?;
    let ids: BTreeSet<String> = named.into_iter().map(|(id, _)| id).collect();
    let ids: Vec<String> = ids.into_iter().collect();
    let mut strays = Vec::new();
    for some in ids.chunks(CHUNK) {
        let filter = doc! { "_id": documents::ids(some), "gone": { "$exists": false } };
        let there = server.find_fields(parents, filter, doc! { "_id": 1 }, doc! {}, 0).await?;
        let there: BTreeSet<&str> = there.iter().filter_map(|parent| parent.get_str("_id").ok()).collect();
        strays.extend(some.iter().filter(|id| !there.contains(id.as_str())).cloned());
    }
    Ok(strays)
}
