//! `cloudctl task-files`

use super::Session;
use super::owner::check_owner;
use crate::args::TaskFilesArgs;
use crate::exit::CtlError;
use crate::render::{Done, View};

/// The output files of a task.
pub(super) async fn run(args: &TaskFilesArgs, session: &Session<'_>) -> Result<Done, CtlError> {
    if args.user.is_some() {
        check_owner(&session.client.task(args.id).await?, args.user.as_deref())?;
    }
    Ok(View::Files(session.client.files(args.id).await?).into())
}
