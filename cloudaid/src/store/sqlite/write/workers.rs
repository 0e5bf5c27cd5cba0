//! Workers, and what lets more of them in.

use std::fmt::Display;

use rusqlite::{Transaction, params};
use serde::Serialize;

use super::json;
use crate::store::StoreError;
use crate::store::coalesce::Batch;

pub(super) fn write(transaction: &Transaction<'_>, batch: &Batch) -> Result<(), StoreError> {
    let sql = "INSERT OR REPLACE INTO worker_registry (id, facts, registered_at, seen_at, admission, cordon)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    let mut insert = transaction.prepare_cached(sql)?;
    let mut delete = transaction.prepare_cached("DELETE FROM worker_registry WHERE id = ?1")?;
    for (id, record) in &batch.workers {
        match record {
            None => delete.execute(params![id.as_str()])?,
            Some(worker) => {
                let (facts, admission) = (json(&worker.facts)?, json(&worker.admission)?);
                let (registered_at, seen_at) = (worker.registered_at.0, worker.seen_at.0);
                let cordon = worker.cordon.as_ref().map(json).transpose()?;
                insert.execute(params![id.as_str(), facts, registered_at, seen_at, admission, cordon])?
            }
        };
    }
    write_records(transaction, "join_tokens", &batch.join_tokens)?;
    write_records(transaction, "registries", &batch.registries)?;
    write_records(transaction, "pending_workers", &batch.pending)
}

fn write_records<I: Display, R: Serialize>(
    transaction: &Transaction<'_>,
    table: &str,
    records: &[(I, Option<R>)],
) -> Result<(), StoreError> {
    if records.is_empty() {
        return Ok(());
    }
    let mut insert = transaction.prepare_cached(&format!("INSERT OR REPLACE INTO {table} VALUES (?1, ?2)"))?;
    let mut delete = transaction.prepare_cached(&format!("DELETE FROM {table} WHERE id = ?1"))?;
    for (id, record) in records {
        match record {
            None => delete.execute(params![id.to_string()])?,
            Some(record) => insert.execute(params![id.to_string(), json(record)?])?,
        };
    }
    Ok(())
}
