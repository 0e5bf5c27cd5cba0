//! `cloudctl why`

use super::Session;
use crate::args::TaskIdArgs;
use crate::exit::CtlError;
use crate::render::{Done, View};

/// What stands in the way of a task.
pub(super) async fn run(args: &TaskIdArgs, session: &Session<'_>) -> Result<Done, CtlError> {
    Ok(View::Why(session.client.why(args.id).await?).into())
}
