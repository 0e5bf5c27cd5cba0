//! `cloudctl monitor`

use super::Session;
use super::follow::{Ended, elements, follow};
use crate::args::MonitorArgs;
use crate::client::Outcome;
use crate::exit::CtlError;
use crate::render::{Done, LogPrinter, LogTarget, outcome};

/// Prints the log until the task ends; of an array, one element after the other.
pub(super) async fn run(args: &MonitorArgs, session: &Session<'_>) -> Result<Done, CtlError> {
    let task = session.client.task(args.id).await?;
    let mut printer = LogPrinter::new(LogTarget::Split, args.raw);
    for element in elements(args.id, task.array.as_deref()).map_err(|error| session.client.not_understood(&error))? {
        match follow(element, args.attempt, &mut printer, session).await? {
            Ended::Task(Outcome { state, verdict }) => {
                session.terminal.remark(format!("{element} {}", outcome(state, verdict.as_ref())));
            }
            Ended::Attempt => {}
            Ended::NoLog(error) => return Err(error.into()),
            Ended::Unread => break,
        }
    }
    Ok(Done::default())
}
