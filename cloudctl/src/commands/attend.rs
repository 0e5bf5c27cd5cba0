//! `--wait`: the log as it comes, Ctrl-C, and the exit code at the end.

use std::time::{Duration, Instant};

use shared::id::TaskRef;
use shared::view::SubmitView;

use super::Session;
use super::follow::{Ended, elements, follow};
use super::interrupt::{Wish, heed_interrupts};
use crate::client::{LogQuery, Outcome, PATIENCE};
use crate::exit::{CtlError, of_task};
use crate::render::{LogPrinter, LogTarget, outcome};

/// How often a task is looked at whose log cannot be followed.
const POLL: Duration = Duration::from_secs(1);

/// Waits until all elements of all tasks have ended. Returns the exit code: of the first, in their order, that did not
/// succeed. Where nobody can be asked, Ctrl-C cancels: that is what it does to a program that runs here.
pub(super) async fn run(submitted: &[SubmitView], session: &Session<'_>) -> Result<u8, CtlError> {
    let (mut tasks, mut parts) = (Vec::new(), Vec::new());
    for view in submitted {
        let task: TaskRef = view.task_id.parse().map_err(|error| session.client.not_understood(&error))?;
        tasks.push(task);
        let elements = elements(task, view.array.as_deref());
        parts.extend(elements.map_err(|error| session.client.not_understood(&error))?);
    }
    heed_interrupts(see_through(parts, session), &tasks, Wish::Cancel, session).await
}

async fn see_through(elements: Vec<TaskRef>, session: &Session<'_>) -> Result<u8, CtlError> {
    let target = if session.terminal.is_table() { LogTarget::Split } else { LogTarget::Stderr };
    let mut printer = Some(LogPrinter::new(target, session.terminal));
    let mut exit = 0;
    for element in elements {
        let Outcome { state, verdict } = outcome_of(element, &mut printer, session).await?;
        let code = of_task(state, verdict.as_ref());
        if code != 0 {
            session.terminal.note(format!("✗ Task {element} {}", outcome(state, verdict.as_ref())));
        }
        exit = if exit == 0 { code } else { exit };
    }
    Ok(exit)
}

/// Prints the log of one element, if it can be had and is still read, and waits for its end.
async fn outcome_of(
    task: TaskRef,
    printer: &mut Option<LogPrinter<'_>>,
    session: &Session<'_>,
) -> Result<Outcome, CtlError> {
    if let Some(open) = printer {
        match follow(task, LogQuery::all(), open, session).await? {
            Ended::Whole(outcome) => return Ok(outcome),
            Ended::NoLog(error) => session.terminal.warn(format!("{task} has no log: {}", error.message)),
            Ended::Unread => {
                session.terminal.note("the output was closed; still waiting for the end of the task");
                *printer = None;
            }
        }
    }
    poll(task, session).await
}

/// Looks at the task until it has ended, through restarts of the master.
async fn poll(task: TaskRef, session: &Session<'_>) -> Result<Outcome, CtlError> {
    let mut reached = Instant::now();
    loop {
        match session.client.task(task).await {
            Ok(view) if view.state.is_final() => return Ok(Outcome { state: view.state, verdict: view.verdict }),
            Ok(_) => reached = Instant::now(),
            Err(error) if error.is_transient() && reached.elapsed() < PATIENCE => {}
            Err(error) => return Err(error),
        }
        tokio::time::sleep(POLL).await;
    }
}
