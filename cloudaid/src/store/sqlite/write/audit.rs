//! New entries of the audit log.

use rusqlite::{Transaction, params};
use shared::audit::AuditEntry;

use crate::store::StoreError;

/// Adds them. One that is there already is the same one: a commit may be repeated.
pub(super) fn append(transaction: &Transaction<'_>, entries: &[AuditEntry]) -> Result<(), StoreError> {
    let sql = "INSERT OR IGNORE INTO audit VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
    let mut insert = transaction.prepare_cached(sql)?;
    for entry in entries {
        insert.execute(params![
            entry.sequence.cast_signed(),
            entry.at.0,
            entry.user.as_ref().map(|user| user.as_str()),
            entry.via,
            entry.address.map(|address| address.to_string()),
            entry.request_id,
            entry.action,
            entry.object,
            entry.outcome,
            entry.seal.0,
        ])?;
    }
    Ok(())
}
