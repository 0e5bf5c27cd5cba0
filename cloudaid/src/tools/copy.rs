//! `cloudaid store copy`

use std::path::Path;

use serde::Serialize;

use super::bars::Bars;
use super::open::{Kind, Places};
use super::{ToolError, report};
use crate::master::FALLBACK;
use crate::store::sqlite::SqliteStore;
use crate::store::summary::Summary;
use crate::store::{Position, blocking, transfer};

/// A copy that was made and compared.
#[derive(Debug, Serialize)]
pub struct Copied {
    /// The source.
    pub from: String,
    /// The target.
    pub to: String,
    /// What both hold.
    #[serde(flatten)]
    pub summary: Summary,
}

impl Copied {
    /// For people.
    #[must_use]
    pub fn text(&self) -> String {
        format!("✓ {} is copied to {}; both hold\n{}", self.from, self.to, report::summary(&self.summary))
    }
}

/// Copies everything from one kind of store to the other. Run again after whatever ended it, it goes on.
///
/// # Errors
/// The target is not empty, a master runs on one of the two, or one of them cannot be read or written.
pub async fn run(places: &Places, from: Kind, to: Kind) -> Result<Copied, ToolError> {
    if from == to {
        return Err(ToolError::Same);
    }
    if from == Kind::Mongodb {
        refuse_unimported(&places.data_dir.join(FALLBACK)).await?;
    }
    let source = places.open(from, true).await?;
    let target = places.open(to, false).await?;
    let mut bars = Bars::new();
    let summary = transfer::copy(&*source, &*target, &mut |progress| bars.copied(progress)).await?;
    bars.finish();
    Ok(Copied { from: places.name(from).await?, to: places.name(to).await?, summary })
}

/// What was written while MongoDB was away is part of what it holds.
async fn refuse_unimported(dir: &Path) -> Result<(), ToolError> {
    if !SqliteStore::exists(dir) {
        return Ok(());
    }
    let path = dir.to_owned();
    let local = blocking(move || SqliteStore::open_read_only(&path)).await?;
    if local.count_alone(Position(0)).await? > 0 {
        return Err(ToolError::Unimported { path: dir.display().to_string() });
    }
    Ok(())
}
