//! `cloudctl list-tasks`

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp, Zoned};
use shared::time::WallTime;
use shared::view::TaskListView;

use super::Session;
use crate::args::ListTasksArgs;
use crate::client::TaskFilter;
use crate::exit::CtlError;
use crate::render::{Done, View};

/// The most that the server gives at once.
const PAGE: u32 = 1000;

/// As many tasks as were asked for, page by page.
pub(super) async fn run(args: &ListTasksArgs, session: &Session<'_>) -> Result<Done, CtlError> {
    let filter = TaskFilter {
        state: args.filter.or(args.state),
        user: args.user.clone(),
        worker: args.worker.clone(),
        labels: args.label.clone(),
        since: args.since.as_deref().map(|text| parse_since(text, &Zoned::now())).transpose()?,
    };
    let wanted = if args.all { usize::MAX } else { usize::try_from(args.limit).unwrap_or(usize::MAX) };
    let mut list = TaskListView { tasks: Vec::new(), next_cursor: None };
    loop {
        let missing = u32::try_from(wanted - list.tasks.len()).unwrap_or(PAGE).min(PAGE);
        let page = session.client.tasks(&filter, list.next_cursor.as_deref(), missing).await?;
        list.tasks.extend(page.tasks);
        list.tasks.truncate(wanted);
        list.next_cursor = page.next_cursor;
        if list.next_cursor.is_none() || list.tasks.len() >= wanted {
            break;
        }
    }
    if list.next_cursor.is_some() {
        session.terminal.remark(format!("the newest {}; there are more: --all or --limit N", list.tasks.len()));
    }
    Ok(View::Tasks(list).into())
}

/// A point in time, a day, or a span before now; as RFC 3339.
fn parse_since(text: &str, now: &Zoned) -> Result<String, CtlError> {
    let timestamp = || text.parse::<Timestamp>().ok();
    let day = || text.parse::<Date>().ok()?.to_zoned(TimeZone::system()).ok().map(|day| day.timestamp());
    let before = || {
        let span = text.parse::<Span>().ok()?.abs();
        now.checked_sub(span).ok().map(|then| then.timestamp())
    };
    match timestamp().or_else(day).or_else(before) {
        Some(since) => Ok(WallTime(since.as_millisecond()).to_string()),
        None => Err(CtlError::usage(
            format!("--since: `{}` is not a time", text.escape_debug()),
            "give one such as 2026-11-23T17:00:00Z, 2026-11-23, 30m, 2h or 7d",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_understood_as_people_write_them() {
        let now: Zoned = "2026-11-23T12:00:00Z[UTC]".parse().expect("a time");
        for (text, since) in [
            ("2026-11-23T10:00:00Z", "2026-11-23T10:00:00.000Z"),
            ("2026-11-23T10:00:00+02:00", "2026-11-23T08:00:00.000Z"),
            ("30m", "2026-11-23T11:30:00.000Z"),
            ("2h", "2026-11-23T10:00:00.000Z"),
            ("7d", "2026-11-16T12:00:00.000Z"),
        ] {
            assert_eq!(parse_since(text, &now).expect(text), since);
        }
        assert!(parse_since("2026-11-23", &now).is_ok());
        for bad in ["", "yesterday", "5", "2026-13-01"] {
            assert_eq!(parse_since(bad, &now).expect_err(bad).exit(), 2);
        }
    }
}
