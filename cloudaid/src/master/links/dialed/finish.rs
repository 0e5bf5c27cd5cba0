//! The end of a run as its worker tells it, in our terms.

use std::time::Duration;

use shared::link::Outcome;
use shared::proto::seed::TaskResult;
use shared::task::Verdict;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::run::Run;
use super::{merge, outputs};
use crate::clock;
use crate::pause::Pauses;

/// How long a log is still followed whose end was not sent with the result.
const LOG_GRACE: Duration = Duration::from_secs(3);
/// How long files may still arrive whose run has ended.
const UPLOAD_GRACE: Duration = Duration::from_secs(60);
/// Stands for the exit code of what has failed: workers of the first generation do not tell it.
const SOME_EXIT_CODE: i32 = 1;

/// Follows the log to its end, unless the result has all of it. Nobody else appends to it after this.
pub(super) async fn end_of_log(mut followed: JoinHandle<()>, stop: CancellationToken, result: &TaskResult) {
    if result.logs.is_empty() && tokio::time::timeout(LOG_GRACE, &mut followed).await.is_ok() {
        return;
    }
    stop.cancel();
    if let Err(error) = followed.await {
        tracing::error!("A log was not followed to its end: {error}");
    }
}

/// Waits for files that still arrive: workers send them before they report, but not on the same connection.
pub(super) async fn end_of_uploads(run: &Run) {
    if tokio::time::timeout(UPLOAD_GRACE, run.progress.has_arrived()).await.is_err() {
        run.progress.lose_files();
    }
}

/// Keeps what came with the result, and says how it all ended. What the worker says it says once, so a store that fails is
/// tried until it does not.
pub(super) async fn outcome(run: &Run, result: &TaskResult) -> Outcome {
    let mut pauses = Pauses::default();
    loop {
        match try_outcome(run, result).await {
            Ok(outcome) => return outcome,
            Err(why) => tracing::error!("The end of {} cannot be kept now: {why}", run.name),
        }
        tokio::time::sleep(pauses.next()).await;
    }
}

async fn try_outcome(run: &Run, result: &TaskResult) -> Result<Outcome, String> {
    let inner = &run.inner;
    if inner.cluster.live().contains(run.key) {
        merge::complete(&inner.logs, run.key, &result.logs).await.map_err(|error| error.to_string())?;
    }
    let stored = inner.logs.offsets(&run.key).await.map_err(|error| error.to_string())?;
    let found = outputs::complete(run, &result.output_files).await.map_err(|error| error.message)?;
    let is_wanted_stopped = inner.cluster.is_stopping(run.key).await.map_err(|error| error.message)?;
    let verdict = verdict(&result.status, is_wanted_stopped);
    let finished_at = clock::wall();
    // What has succeeded has run.
    let started_at = run.started_at.or_else(|| (verdict == Verdict::Success).then_some(finished_at));
    Ok(Outcome {
        verdict,
        started_at,
        finished_at,
        stdout_bytes: stored.stdout,
        stderr_bytes: stored.stderr,
        output_files: found.count,
        output_bytes: Some(found.bytes),
        output_notes: found.notes,
        usage: None,
        handed_back: false,
        perhaps_stopped: false,
    })
}

/// A run that is stopped is reported twice, as failed and as cancelled, in either order.
fn verdict(status: &str, is_wanted_stopped: bool) -> Verdict {
    match status {
        "success" => Verdict::Success,
        "cancelled" => Verdict::Cancelled,
        _ if is_wanted_stopped => Verdict::Cancelled,
        _ => Verdict::ExitCode { exit_code: SOME_EXIT_CODE },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stopped_is_cancelled_whichever_report_comes_first() {
        assert_eq!(verdict("failed", true), Verdict::Cancelled);
        assert_eq!(verdict("cancelled", true), Verdict::Cancelled);
        assert_eq!(verdict("cancelled", false), Verdict::Cancelled);
        assert_eq!(verdict("success", true), Verdict::Success, "it was faster");
    }

    #[test]
    fn whatever_else_is_said_is_a_failure() {
        for status in ["failed", "", "SUCCESS", "done"] {
            assert_eq!(verdict(status, false), Verdict::ExitCode { exit_code: 1 }, "{status}");
        }
    }
}
