//! `cloudctl undrain`

use shared::view::WorkerListView;

use super::Session;
use super::each::each;
use crate::args::UndrainArgs;
use crate::exit::CtlError;
use crate::render::{Done, View};

/// Lets workers get tasks again.
pub(super) async fn run(args: &UndrainArgs, session: &Session<'_>) -> Result<Done, CtlError> {
    let each = each(&args.workers, session, |worker| async move { session.client.undrain_worker(&worker).await });
    let each = each.await?;
    Ok(Done { view: Some(View::Workers(WorkerListView { workers: each.done })), exit: each.exit })
}
