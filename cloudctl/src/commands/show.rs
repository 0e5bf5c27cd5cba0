//! `cloudctl show`

use super::Session;
use crate::args::TaskIdArgs;
use crate::exit::CtlError;
use crate::render::{Done, View};

/// One task in full.
pub(super) async fn run(args: &TaskIdArgs, session: &Session<'_>) -> Result<Done, CtlError> {
    let task = session.client.task(args.id).await?;
    Ok(View::Task(Box::new(task)).into())
}
