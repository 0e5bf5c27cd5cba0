//! `cloudctl shutdown`, `exit`, `quit`

use super::Session;
use crate::args::ShutdownArgs;
use crate::exit::CtlError;
use crate::render::{Done, View};

/// Stops the master, after asking.
pub(super) async fn run(args: &ShutdownArgs, session: &Session<'_>) -> Result<Done, CtlError> {
    let how = if args.now { "now" } else { "once its running tasks have ended" };
    session.terminal.confirm(&format!("Stop the master at {} {how}?", session.client.server()), args.yes)?;
    Ok(View::Shutdown(session.client.shutdown(!args.now).await?).into())
}
