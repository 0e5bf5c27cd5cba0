//! `cloudctl list-tasks`

use jiff::Zoned;
use shared::view::TaskListView;

use super::Session;
use super::since::parse_since;
use crate::args::ListTasksArgs;
use crate::client::TaskFilter;
use crate::exit::CtlError;
use crate::render::{Done, View};

/// The most that the server gives at once.
const PAGE: u32 = 1000;

/// As many tasks as were asked for. Each page is written before the next one is asked for.
pub(super) async fn run(args: &ListTasksArgs, session: &Session<'_>) -> Result<Done, CtlError> {
    let filter = TaskFilter {
        state: args.filter.or(args.state),
        user: args.user.clone(),
        worker: args.worker.clone(),
        labels: args.label.clone(),
        since: args.since.as_deref().map(|text| parse_since("--since", text, &Zoned::now())).transpose()?,
        until: args.until.as_deref().map(|text| parse_since("--until", text, &Zoned::now())).transpose()?,
    };
    let rest = |next_cursor: Option<String>| View::Tasks(TaskListView { tasks: Vec::new(), next_cursor });
    let mut listing = session.terminal.listing();
    let mut missing = if args.all { u64::MAX } else { u64::from(args.limit) };
    let mut cursor: Option<String> = None;
    let mut shown: u64 = 0;
    loop {
        let limit = u32::try_from(missing).unwrap_or(PAGE).min(PAGE);
        let page = session.client.tasks(&filter, cursor.as_deref(), limit).await?;
        let count = page.tasks.len() as u64;
        (missing, shown) = (missing.saturating_sub(count), shown + count);
        cursor.clone_from(&page.next_cursor);
        listing.page(&View::Tasks(page), &rest(None))?;
        if cursor.is_none() || missing == 0 {
            break;
        }
    }
    if cursor.is_some() {
        session.terminal.remark(format!("the newest {shown}; there are more: --all or --limit N"));
    }
    listing.finish(&rest(cursor))?;
    Ok(Done::default())
}
