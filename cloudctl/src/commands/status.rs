//! `cloudctl status`

use super::Session;
use crate::exit::CtlError;
use crate::render::{Done, View};

/// The cluster in numbers.
pub(super) async fn run(session: &Session<'_>) -> Result<Done, CtlError> {
    Ok(View::Status(session.client.status().await?).into())
}
