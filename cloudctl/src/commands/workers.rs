//! `cloudctl workers`

use super::Session;
use crate::exit::CtlError;
use crate::render::{Done, View};

/// All workers.
pub(super) async fn run(session: &Session<'_>) -> Result<Done, CtlError> {
    Ok(View::Workers(session.client.workers().await?).into())
}
