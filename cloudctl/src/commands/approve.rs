//! `cloudctl approve`

use shared::view::ApproveWorkerRequest;

use super::Session;
use crate::args::ApproveArgs;
use crate::exit::CtlError;
use crate::render::{Done, View};

/// Lets a worker in that waits.
pub(super) async fn run(args: &ApproveArgs, session: &Session<'_>) -> Result<Done, CtlError> {
    let request = ApproveWorkerRequest { address: args.address.clone() };
    Ok(View::Admitted(session.client.approve_worker(&args.worker, &request).await?).into())
}
