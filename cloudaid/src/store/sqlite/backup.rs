//! Writes all that a file holds to another one, while others may write to it.

use std::path::Path;

use rusqlite::params;

use super::connection;
use super::schema;
use crate::store::StoreError;

/// One state of the store, without what was deleted and without a log: a single file, of the same version.
/// `to` is not there; it is its owner's only from the beginning.
pub(super) fn write(from: &Path, to: &Path) -> Result<(), StoreError> {
    if !from.is_file() {
        return Err(StoreError::Missing { path: from.display().to_string() });
    }
    let written = || -> Result<(), StoreError> {
        let connection = connection::open_reader(from)?;
        if schema::check(&connection, schema::MIGRATIONS.len())? == 0 {
            return Err(StoreError::Missing { path: from.display().to_string() });
        }
        let to = to.to_str().ok_or_else(|| StoreError::Io {
            path: to.display().to_string(),
            source: std::io::Error::new(std::io::ErrorKind::InvalidInput, "the path is not UTF-8"),
        })?;
        connection::create_private(Path::new(to))?;
        connection.execute("VACUUM INTO ?1", params![to])?;
        Ok(())
    };
    written().map_err(|error| connection::clarify(from, error))
}
