//! `cloudctl queue`

use super::Session;
use crate::args::QueueArgs;
use crate::exit::CtlError;
use crate::render::{Done, View};

/// What waits.
pub(super) async fn run(args: &QueueArgs, session: &Session<'_>) -> Result<Done, CtlError> {
    Ok(View::Queue(session.client.queue(args.limit).await?).into())
}
