//! `cloudaid store copy`

use serde::Serialize;

use super::bars::Bars;
use super::open::{Kind, Places};
use super::{ToolError, report};
use crate::store::summary::Summary;
use crate::store::transfer;

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
    let source = places.open(from, true).await?;
    let target = places.open(to, false).await?;
    let mut bars = Bars::new();
    let summary = transfer::copy(&*source, &*target, &mut |progress| bars.copied(progress)).await?;
    bars.finish();
    Ok(Copied { from: places.name(from).await?, to: places.name(to).await?, summary })
}
