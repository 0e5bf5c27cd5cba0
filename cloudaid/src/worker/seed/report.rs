//! Telling the master how a task ended, until it says that it knows.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use shared::id::AttemptKey;
use shared::proto::seed::{Ack, TaskResult};
use shared::text::printable;
use std::collections::BTreeMap;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tonic::Status;

use super::desk::{Desk, Known, blocking};
use super::ledger::End;
use super::logs;
use crate::pause::Pauses;

/// Reports at a time: each may carry a log of many MiB.
const REPORTS: usize = 2;
/// A report with the longest log, over a slow network.
const ANSWER_LIMIT: Duration = Duration::from_secs(120);
/// How long a master that answers and refuses is asked again. It may be short of something for a while; but one that has
/// forgotten the task will refuse for ever, and the container must not stay for ever.
const REFUSED_FOR: Duration = Duration::from_secs(3600);
/// The most bytes of names of files in one report.
const NAMES_LIMIT: usize = 4 << 20;

/// What limits reports, and since when the master has refused what.
#[derive(Debug)]
pub(super) struct Slots {
    reports: Semaphore,
    uploads: Mutex<BTreeMap<AttemptKey, Instant>>,
}

impl Default for Slots {
    fn default() -> Self {
        Self { reports: Semaphore::new(REPORTS), uploads: Mutex::default() }
    }
}

/// Reports with growing pauses. Returns when the master has taken it, or has refused for too long.
pub(super) async fn until_taken(desk: Arc<Desk>, known: Known, end: End) {
    let task = known.record.assignment.key;
    let mut pauses = Pauses::default();
    let mut refused_since = None;
    let mut failing = false;
    loop {
        let problem = match report(&desk, &known, &end).await {
            Ok(Ack { success: true, .. }) => break,
            Ok(Ack { message, .. }) => {
                let since = *refused_since.get_or_insert_with(Instant::now);
                let reason = format!("it refuses: {}", shown(&message));
                if since.elapsed() >= REFUSED_FOR {
                    tracing::error!(%task, reason, "The master does not want the end of this task; it is given up");
                    break;
                }
                reason
            }
            Err(status) => shown(status.message()),
        };
        if !std::mem::replace(&mut failing, true) {
            tracing::warn!(%task, id = known.record.wire_id, problem, "The end of a task waits for the master");
        }
        tokio::time::sleep(pauses.next()).await;
    }
    let status = end.status.as_str();
    while let Err(error) = desk.settle(known.record.clone(), end.clone()).await {
        tracing::error!(%task, %error, "The end of a task cannot be written down; trying again");
        tokio::time::sleep(pauses.next()).await;
    }
    tracing::info!("Task reported: {} ({status})", printable(&known.record.wire_id));
}

async fn report(desk: &Desk, known: &Known, end: &End) -> Result<Ack, Status> {
    // The semaphore is never closed.
    let _slot = desk.reports.reports.acquire().await;
    let master = desk.master().ok_or_else(|| Status::unavailable("no master has registered this worker"))?;
    // First the connection: without a master no log needs to be read.
    let mut client = master.connect().await?;
    let (spool, ledger, remarks) = (Arc::clone(&known.spool), desk.ledger(), end.remarks.clone());
    let task = known.record.assignment.key.task;
    let read = blocking(move || Ok((logs::tail(&spool, &remarks)?, bounded(ledger.files(task)?)))).await;
    let (logs, output_files) = read.map_err(|error| Status::unavailable(format!("the log cannot be read: {error}")))?;
    let result = TaskResult {
        task_id: known.record.wire_id.clone(),
        worker_id: desk.name().to_string(),
        status: end.status.as_str().to_owned(),
        logs,
        result_location: String::new(),
        output_files,
    };
    let answer = timeout(ANSWER_LIMIT, client.report_task_completion(result)).await;
    Ok(answer.map_err(|_| Status::unavailable("the master does not answer"))??.into_inner())
}

impl Desk {
    /// An upload that the master did not want: for a while it is tried again, then given up.
    pub(super) fn refused_upload(&self, key: AttemptKey, reason: &str) -> Status {
        let mut uploads = self.reports.uploads.lock();
        uploads.retain(|key, _| self.live(*key).is_some());
        let since = *uploads.entry(key).or_insert_with(Instant::now);
        if since.elapsed() >= REFUSED_FOR {
            return Status::failed_precondition(format!("the master refuses the files: {reason}"));
        }
        Status::unavailable(format!("the master refuses the files for now: {reason}"))
    }
}

/// As many names as a report may carry.
fn bounded(names: Vec<String>) -> Vec<String> {
    let mut bytes = 0;
    let fits = |name: &String| {
        bytes += name.len();
        bytes <= NAMES_LIMIT
    };
    names.into_iter().take_while(fits).collect()
}

fn shown(text: &str) -> String {
    printable(&text.chars().take(500).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_a_report_have_a_bound() {
        let names = vec!["x".repeat(NAMES_LIMIT / 2); 3];
        assert_eq!(bounded(names).len(), 2);
    }
}
