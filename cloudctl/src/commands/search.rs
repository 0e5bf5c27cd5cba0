//! `cloudctl logs --search`

use bytes::Bytes;
use shared::id::TaskRef;
use shared::view::LogMatchView;

use super::Session;
use crate::args::LogsArgs;
use crate::client::LogSearch;
use crate::exit::CtlError;
use crate::render::{LogPiece, LogPrinter, LogTarget};

/// Prints the lines that match, page after page, element after element.
pub(super) async fn run(
    args: &LogsArgs,
    pattern: &str,
    elements: Vec<TaskRef>,
    stream: Option<&'static str>,
    session: &Session<'_>,
) -> Result<(), CtlError> {
    let (regex, ignore_case) = (args.regex, args.ignore_case);
    let search = LogSearch { pattern: pattern.to_owned(), regex, ignore_case, stream, attempt: args.attempt };
    let prefix = args.prefix || elements.len() > 1;
    let mut printer = LogPrinter::new(LogTarget::Stdout, session.terminal).decorated(args.timestamps, prefix);
    let mut found = false;
    for element in elements {
        printer.begin(element.to_string());
        match print(element, &search, &mut printer, session).await {
            Ok(any) => found |= any,
            // Whoever has read enough wants no more of it.
            Err(CtlError::OutputClosed) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
    if !found {
        session.terminal.note("no line matches");
    }
    Ok(())
}

async fn print(
    element: TaskRef,
    search: &LogSearch,
    printer: &mut LogPrinter<'_>,
    session: &Session<'_>,
) -> Result<bool, CtlError> {
    let (mut cursor, mut found) = (None, false);
    loop {
        let page = session.client.search_log(element, search, cursor.as_deref()).await?;
        for LogMatchView { stream, offset, at, text } in page.matches {
            found = true;
            let (attempt, data) = (page.attempt.unwrap_or_default(), Bytes::from(text + "\n"));
            printer.write(&LogPiece { attempt, stream, offset, time: Some(at), data }).await?;
        }
        cursor = page.next_cursor;
        if cursor.is_none() {
            printer.finish().await?;
            return Ok(found);
        }
    }
}
