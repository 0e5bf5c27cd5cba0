//! `cloudctl internal-state`

use super::Session;
use crate::exit::CtlError;
use crate::render::{Done, View};

/// Everything that the core knows.
pub(super) async fn run(session: &Session<'_>) -> Result<Done, CtlError> {
    Ok(View::InternalState(Box::new(session.client.internal_state().await?)).into())
}
