//! `cloudctl retry`

use shared::view::SubmitView;

use super::Session;
use super::each::each;
use super::ids::read_ids;
use super::submit::{fresh_key, report};
use crate::args::RetryArgs;
use crate::client::with_retries;
use crate::exit::CtlError;
use crate::render::Done;

/// Submits each of the tasks again. The first failure decides the exit code.
pub(super) async fn run(args: &RetryArgs, session: &Session<'_>) -> Result<Done, CtlError> {
    let tasks = read_ids(&args.ids)?;
    let key = args.idempotency_key.clone().unwrap_or_else(fresh_key);
    let notice = |error: &CtlError| session.terminal.warn(format!("{error}; trying again"));
    let retried = each(&tasks, session, |task| {
        // One key for each task: it stands for one request.
        let key = if tasks.len() == 1 { key.clone() } else { format!("{key}/{task}") };
        async move { with_retries(notice, || session.client.retry(task, args.all, &key)).await }
    });
    let retried = retried.await?;
    let views: Vec<SubmitView> = retried.done;
    let done = report(views, tasks.len() > 1, args.wait, session).await?;
    Ok(Done { exit: if retried.exit == 0 { done.exit } else { retried.exit }, ..done })
}
