//! Lists that the server gives in pages.

use super::Session;
use crate::exit::CtlError;
use crate::render::{Done, View};

/// The most that the server gives at once.
pub(super) const PAGE: u32 = 1000;

/// What the server gave.
pub(super) struct Page {
    /// With its rows.
    pub(super) view: View,
    /// The same without them.
    pub(super) rest: View,
    /// How many they are.
    pub(super) rows: usize,
    /// Where the next page begins, if there is one.
    pub(super) next_cursor: Option<String>,
}

/// Prints as many rows as were asked for (none: all of them). Each page, of which `ask` is told the cursor and the most rows,
/// is written before the next one is asked for. `more` says, of so many that were shown, that they are not all.
pub(super) async fn print(
    session: &Session<'_>,
    limit: Option<u32>,
    ask: impl AsyncFn(Option<&str>, u32) -> Result<Page, CtlError>,
    more: impl FnOnce(usize) -> String,
) -> Result<Done, CtlError> {
    let mut listing = session.terminal.listing();
    let (mut cursor, mut shown) = (None::<String>, 0_usize);
    loop {
        let missing = limit.map(|limit| limit.saturating_sub(u32::try_from(shown).unwrap_or(u32::MAX)));
        let page = ask(cursor.as_deref(), missing.map_or(PAGE, |missing| missing.min(PAGE))).await?;
        let Page { view, rest, rows, next_cursor } = page;
        shown += rows;
        listing.page(&view, &rest)?;
        cursor = next_cursor;
        if cursor.is_none() || limit.is_some_and(|limit| shown >= limit as usize) {
            if cursor.is_some() {
                session.terminal.remark(more(shown));
            }
            listing.finish(&rest)?;
            return Ok(Done::default());
        }
    }
}
