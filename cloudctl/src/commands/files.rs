//! `cloudctl files`

use shared::view::UserFilesView;

use super::Session;
use crate::args::FilesArgs;
use crate::exit::CtlError;
use crate::render::{Done, View};

/// The most that the server gives at once.
const PAGE: u32 = 1000;

/// The output files of a user. Each page is written before the next one is asked for.
pub(super) async fn run(args: &FilesArgs, session: &Session<'_>) -> Result<Done, CtlError> {
    let mut listing = session.terminal.listing();
    let mut missing = if args.all { u64::MAX } else { u64::from(args.limit) };
    let mut cursor: Option<String> = None;
    loop {
        let limit = u32::try_from(missing).unwrap_or(PAGE).min(PAGE);
        let page = session.client.user_files(args.user.as_deref(), cursor.as_deref(), limit).await?;
        missing = missing.saturating_sub(page.files.len() as u64);
        cursor.clone_from(&page.next_cursor);
        let rest =
            View::UserFiles(UserFilesView { files: Vec::new(), user: page.user.clone(), next_cursor: cursor.clone() });
        listing.page(&View::UserFiles(page), &rest)?;
        if cursor.is_none() || missing == 0 {
            if cursor.is_some() {
                session.terminal.remark("there are more: --all or --limit N");
            }
            listing.finish(&rest)?;
            return Ok(Done::default());
        }
    }
}
