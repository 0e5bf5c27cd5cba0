//! `cloudctl logs`

use jiff::Zoned;

use super::follow::{Ended, elements, follow};
use super::since::parse_since;
use super::{Session, search};
use crate::args::{LogsArgs, StreamName};
use crate::client::{Begin, LogQuery};
use crate::exit::CtlError;
use crate::render::{Done, LogPrinter, LogTarget};

/// Prints what was asked for of the log; of an array, one element after the other.
pub(super) async fn run(args: &LogsArgs, session: &Session<'_>) -> Result<Done, CtlError> {
    let begin = match (&args.since, args.tail) {
        (Some(since), _) => Begin::Since(parse_since("--since", since, &Zoned::now())?),
        (None, Some(lines)) => Begin::Tail(lines),
        (None, None) => Begin::Start,
    };
    let stream = args.stream.map(|stream| match stream {
        StreamName::Stdout => "stdout",
        StreamName::Stderr => "stderr",
    });
    let task = session.client.task(args.id).await?;
    let elements = elements(args.id, task.array.as_deref()).map_err(|error| session.client.not_understood(&error))?;
    if let Some(pattern) = &args.search {
        search::run(args, pattern, elements, stream, session).await?;
        return Ok(Done::default());
    }
    // Of a log that is only looked at, the last run is what people mean.
    let only = args.attempt.is_some() || !args.follow;
    let query = LogQuery { attempt: args.attempt, begin, stream, follow: args.follow, only, times: args.timestamps };
    let mut printer = LogPrinter::new(LogTarget::Split, session.terminal).decorated(args.timestamps, args.prefix);
    let several = elements.len() > 1 && !args.prefix;
    for element in elements {
        if several {
            session.terminal.remark(format!("==> {element} <=="));
        }
        match follow(element, query.clone(), &mut printer, session).await? {
            Ended::Whole(_) => {}
            Ended::NoLog(error) => return Err(error.into()),
            Ended::Unread => break,
        }
    }
    Ok(Done::default())
}
