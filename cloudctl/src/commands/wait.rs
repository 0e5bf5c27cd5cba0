//! `--wait`: the log as it comes, Ctrl-C, and the exit code at the end.

use std::pin::pin;
use std::time::{Duration, Instant};

use shared::error::ErrorCode;
use shared::id::{InvalidId, TaskRef};
use shared::view::SubmitView;
use tokio::signal::unix::{SignalKind, signal};

use super::Session;
use super::follow::{Ended, elements, follow};
use crate::args::OutputFormat;
use crate::client::{Outcome, PATIENCE, with_retries};
use crate::exit::{CtlError, of_task};
use crate::render::{LogPrinter, LogTarget, outcome};

/// How often a task is looked at whose log cannot be followed.
const POLL: Duration = Duration::from_secs(1);

/// Waits until all elements have ended. Returns the exit code: of the first element, by its index, that did not succeed.
///
/// The first Ctrl-C cancels the task, the second leaves it to itself.
pub(super) async fn run(submitted: &SubmitView, session: &Session<'_>) -> Result<u8, CtlError> {
    let task: TaskRef = submitted.task_id.parse().map_err(|error| bad_id(session, &error))?;
    let mut interrupts = signal(SignalKind::interrupt()).map_err(CtlError::local("cannot listen to Ctrl-C"))?;
    let elements = elements(task, submitted.array.as_deref()).map_err(|error| session.client.not_understood(&error))?;
    let mut ended = pin!(see_through(elements, session));
    tokio::select! {
        exit = &mut ended => return exit,
        _ = interrupts.recv() => {}
    }
    session.terminal.note(format!("cancelling {task}; Ctrl-C again leaves it to itself"));
    let cancelled = async {
        match with_retries(|_| (), || session.client.cancel(task)).await {
            // It has ended just now: that is what is waited for.
            Err(CtlError::Api(error)) if error.code == ErrorCode::TaskEnded => {}
            Err(error) => session.terminal.warn(format!("cannot cancel {task}: {error}")),
            Ok(_) => {}
        }
    };
    let mut both = pin!(async { tokio::join!(ended, cancelled).0 });
    tokio::select! {
        exit = &mut both => exit,
        _ = interrupts.recv() => {
            session.terminal.note(format!("left {task}; `cloudctl show {task}` says how it went on"));
            Err(CtlError::Interrupted)
        }
    }
}

/// The server's own answer has an id that is none.
pub(super) fn bad_id(session: &Session<'_>, error: &InvalidId) -> CtlError {
    CtlError::Protocol { server: session.client.server().to_owned(), cause: error.to_string() }
}

async fn see_through(elements: Vec<TaskRef>, session: &Session<'_>) -> Result<u8, CtlError> {
    let target = if session.terminal.format == OutputFormat::Table { LogTarget::Split } else { LogTarget::Stderr };
    let mut printer = Some(LogPrinter::new(target, true));
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
    printer: &mut Option<LogPrinter>,
    session: &Session<'_>,
) -> Result<Outcome, CtlError> {
    if let Some(open) = printer {
        match follow(task, None, open, session).await? {
            Ended::Task(outcome) => return Ok(outcome),
            Ended::NoLog(error) => session.terminal.warn(format!("{task} has no log: {}", error.message)),
            Ended::Unread => {
                session.terminal.note("the output was closed; still waiting for the end of the task");
                *printer = None;
            }
            // Only where one run was asked for.
            Ended::Attempt => {}
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
