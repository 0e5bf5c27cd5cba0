//! Opening the file: looking before touching, then the settings of each connection.

use std::fs::{OpenOptions, Permissions};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::directory::io_error;
use super::schema;
use crate::store::StoreError;

/// The file, in the data directory.
pub(super) const FILE: &str = "cloudai.db";

/// How long to wait for a lock that another process has. Ours wait for none: there is one writer, and readers of a WAL
/// do not wait.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// More than the statements there are, so that each is compiled once.
const STATEMENTS: usize = 128;

/// Opens the file for writing: new, up to date or brought up to date. What cannot be used is not touched.
pub(super) fn prepare(path: &Path) -> Result<Connection, StoreError> {
    inspect(path)?;
    create_private(path)?;
    let mut connection = open_writer(path).map_err(|error| clarify(path, error.into()))?;
    schema::migrate(&mut connection, schema::MIGRATIONS).map_err(|error| clarify(path, error))?;
    Ok(connection)
}

/// A connection for questions.
pub(super) fn open_reader(path: &Path) -> Result<Connection, StoreError> {
    let connection =
        Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    // In KiB. No mmap, here or for the writer: an I/O error must be an error and not a signal.
    connection.pragma_update(None, "cache_size", -16_384)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    Ok(connection)
}

/// A connection for questions that all see one state: that of this moment.
pub(super) fn open_pinned(path: &Path) -> Result<Connection, StoreError> {
    if !path.is_file() {
        return Err(StoreError::Missing { path: path.display().to_string() });
    }
    inspect(path)?;
    let open = || -> Result<Connection, StoreError> {
        let connection = open_reader(path)?;
        connection.execute_batch("BEGIN")?;
        let (found, known) = (schema::check(&connection, schema::MIGRATIONS.len())?, schema::MIGRATIONS.len());
        if found < known {
            let number = |version| u32::try_from(version).unwrap_or(u32::MAX);
            return Err(StoreError::TooOld { found: number(found), known: number(known) });
        }
        Ok(connection)
    };
    open().map_err(|error| clarify(path, error))
}

/// Says which file is damaged and what to do, where SQLite only says that one is.
pub(super) fn clarify(path: &Path, error: StoreError) -> StoreError {
    let code = match &error {
        StoreError::Database(error) => error.sqlite_error_code(),
        _ => None,
    };
    if matches!(code, Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt)) {
        return damaged(path, &error.to_string());
    }
    error
}

/// Looks at the file without writing to it.
fn inspect(path: &Path) -> Result<(), StoreError> {
    if std::fs::metadata(path).map_or(0, |file| file.len()) == 0 {
        // SQLite would throw the log away.
        let log = path.with_extension("db-wal");
        let commits = std::fs::metadata(&log).map_or(0, |file| file.len());
        return if commits == 0 { Ok(()) } else { Err(damaged(path, "it is empty or gone, but its log is not")) };
    }
    let look = || -> Result<(), StoreError> {
        let connection = open_reader(path)?;
        schema::check(&connection, schema::MIGRATIONS.len()).map(drop)
    };
    look().map_err(|error| clarify(path, error))
}

/// Makes the file, or keeps others out of it. SQLite gives its mode to the files beside it.
pub(super) fn create_private(path: &Path) -> Result<(), StoreError> {
    let mut options = OpenOptions::new();
    let file = options.write(true).create(true).truncate(false).mode(0o600).open(path).map_err(io_error(path))?;
    file.set_permissions(Permissions::from_mode(0o600)).map_err(io_error(path))
}

fn open_writer(path: &Path) -> rusqlite::Result<Connection> {
    let connection =
        Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    // The page size is that of the file system, and the default; said here because it cannot be changed later.
    connection.pragma_update(None, "page_size", 4096)?;
    let _: String = connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
    // What was acknowledged survives a power loss.
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", false)?;
    connection.pragma_update(None, "cache_size", -65_536)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    // The writer does it itself, after the answer, and looks at the outcome, which SQLite would not.
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    let _: i64 = connection.pragma_update_and_check(None, "journal_size_limit", 64 << 20, |row| row.get(0))?;
    Ok(connection)
}

fn damaged(path: &Path, what: &str) -> StoreError {
    let path = path.display();
    StoreError::Corrupt(format!(
        "{path}: {what}; nothing was changed: keep a copy of it, and put a backup in its place"
    ))
}
