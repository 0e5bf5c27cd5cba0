//! `cloudctl fix-resources`

use shared::error::exit;

use super::Session;
use crate::exit::CtlError;
use crate::render::{Done, View};

/// Compares and mends. What cannot be mended here is a fault of the master.
pub(super) async fn run(session: &Session<'_>) -> Result<Done, CtlError> {
    let view = session.client.fix_resources().await?;
    let exit = if view.differences.is_empty() { 0 } else { exit::INTERNAL };
    Ok(Done { view: Some(View::Repair(view)), exit })
}
