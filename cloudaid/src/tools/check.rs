//! `cloudaid store check`

use serde::Serialize;

use super::bars::Bars;
use super::open::{Kind, Places};
use super::{ToolError, report};
use crate::store::check::Report;

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
    let store = places.open_read_only(kind).await?;
    let mut bars = Bars::new();
    let report = crate::store::check::check(&*store, &mut |place| bars.at("Checking", place)).await?;
    bars.finish();
    Ok(Checked { store: places.name(kind).await?, report })
}
