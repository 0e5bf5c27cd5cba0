//! `cloudctl delete`

use super::Session;
use super::each::each;
use super::ids::read_ids;
use crate::args::DeleteArgs;
use crate::exit::CtlError;
use crate::render::{DeletedView, Done, View};

/// Forgets tasks that have ended, after asking. The first failure decides the exit code.
pub(super) async fn run(args: &DeleteArgs, session: &Session<'_>) -> Result<Done, CtlError> {
    let tasks = read_ids(&args.ids)?;
    let what = match tasks.as_slice() {
        [only] => only.to_string(),
        many => format!("{} tasks", many.len()),
    };
    let question = format!("Delete {what} with logs and files at {}?", session.client.server());
    session.terminal.confirm(&question, args.yes)?;
    let each = each(&tasks, session, |task| async move {
        session.client.delete(task).await?;
        Ok(task.to_string())
    });
    let each = each.await?;
    Ok(Done { view: Some(View::Deleted(DeletedView { deleted: each.done })), exit: each.exit })
}
