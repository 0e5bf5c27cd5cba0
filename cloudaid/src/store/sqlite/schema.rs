//! The tables, and how an older file comes to have them.

use rusqlite::{Connection, TransactionBehavior};

use crate::store::StoreError;

/// Step n brings a file from version n to n + 1. What was released is never changed, only added to.
pub(super) const MIGRATIONS: &[&str] = &[
    include_str!("migrations/0001_tables.sql"),
    include_str!("migrations/0002_arrays.sql"),
    include_str!("migrations/0003_accounts.sql"),
    include_str!("migrations/0004_tokens.sql"),
    include_str!("migrations/0005_logins.sql"),
    include_str!("migrations/0006_deleted_tasks.sql"),
    include_str!("migrations/0007_audit.sql"),
    include_str!("migrations/0008_files.sql"),
    include_str!("migrations/0009_admission.sql"),
    include_str!("migrations/0010_ahead.sql"),
    include_str!("migrations/0011_cordon.sql"),
    include_str!("migrations/0012_uploads.sql"),
    include_str!("migrations/0013_more_of_runs.sql"),
    include_str!("migrations/0014_registries.sql"),
    include_str!("migrations/0015_confinement_of_runs.sql"),
    include_str!("migrations/0016_long_paths.sql"),
    include_str!("migrations/0017_notes_of_runs.sql"),
];

/// Marks the file as ours: `ClAI`.
const APPLICATION_ID: i32 = 0x436c_4149;

/// Refuses a file that is of a newer version than `known`, or not ours. Does not write. Returns its version.
pub(super) fn check(connection: &Connection, known: usize) -> Result<usize, StoreError> {
    let number = |pragma| connection.pragma_query_value(None, pragma, |row| row.get::<_, i32>(0));
    let (application, version) = (number("application_id")?, number("user_version")?);
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    let new = application == 0 && version == 0 && tables == 0;
    if application != APPLICATION_ID && !new {
        let path = connection.path().unwrap_or_default();
        return Err(StoreError::Corrupt(format!("{path} is a database of another program: choose another directory")));
    }
    match usize::try_from(version) {
        Ok(version) if version <= known => Ok(version),
        _ => Err(StoreError::TooNew {
            found: u32::try_from(version).unwrap_or(u32::MAX),
            known: u32::try_from(known).unwrap_or(u32::MAX),
        }),
    }
}

/// Brings the file to the newest version, each step in one transaction.
pub(super) fn migrate(connection: &mut Connection, migrations: &[&str]) -> Result<(), StoreError> {
    loop {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let version = check(&transaction, migrations.len())?;
        let Some(step) = migrations.get(version) else {
            return Ok(());
        };
        transaction.execute_batch(step)?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", i32::try_from(version + 1).unwrap_or(i32::MAX))?;
        transaction.commit()?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(connection: &Connection) -> i32 {
        connection.pragma_query_value(None, "user_version", |row| row.get(0)).expect("a version")
    }

    #[test]
    fn steps_are_applied_once_and_in_order() {
        let mut connection = Connection::open_in_memory().expect("a database");
        let steps = ["CREATE TABLE a (x INTEGER) STRICT", "ALTER TABLE a RENAME TO b", "INSERT INTO b VALUES (1)"];
        for known in [1, 1, 3, 3] {
            migrate(&mut connection, &steps[..known]).expect("migrations");
            assert_eq!(version(&connection), i32::try_from(known).expect("small"));
        }
        let rows: i64 = connection.query_row("SELECT count(*) FROM b", [], |row| row.get(0)).expect("the table");
        assert_eq!(rows, 1);
    }

    #[test]
    fn a_step_is_all_or_nothing() {
        let mut connection = Connection::open_in_memory().expect("a database");
        let steps =
            ["CREATE TABLE a (x INTEGER) STRICT", "CREATE TABLE b (x INTEGER) STRICT; INSERT INTO c VALUES (1)"];
        assert!(matches!(migrate(&mut connection, &steps), Err(StoreError::Database(_))));
        assert_eq!(version(&connection), 1);
        let tables: i64 =
            connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).expect("the schema");
        assert_eq!(tables, 1);
    }

    #[test]
    fn a_newer_version_is_refused() {
        let mut connection = Connection::open_in_memory().expect("a database");
        migrate(&mut connection, MIGRATIONS).expect("migrations");
        connection.pragma_update(None, "user_version", 99).expect("a version");
        assert!(matches!(migrate(&mut connection, MIGRATIONS), Err(StoreError::TooNew { found: 99, known: 17 })));
    }

    #[test]
    fn arrays_of_the_first_version_keep_their_elements() {
        let mut connection = Connection::open_in_memory().expect("a database");
        migrate(&mut connection, &MIGRATIONS[..1]).expect("the first version");
        let insert = "INSERT INTO tasks (sequence, id, user, count, submitted_at, state, progress, spec)
                      VALUES (1, 'a', 'u', 1, 0, 'queued', '{}', '{}'), (2, 'b', 'u', 7, 0, 'queued', '{}', '{}')";
        connection.execute_batch(insert).expect("two submissions");
        migrate(&mut connection, MIGRATIONS).expect("migrations");
        let mut select = connection.prepare("SELECT array FROM tasks ORDER BY sequence").expect("the column");
        let arrays = select.query_map([], |row| row.get::<_, Option<String>>(0)).expect("rows");
        let arrays: Vec<_> = arrays.map(|array| array.expect("a text")).collect();
        assert_eq!(arrays, [None, Some(r#"{"indices":[[0,7]]}"#.to_owned())]);
        let array: shared::array::Array = serde_json::from_str(arrays[1].as_deref().unwrap_or_default()).expect("json");
        assert_eq!(array, shared::array::Array::of(7));
    }

    #[test]
    fn a_file_of_another_program_is_refused() {
        let mut connection = Connection::open_in_memory().expect("a database");
        connection.execute_batch("CREATE TABLE a (x INTEGER)").expect("a table");
        assert!(matches!(migrate(&mut connection, MIGRATIONS), Err(StoreError::Corrupt(_))));
    }
}
