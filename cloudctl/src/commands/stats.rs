//! `cloudctl stats`

use std::collections::BTreeMap;

use shared::error::{ApiError, ErrorCode};
use shared::id::{TaskRef, WorkerId};
use shared::view::TaskView;

use super::Session;
use crate::args::StatsArgs;
use crate::exit::CtlError;
use crate::render::{Done, StatsView, View};

/// The most tasks that are looked up by name.
const TASKS_LIMIT: usize = 50;

/// One worker, and the tasks of which it runs something.
pub(super) async fn run(args: &StatsArgs, session: &Session<'_>) -> Result<Done, CtlError> {
    let name: WorkerId = args.worker.parse().map_err(|error: shared::id::InvalidId| {
        CtlError::usage(error.to_string(), "`cloudctl workers` lists the workers")
    })?;
    let worker = session.client.worker(name.as_str()).await?;
    let mut tasks: BTreeMap<TaskRef, TaskView> = BTreeMap::new();
    for element in &worker.running_tasks {
        let element: TaskRef = element.parse().map_err(|error| session.client.not_understood(&error))?;
        let task = TaskRef::from(element.task);
        if tasks.len() >= TASKS_LIMIT || tasks.contains_key(&task) {
            continue;
        }
        match session.client.task(task).await {
            Ok(view) => drop(tasks.insert(task, view)),
            // Of others: that it runs here is no secret, what it is, is.
            Err(CtlError::Api(ApiError { code: ErrorCode::TaskNotFound, .. })) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(View::Stats(Box::new(StatsView { worker, tasks: tasks.into_values().rev().collect() })).into())
}
