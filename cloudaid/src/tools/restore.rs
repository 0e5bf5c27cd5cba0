//! `cloudaid store restore`

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::bars::Bars;
use super::open::{Kind, Places, scratch};
use super::{ToolError, report};
use crate::store::sqlite::SqliteStore;
use crate::store::summary::Summary;
use crate::store::transfer::{self, RESTORED_EPOCHS};
use crate::store::{StoreError, blocking};

/// A backup that was brought back.
#[derive(Debug, Serialize)]
pub struct Restored {
    /// The backup.
    pub file: PathBuf,
    /// Where it is now.
    pub store: String,
    /// By how much the epoch was raised.
    pub epochs: u32,
    /// What it holds.
    #[serde(flatten)]
    pub summary: Summary,
}

impl Restored {
    /// For people.
    #[must_use]
    pub fn text(&self) -> String {
        format!(
            "✓ {} is restored to {}\n{}Its epoch is raised by {}: what came after the backup is fenced off\n",
            self.file.display(),
            self.store,
            report::summary(&self.summary),
            self.epochs
        )
    }
}

/// Brings a backup back into a store that is empty, and raises the epoch. Run again after whatever ended it, it goes on.
///
/// # Errors
/// The file is no backup, or the store is not empty or cannot be written.
pub async fn run(places: &Places, kind: Kind, file: &Path) -> Result<Restored, ToolError> {
    if !file.is_file() {
        let why = if file.is_dir() { "it is a directory" } else { "there is no such file" };
        return Err(no_backup(file, why.to_owned()));
    }
    let scratch = scratch(".cloudai-restore-")?;
    let mut bars = Bars::new();
    bars.wait("Opening the backup");
    let (from, dir) = (file.to_owned(), scratch.path().to_owned());
    let opened = blocking(move || SqliteStore::open_copy(&from, &dir)).await;
    let backup = opened.map_err(|error| match error {
        StoreError::Corrupt(_) | StoreError::Database(_) | StoreError::Missing { .. } => {
            no_backup(file, error.to_string())
        }
        error => error.into(),
    })?;
    // Only now: what cannot be restored makes no store.
    let target = places.open(kind, false).await?;
    transfer::check_target(&target.load().await?.0)?;
    let summary = transfer::restore(&backup, &*target, &mut |progress| bars.copied(progress)).await?;
    bars.finish();
    Ok(Restored { file: file.to_owned(), store: places.name(kind).await?, epochs: RESTORED_EPOCHS, summary })
}

fn no_backup(file: &Path, why: String) -> ToolError {
    ToolError::NoBackup { path: file.display().to_string(), why }
}
