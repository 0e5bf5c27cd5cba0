//! `cloudctl queue`

use super::Session;
use crate::exit::CtlError;
use crate::render::{Done, View};

/// What waits.
pub(super) async fn run(session: &Session<'_>) -> Result<Done, CtlError> {
    Ok(View::Queue(session.client.queue().await?).into())
}
