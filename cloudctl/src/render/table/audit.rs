//! The audit log.

use comfy_table::Cell;
use shared::audit::AuditEntry;

use super::grid::{Grid, Widths, optional, text};
use crate::render::{Style, VerifiedView};

/// What an empty list says.
pub(super) const NONE: &str = "No entries.\n";

/// A page of `audit`.
pub(super) fn entries(entries: &[AuditEntry], style: &Style, widths: &mut Widths) -> String {
    let headings = ["NO", "TIME", "USER", "VIA", "FROM", "ACTION", "OBJECT", "OUTCOME"];
    let mut grid = Grid::new(style, headings, &[6, 5]).hide_if_narrow(&[0, 4]).hide_if_tiny(&[3]);
    for entry in entries {
        grid.row([
            Cell::new(entry.sequence),
            Cell::new(style.time(entry.at)),
            optional(entry.user.as_ref().map(|user| user.as_str()), style),
            // The id of a token stands in the JSON.
            text(entry.via.split(':').next().unwrap_or_default(), style),
            optional(entry.address.map(|address| address.to_string()), style),
            text(&entry.action, style),
            text(&entry.object, style),
            text(&entry.outcome, style),
        ]);
    }
    grid.finish_page(widths)
}

/// `audit --verify`
pub(super) fn verified(view: &VerifiedView, style: &Style) -> String {
    let VerifiedView { entries, seal } = view;
    format!(
        "✓ {entries} entries, each as it was written. Keep this where nobody can change it, for --contains:\n{}\n",
        style.text(&format!("{entries}:{seal}"))
    )
}
