//! `cloudctl files`

use shared::view::UserFilesView;

use super::Session;
use super::pages::{self, Page};
use crate::args::FilesArgs;
use crate::exit::CtlError;
use crate::render::{Done, View};

/// The output files of a user.
pub(super) async fn run(args: &FilesArgs, session: &Session<'_>) -> Result<Done, CtlError> {
    let ask = async |cursor: Option<&str>, limit| {
        let page = session.client.user_files(args.user.as_deref(), cursor, limit).await?;
        let next_cursor = page.next_cursor.clone();
        let (user, files) = (page.user.clone(), Vec::new());
        let rest = View::UserFiles(UserFilesView { files, user, next_cursor: next_cursor.clone() });
        Ok(Page { rows: page.files.len(), view: View::UserFiles(page), rest, next_cursor })
    };
    let more = |_| "there are more: --all or --limit N".to_owned();
    pages::print(session, (!args.all).then_some(args.limit), ask, more).await
}
