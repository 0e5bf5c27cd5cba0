//! `cloudctl task-files`

use super::Session;
use super::owner::check_owner;
use crate::args::TaskFilesArgs;
use crate::exit::CtlError;
use crate::render::{Done, View};

/// The output files of a task.
pub(super) async fn run(args: &TaskFilesArgs, session: &Session<'_>) -> Result<Done, CtlError> {
    let task = session.client.task(args.id).await?;
    check_owner(&task, args.user.as_deref())?;
    let list = session.client.files(args.id).await?;
    if list.files.is_empty() && !task.state.is_final() {
        session.terminal.warn(format!("{} is {}: its files come when it has ended", task.task_id, task.state));
    }
    Ok(View::Files(list).into())
}
