//! `cloudaid store check`

use serde::Serialize;

use super::bars::Bars;
use super::open::{Kind, Places, scratch};
use super::{ToolError, report};
use crate::store::check::{self, Report};
use crate::store::sqlite::SqliteStore;
use crate::store::{Store, blocking};

/// What was found.
#[derive(Debug, Serialize)]
pub struct Checked {
    /// Where.
    pub store: String,
    /// What.
    #[serde(flatten)]
    pub report: Report,
}

impl Checked {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.report.violations.is_empty()
    }

    /// For people.
    #[must_use]
    pub fn text(&self) -> String {
        format!("{}\n{}{}", self.store, report::summary(&self.report.summary), report::violations(&self.report))
    }
}

/// Looks at all that a store holds. Nothing is changed; a master may be running.
///
/// # Errors
/// The store cannot be opened or read.
pub async fn run(places: &Places, kind: Kind) -> Result<Checked, ToolError> {
    let mut bars = Bars::new();
    let report = match kind {
        Kind::Sqlite => {
            let data_dir = places.data_dir.clone();
            let store = blocking(move || SqliteStore::open_read_only(&data_dir)).await?;
            check::check(&store, &mut |place| bars.at("Checking", place)).await?
        }
        Kind::Mongodb => {
            let scratch = scratch(".cloudai-check-")?;
            let (source, state) = places.state_of_mongodb(scratch.path(), &mut bars).await?;
            let mut report = check::check(&state, &mut |place| bars.at("Checking", place)).await?;
            report.violations.extend(source.list_strays(check::TOLD).await?);
            report
        }
    };
    bars.finish();
    Ok(Checked { store: places.name(kind).await?, report })
}
