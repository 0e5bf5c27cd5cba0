//! `cloudaid store backup`

use std::fs::File;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::bars::Bars;
use super::open::{Kind, Places};
use super::{ToolError, report};
use crate::store::blocking;
use crate::store::sqlite::SqliteStore;
use crate::store::summary::{Summary, summarize};

/// A backup that was made.
#[derive(Debug, Serialize)]
pub struct BackedUp {
    /// Of which store.
    pub store: String,
    /// The file.
    pub file: PathBuf,
    /// What is in it.
    #[serde(flatten)]
    pub summary: Summary,
}

impl BackedUp {
    /// For people.
    #[must_use]
    pub fn text(&self) -> String {
        format!("✓ {} is backed up to {}\n{}", self.store, self.file.display(), report::summary(&self.summary))
    }
}

/// Writes one state of a store to `file`, whichever kind it is. A master may be running.
///
/// # Errors
/// The file is there already or cannot be written, or the store cannot be read.
pub async fn run(places: &Places, kind: Kind, file: &Path) -> Result<BackedUp, ToolError> {
    let file = std::path::absolute(file).map_err(|source| ToolError::io(file, source))?;
    if file.exists() {
        return Err(ToolError::Exists { path: file.display().to_string() });
    }
    let directory = file.parent().unwrap_or(&file).to_owned();
    std::fs::read_dir(&directory).map_err(|source| ToolError::io(&directory, source))?;
    // In the same directory, so that its last step is to get its name: what has the name is whole.
    let scratch = tempfile::Builder::new().prefix(".cloudai-backup-").tempdir_in(&directory);
    let scratch = scratch.map_err(|source| ToolError::io(&directory, source))?;
    let mut bars = Bars::new();
    let data_dir = match kind {
        Kind::Sqlite => {
            bars.wait("Copying the file");
            places.data_dir.clone()
        }
        Kind::Mongodb => {
            places.state_of_mongodb(scratch.path(), &mut bars).await?;
            scratch.path().to_owned()
        }
    };
    // A single file, without a log beside it.
    let written = scratch.path().join("backup.db");
    let to = written.clone();
    blocking(move || SqliteStore::back_up(&data_dir, &to)).await?;
    let from = written.clone();
    let opened = blocking(move || SqliteStore::open_file_read_only(&from)).await?;
    let summary = summarize(&opened, &mut |place| bars.at("Reading the backup", place)).await?;
    drop(opened);
    keep(&written, &file, &directory)?;
    bars.finish();
    Ok(BackedUp { store: places.name(kind).await?, file, summary })
}

/// Gives what was written its name, if nobody else has it.
fn keep(written: &Path, file: &Path, directory: &Path) -> Result<(), ToolError> {
    let named = File::open(written).and_then(|file| file.sync_all());
    let named = named.and_then(|()| std::fs::hard_link(written, file));
    let named = named.and_then(|()| File::open(directory)?.sync_all());
    named.map_err(|source| match source.kind() {
        std::io::ErrorKind::AlreadyExists => ToolError::Exists { path: file.display().to_string() },
        _ => ToolError::io(file, source),
    })
}
