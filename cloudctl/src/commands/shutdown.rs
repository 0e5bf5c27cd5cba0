//! `cloudctl shutdown`

use super::Session;
use crate::args::ShutdownArgs;
use crate::exit::CtlError;
use crate::render::{Done, View};

/// Stops the master, after asking.
pub(super) async fn run(args: &ShutdownArgs, session: &Session<'_>) -> Result<Done, CtlError> {
    let how = if args.drain { "after its running tasks have ended" } else { "now" };
    session.terminal.confirm(&format!("Stop the master at {} {how}?", session.client.server()), args.yes)?;
    Ok(View::Shutdown(session.client.shutdown(args.drain).await?).into())
}
