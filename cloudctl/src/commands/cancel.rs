//! `cloudctl cancel`

use futures_util::{StreamExt, TryStreamExt, stream};
use shared::error::ErrorCode;
use shared::id::TaskRef;
use shared::task::TaskState;

use super::Session;
use super::each::each;
use super::ids::read_ids;
use crate::args::CancelArgs;
use crate::client::{TaskFilter, with_retries};
use crate::exit::CtlError;
use crate::render::{Done, View};

/// The most that the server lists at once.
const PAGE: u32 = 1000;
/// Cancels on their way at a time.
const AT_ONCE: usize = 8;

/// Cancels each of the tasks. One that fails does not keep the others from being cancelled; the first failure decides
/// the exit code.
pub(super) async fn run(args: &CancelArgs, session: &Session<'_>) -> Result<Done, CtlError> {
    if args.all {
        return all(args, session).await;
    }
    let tasks = read_ids(&args.ids)?;
    let notice = |error: &CtlError| session.terminal.warn(format!("{error}; trying again"));
    let mut each =
        each(&tasks, session, |task| with_retries(notice, move || session.client.cancel(task, args.force))).await?;
    let view = match each.done.pop() {
        Some(only) if tasks.len() == 1 => View::Cancelled(only),
        last => {
            each.done.extend(last);
            View::CancelledAll(each.done)
        }
    };
    Ok(Done { view: Some(view), exit: each.exit })
}

/// Cancels what the filters leave, after asking. What ends by itself in the meantime is no failure.
async fn all(args: &CancelArgs, session: &Session<'_>) -> Result<Done, CtlError> {
    let tasks = find(args, session).await?;
    if tasks.is_empty() {
        session.terminal.note("there is nothing to cancel");
        return Ok(View::CancelledAll(Vec::new()).into());
    }
    let what = match tasks.len() {
        1 => "1 task".to_owned(),
        many => format!("{many} tasks"),
    };
    session.terminal.confirm(&format!("Cancel {what} at {}?", session.client.server()), args.yes)?;
    let cancels = tasks.into_iter().map(|task| async move {
        match with_retries(|_| (), || session.client.cancel(task, args.force)).await {
            Err(CtlError::Api(error)) if error.code == ErrorCode::TaskEnded => Ok(None),
            result => result.map(Some),
        }
    });
    let done: Vec<_> = stream::iter(cancels).buffered(AT_ONCE).try_collect().await?;
    Ok(View::CancelledAll(done.into_iter().flatten().collect()).into())
}

/// Open tasks, as the filters say.
async fn find(args: &CancelArgs, session: &Session<'_>) -> Result<Vec<TaskRef>, CtlError> {
    let open = [TaskState::Queued, TaskState::Pending, TaskState::Running];
    let mut tasks = Vec::new();
    for state in open.into_iter().filter(|state| args.state.is_none_or(|wanted| wanted == *state)) {
        let filter = TaskFilter {
            state: Some(state),
            user: args.user.clone(),
            labels: args.label.clone(),
            ..TaskFilter::default()
        };
        let mut cursor = None;
        loop {
            let page = session.client.tasks(&filter, cursor.as_deref(), PAGE).await?;
            for task in page.tasks {
                let id = task.task_id.parse().map_err(|error| session.client.not_understood(&error))?;
                // It may have gone on to the next state between two lists.
                if !tasks.contains(&id) {
                    tasks.push(id);
                }
            }
            cursor = page.next_cursor;
            if cursor.is_none() {
                break;
            }
        }
    }
    Ok(tasks)
}
