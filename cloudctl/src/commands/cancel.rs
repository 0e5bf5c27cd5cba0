//! `cloudctl cancel`

use super::Session;
use crate::args::CancelArgs;
use crate::client::with_retries;
use crate::exit::CtlError;
use crate::render::{Done, View};

/// Cancels each of the tasks. One that fails does not keep the others from being cancelled; the first failure decides
/// the exit code.
pub(super) async fn run(args: &CancelArgs, session: &Session<'_>) -> Result<Done, CtlError> {
    // Ids that were typed are not asked about, so `--yes` has nothing to answer.
    let CancelArgs { ids, yes: _ } = args;
    let mut cancelled = Vec::new();
    let mut exit = 0;
    for &id in ids {
        let notice = |error: &CtlError| session.terminal.warn(format!("{error}; trying again"));
        match with_retries(notice, || session.client.cancel(id)).await {
            Ok(view) => cancelled.push(view),
            Err(error) if ids.len() == 1 => return Err(error),
            Err(error) => {
                session.terminal.fail(&error);
                exit = if exit == 0 { error.exit() } else { exit };
            }
        }
    }
    let view = match cancelled.pop() {
        Some(only) if ids.len() == 1 => View::Cancelled(only),
        last => {
            cancelled.extend(last);
            View::CancelledAll(cancelled)
        }
    };
    Ok(Done { view: Some(view), exit })
}
