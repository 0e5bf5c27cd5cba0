//! `cloudctl drain`

use std::time::Duration;

use shared::id::WorkerId;
use shared::view::{DrainRequest, WorkerListView, WorkerView};

use super::Session;
use super::each::each;
use crate::args::DrainArgs;
use crate::client::with_retries;
use crate::exit::CtlError;
use crate::render::{Done, View};

/// Between two looks at a worker that is waited for.
const PAUSE: Duration = Duration::from_secs(1);

/// Lets workers become empty, all of them first, and waits for it if that is wanted.
pub(super) async fn run(args: &DrainArgs, session: &Session<'_>) -> Result<Done, CtlError> {
    let request = DrainRequest { reason: args.reason.clone(), deadline: args.deadline };
    let drained = each(&args.workers, session, |worker| {
        let request = &request;
        async move { session.client.drain_worker(&worker, request).await }
    });
    let drained = drained.await?;
    let mut workers = drained.done;
    if args.wait {
        for view in &mut workers {
            *view = until_empty(view.worker_id.clone(), view.clone(), session).await?;
        }
    }
    Ok(Done { view: Some(View::Workers(WorkerListView { workers })), exit: drained.exit })
}

async fn until_empty(worker: WorkerId, mut view: WorkerView, session: &Session<'_>) -> Result<WorkerView, CtlError> {
    let mut said = None;
    while !view.running_tasks.is_empty() {
        let left = view.running_tasks.len();
        if said != Some(left) {
            session.terminal.note(format!("{worker}: {left} still run"));
            said = Some(left);
        }
        tokio::time::sleep(PAUSE).await;
        let notice = |error: &CtlError| session.terminal.warn(format!("{error}; trying again"));
        view = with_retries(notice, || session.client.worker(worker.as_str())).await?;
    }
    Ok(view)
}
