//! One commit: a transaction that checks the position, writes the batch and raises the position.

use cloudaid_core::record::Totals;
use rusqlite::{Connection, ErrorCode, Transaction, TransactionBehavior, params};
use serde::Serialize;

use super::ahead::Ahead;
use crate::failpoint;
use crate::store::coalesce::Batch;
use crate::store::{CommitError, Position, StoreError};

mod audit;
mod elements;
mod files;
mod people;
mod tasks;
mod workers;

/// Makes `batch` durable, if the store is at `expected`.
/// `ahead`: it is kept for another store too.
pub(super) fn commit(
    connection: &mut Connection,
    batch: &Batch,
    expected: Position,
    ahead: Option<&Ahead>,
) -> Result<Position, CommitError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(before_commit)?;
    let found = position(&transaction).map_err(before_commit)?;
    if found != expected {
        return Err(CommitError::Fenced { expected, found });
    }
    let next = Position(found.0 + 1);
    apply(&transaction, batch, next).map_err(before_commit)?;
    ahead.map_or(Ok(()), |ahead| ahead.write(&transaction, next)).map_err(before_commit)?;
    // SQLite would write the pages only in COMMIT; a disk that is full is found here, where nothing is decided yet.
    transaction.cache_flush().map_err(before_commit)?;
    failpoint::hit("store.commit.before");
    transaction.commit().map_err(|error| CommitError::Fatal(error.into()))?;
    failpoint::hit("store.commit.after");
    Ok(next)
}

/// What the counters of the cluster's row gain by a batch.
#[derive(Debug, Default)]
struct Gain {
    last_sequence: u64,
    completed: i64,
    failed: i64,
    cancelled: i64,
}

fn apply(transaction: &Transaction<'_>, batch: &Batch, next: Position) -> Result<(), StoreError> {
    let mut gain = Gain::default();
    write_cluster(transaction, batch)?;
    workers::write(transaction, batch)?;
    people::write(transaction, batch)?;
    audit::append(transaction, &batch.audit)?;
    tasks::insert(transaction, &batch.tasks, &mut gain)?;
    tasks::change(transaction, &batch.specs)?;
    tasks::update(transaction, &batch.progress)?;
    elements::write_attempts(transaction, &batch.attempts)?;
    elements::write_results(transaction, &batch.results, &mut gain)?;
    files::write(transaction, batch)?;
    tasks::delete(transaction, &batch.gone)?;
    batch.left.iter().try_for_each(|leftover| files::leave(transaction, *leftover))?;
    files::swept(transaction, &batch.swept)?;
    let sql = "UPDATE cluster SET position = ?1, last_sequence = max(last_sequence, ?2), completed = completed + ?3,
               failed = failed + ?4, cancelled = cancelled + ?5";
    let Gain { last_sequence, completed, failed, cancelled } = gain;
    let values = params![next.0.cast_signed(), last_sequence.cast_signed(), completed, failed, cancelled];
    transaction.prepare_cached(sql)?.execute(values)?;
    if let Some(Totals { last_sequence, ended }) = batch.totals {
        let sql = "UPDATE cluster SET last_sequence = ?1, completed = ?2, failed = ?3, cancelled = ?4";
        let ended = [ended.completed, ended.failed, ended.cancelled].map(u64::cast_signed);
        let values = params![last_sequence.cast_signed(), ended[0], ended[1], ended[2]];
        transaction.prepare_cached(sql)?.execute(values)?;
    }
    Ok(())
}

fn write_cluster(transaction: &Transaction<'_>, batch: &Batch) -> Result<(), StoreError> {
    if let Some(record) = &batch.cluster {
        let mut update = transaction.prepare_cached("UPDATE cluster SET cluster = ?1, epoch = ?2")?;
        update.execute(params![record.cluster.to_string(), record.epoch.0])?;
    }
    Ok(())
}

pub(super) fn position(connection: &Connection) -> Result<Position, StoreError> {
    let mut select = connection.prepare_cached("SELECT position FROM cluster")?;
    Ok(Position(select.query_one([], |row| row.get::<_, i64>(0))?.cast_unsigned()))
}

pub(super) fn json(value: &impl Serialize) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| StoreError::Corrupt(error.to_string()))
}

/// What an error means while everything can still be rolled back. A full disk or a lock may pass; an I/O error, or a
/// batch that does not fit to what is stored, means that this process and the store no longer agree.
fn before_commit(error: impl Into<StoreError>) -> CommitError {
    let error = error.into();
    let code = match &error {
        StoreError::Database(error) => error.sqlite_error_code(),
        _ => None,
    };
    match code {
        Some(ErrorCode::DiskFull | ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            CommitError::Unavailable(error)
        }
        _ => CommitError::Fatal(error),
    }
}

#[cfg(test)]
mod tests {
    use cloudaid_core::record::Change;

    use super::*;
    use crate::store::contract::fixture;
    use crate::store::sqlite::{connection, lookup};

    fn batch(numbers: std::ops::RangeInclusive<u64>) -> Batch {
        Batch::of(numbers.map(|number| Change::NewTask(fixture::task(number))).collect())
    }

    #[test]
    fn a_full_disk_is_survived() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut connection = connection::prepare(&dir.path().join(connection::FILE)).expect("a file");
        let start = commit(&mut connection, &batch(1..=1), Position(0), None).expect("a commit");
        let pages: i64 = connection.pragma_query_value(None, "page_count", |row| row.get(0)).expect("a number");
        let limit = |connection: &Connection, pages: i64| {
            connection
                .pragma_update_and_check(None, "max_page_count", pages, |row| row.get::<_, i64>(0))
                .expect("a limit")
        };
        limit(&connection, pages);
        let outcome = commit(&mut connection, &batch(2..=500), start, None);
        assert!(matches!(outcome, Err(CommitError::Unavailable(_))), "{outcome:?}");
        assert_eq!(lookup::task(&connection, fixture::task_id(2)).expect("a look-up"), None);
        limit(&connection, 1 << 30);
        commit(&mut connection, &batch(2..=500), start, None).expect("the same commit, with room");
    }

    #[test]
    fn a_lock_of_another_process_is_survived() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join(connection::FILE);
        let mut connection = connection::prepare(&path).expect("a file");
        connection.busy_timeout(std::time::Duration::ZERO).expect("no waiting");
        let other = Connection::open(&path).expect("another connection");
        other.execute_batch("BEGIN IMMEDIATE").expect("a lock");
        let outcome = commit(&mut connection, &batch(1..=1), Position(0), None);
        assert!(matches!(outcome, Err(CommitError::Unavailable(_))), "{outcome:?}");
        other.execute_batch("ROLLBACK").expect("no lock");
        assert_eq!(commit(&mut connection, &batch(1..=1), Position(0), None).expect("a commit"), Position(1));
    }
}
