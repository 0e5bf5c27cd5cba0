//! `cloudctl list-tasks`

use jiff::Zoned;
use shared::view::TaskListView;

use super::Session;
use super::pages::{self, Page};
use super::since::parse_since;
use crate::args::ListTasksArgs;
use crate::client::TaskFilter;
use crate::exit::CtlError;
use crate::render::{Done, View};

/// As many tasks as were asked for.
pub(super) async fn run(args: &ListTasksArgs, session: &Session<'_>) -> Result<Done, CtlError> {
    let filter = TaskFilter {
        state: args.filter.or(args.state),
        user: args.user.clone(),
        worker: args.worker.clone(),
        labels: args.label.clone(),
        since: args.since.as_deref().map(|text| parse_since("--since", text, &Zoned::now())).transpose()?,
        until: args.until.as_deref().map(|text| parse_since("--until", text, &Zoned::now())).transpose()?,
    };
    let ask = async |cursor: Option<&str>, limit| {
        let page = session.client.tasks(&filter, cursor, limit).await?;
        let next_cursor = page.next_cursor.clone();
        let rest = View::Tasks(TaskListView { tasks: Vec::new(), next_cursor: next_cursor.clone() });
        Ok(Page { rows: page.tasks.len(), view: View::Tasks(page), rest, next_cursor })
    };
    let more = |shown| format!("the newest {shown}; there are more: --all or --limit N");
    pages::print(session, (!args.all).then_some(args.limit), ask, more).await
}
