//! `cloudctl workers`

use super::Session;
use crate::args::WorkersArgs;
use crate::exit::CtlError;
use crate::render::{Done, View};

/// All workers, or those that wait to be let in.
pub(super) async fn run(args: &WorkersArgs, session: &Session<'_>) -> Result<Done, CtlError> {
    if args.pending {
        return Ok(View::PendingWorkers(session.client.pending_workers().await?).into());
    }
    Ok(View::Workers(session.client.workers().await?).into())
}
