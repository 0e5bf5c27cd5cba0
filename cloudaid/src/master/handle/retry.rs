//! Running elements of a task again: what has ended stays as it is, and a new submission runs them once more.

use std::sync::Arc;

use cloudaid_core::input::Submission;
use cloudaid_core::record::IdempotencyKey;
use shared::array::Array;
use shared::error::{ApiError, ErrorCode};
use shared::id::{TaskId, TaskRef};
use shared::task::TaskState;
use shared::view::SubmitView;
use ulid::Ulid;

use super::{ClusterHandle, elements, internal};

impl ClusterHandle {
    /// Submits the elements anew that failed or were cancelled, or with `all` all that have ended, for the same user and
    /// with the same specification.
    ///
    /// # Errors
    /// Not found, or there is nothing to run again.
    pub async fn retry(&self, task: TaskRef, all: bool, key: Option<IdempotencyKey>) -> Result<SubmitView, ApiError> {
        let alike = self.alike(task).await?;
        let record = self.stored(task).await?.record;
        let mut indices = record.indices().emptied();
        for index in alike.iter().filter(|alike| wanted(alike.state, all)).flat_map(|alike| alike.indices.iter()) {
            indices.insert(index);
        }
        if indices.is_empty() {
            return Err(nothing(task, elements::tally(&alike).summary()));
        }
        let array = record.array.as_ref().map(|array| Arc::new(Array { indices, limit: array.limit }));
        let submission = Submission {
            id: TaskId(Ulid::generate()),
            user: record.user.clone(),
            spec: Arc::clone(&record.spec),
            array,
            retry_of: Some(record.id),
            key,
        };
        self.submit(vec![submission]).await.pop().unwrap_or_else(|| Err(internal("a retry got no answer")))
    }
}

fn wanted(state: TaskState, all: bool) -> bool {
    match state {
        TaskState::Failed | TaskState::Cancelled => true,
        TaskState::Completed => all,
        TaskState::Queued | TaskState::Pending | TaskState::Running => false,
    }
}

fn nothing(task: TaskRef, state: TaskState) -> ApiError {
    let (message, hint) = match state {
        TaskState::Completed => (
            format!("nothing of {task} failed, so there is nothing to run again"),
            format!("`cloudctl retry --all {task}` runs also again what succeeded"),
        ),
        _ => (
            format!("{task} has not ended: it is {state}"),
            format!("wait for it with `cloudctl wait {task}`, or cancel it first"),
        ),
    };
    ApiError::new(ErrorCode::Conflict, message, hint)
}
