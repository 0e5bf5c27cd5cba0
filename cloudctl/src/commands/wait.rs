//! `cloudctl wait`

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::select_all;
use shared::error::exit;
use shared::id::{ElementId, TaskRef};
use shared::task::TaskState;
use shared::view::{TaskView, WAIT_TASKS_LIMIT, WaitRequest, WaitView};
use tokio::time::{Instant, sleep, timeout_at};

use super::Session;
use super::ids::read_ids;
use super::interrupt::{Wish, heed_interrupts};
use crate::args::WaitArgs;
use crate::client::PATIENCE;
use crate::exit::{CtlError, of_task};
use crate::render::{Done, Format, View, WaitedView};

/// The longest that one request waits. Short enough for proxies.
const ROUND: Duration = Duration::from_secs(30);
/// How long to look once more when the time is over.
const LAST_LOOK: Duration = Duration::from_secs(2);
/// Between two tries to reach a master that went away.
const PAUSE: Duration = Duration::from_secs(1);

/// Waits for all of them, or for the first. Leaves them alone on Ctrl-C where nobody can be asked: others may wait for
/// them too.
pub(super) async fn run(args: &WaitArgs, session: &Session<'_>) -> Result<Done, CtlError> {
    let tasks = read_ids(&args.ids)?;
    let mut waiter = Waiter { any: args.any, pending: tasks.clone(), ended: BTreeMap::new(), session };
    let deadline = args.timeout.map(|timeout| Instant::now() + timeout);
    let finished = if session.terminal.can_ask() {
        heed_interrupts(waiter.run(deadline), &tasks, Wish::Detach, session).await?
    } else {
        waiter.run(deadline).await?
    };
    let Waiter { mut ended, pending, .. } = waiter;
    let ended: Vec<(TaskRef, TaskView)> = tasks.iter().filter_map(|task| Some((*task, ended.remove(task)?))).collect();
    let mut codes = Vec::new();
    for (task, view) in &ended {
        codes.push(exit_of(*task, view, session).await?);
        if args.any {
            break;
        }
    }
    let mut exit = codes.into_iter().find(|code| *code != 0).unwrap_or(0);
    if !finished {
        session.terminal.warn(format!(
            "{} of {} tasks had not ended when the time was over",
            pending.len(),
            tasks.len()
        ));
        exit = exit::TEMPORARY;
    }
    let view = WaitedView { ended: ended.into_iter().map(|(_, view)| view).collect(), pending, timed_out: !finished };
    // As lines of JSON they were told when they ended.
    let view = (!matches!(session.terminal.format, Format::Jsonl)).then_some(View::Waited(view));
    Ok(Done { view, exit })
}

struct Waiter<'a> {
    any: bool,
    /// In the order in which they were named.
    pending: Vec<TaskRef>,
    ended: BTreeMap<TaskRef, TaskView>,
    session: &'a Session<'a>,
}

impl Waiter<'_> {
    /// Returns whether what was waited for has come, or else the time was over.
    async fn run(&mut self, deadline: Option<Instant>) -> Result<bool, CtlError> {
        let mut reached = Instant::now();
        loop {
            let over = if self.any { !self.ended.is_empty() } else { self.pending.is_empty() };
            if over || (self.pending.is_empty() && self.ended.is_empty()) {
                return Ok(true);
            }
            let round = self.round(deadline.map(|deadline| deadline.saturating_duration_since(Instant::now())));
            let result = match deadline {
                None => round.await,
                Some(deadline) => match timeout_at(deadline, round).await {
                    Ok(result) => result,
                    Err(_) => return self.last_look().await,
                },
            };
            match result {
                Ok(view) => {
                    reached = Instant::now();
                    self.take(view)?;
                }
                Err(error) if error.is_transient() && reached.elapsed() < PATIENCE => {
                    self.session.terminal.remark(format!("{error}; trying again for 5 minutes"));
                    sleep(PAUSE).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// One request, or as many at once as there have to be to wait for the first of very many.
    async fn round(&self, left: Option<Duration>) -> Result<WaitView, CtlError> {
        let whole = left.unwrap_or(ROUND).min(ROUND);
        let seconds = whole.as_secs() + u64::from(whole.subsec_nanos() > 0);
        // As lines of JSON each is told when it ends.
        let any = self.any || matches!(self.session.terminal.format, Format::Jsonl);
        let request = |tasks: &[TaskRef]| WaitRequest { tasks: tasks.to_vec(), any, timeout_seconds: Some(seconds) };
        if !any || self.pending.len() <= WAIT_TASKS_LIMIT {
            let some = &self.pending[..self.pending.len().min(WAIT_TASKS_LIMIT)];
            return self.session.client.wait(&request(some)).await;
        }
        let requests = self.pending.chunks(WAIT_TASKS_LIMIT).map(|tasks| {
            let request = request(tasks);
            Box::pin(async move { self.session.client.wait(&request).await })
        });
        select_all(requests).await.0
    }

    /// The time is over: what has ended by now counts. A master that cannot be asked is a failure of another kind: nothing
    /// is known of the tasks.
    async fn last_look(&mut self) -> Result<bool, CtlError> {
        let pending = self.pending.clone();
        let until = Instant::now() + LAST_LOOK;
        for tasks in pending.chunks(WAIT_TASKS_LIMIT) {
            let request = WaitRequest { tasks: tasks.to_vec(), any: false, timeout_seconds: Some(0) };
            match timeout_at(until, self.session.client.wait(&request)).await {
                Ok(view) => self.take(view?)?,
                // There are too many to look at all of them in that time.
                Err(_) => break,
            }
        }
        Ok(if self.any { !self.ended.is_empty() } else { self.pending.is_empty() })
    }

    fn take(&mut self, view: WaitView) -> Result<(), CtlError> {
        for task in view.ended {
            let id = task.task_id.parse().map_err(|error| self.session.client.not_understood(&error))?;
            if matches!(self.session.terminal.format, Format::Jsonl) {
                self.session.terminal.event("task", &task)?;
            }
            self.ended.insert(id, task);
        }
        self.pending.retain(|task| !self.ended.contains_key(task));
        Ok(())
    }
}

/// The exit code of a task; of an array, that of the first element that did not succeed.
async fn exit_of(task: TaskRef, view: &TaskView, session: &Session<'_>) -> Result<u8, CtlError> {
    let failed = view.groups.iter().find(|group| group.state != TaskState::Completed);
    let Some(group) = failed else { return Ok(of_task(view.state, view.verdict.as_ref())) };
    if group.verdict.is_some() || group.state != TaskState::Failed {
        return Ok(of_task(group.state, group.verdict.as_ref()));
    }
    // Of very many failures only the kinds come with the array.
    let element = session.client.task(ElementId { task: task.task, index: group.first }.into()).await?;
    Ok(of_task(element.state, element.verdict.as_ref()))
}
