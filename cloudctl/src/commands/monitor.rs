//! `cloudctl monitor`

use super::Session;
use super::follow::{Ended, elements, follow};
use super::until_key::until_key;
use crate::args::MonitorArgs;
use crate::client::{LogQuery, Outcome};
use crate::exit::CtlError;
use crate::render::{Done, LogPrinter, LogTarget, outcome};

/// Prints the log until the task ends, or until a key is pressed; of an array, one element after the other.
pub(super) async fn run(args: &MonitorArgs, session: &Session<'_>) -> Result<Done, CtlError> {
    let task = session.client.task(args.id).await?;
    let elements = elements(args.id, task.array.as_deref()).map_err(|error| session.client.not_understood(&error))?;
    if !task.state.is_final() && session.terminal.style.terminal {
        session.terminal.remark("any key ends this; the task goes on");
    }
    let query = LogQuery { attempt: args.attempt, only: args.attempt.is_some(), ..LogQuery::all() };
    let stream = async {
        let mut printer = LogPrinter::new(LogTarget::Split, session.terminal);
        for element in elements {
            match follow(element, query.clone(), &mut printer, session).await? {
                Ended::Whole(Outcome { state, verdict }) => {
                    session.terminal.remark(format!("{element} {}", outcome(state, verdict.as_ref())));
                }
                Ended::NoLog(error) => return Err(error.into()),
                Ended::Unread => break,
            }
        }
        Ok(())
    };
    until_key(session.terminal, stream).await?;
    Ok(Done::default())
}
