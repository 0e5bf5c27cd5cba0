//! `cloudctl cordon`

use shared::view::{CordonRequest, WorkerListView};

use super::Session;
use super::each::each;
use crate::args::CordonArgs;
use crate::exit::CtlError;
use crate::render::{Done, View};

/// Lets workers get no new tasks.
pub(super) async fn run(args: &CordonArgs, session: &Session<'_>) -> Result<Done, CtlError> {
    let request = CordonRequest { reason: args.reason.clone() };
    let each = each(&args.workers, session, |worker| {
        let request = &request;
        async move { session.client.cordon_worker(&worker, request).await }
    });
    let each = each.await?;
    Ok(Done { view: Some(View::Workers(WorkerListView { workers: each.done })), exit: each.exit })
}
