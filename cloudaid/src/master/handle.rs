//! The one door to the cluster: everything that HTTP and gRPC do goes through here.

use std::sync::Arc;

use cloudaid_core::input::Submission;
use cloudaid_core::record::UserRecord;
use shared::error::{ApiError, ErrorCode};
use shared::id::{TaskId, TaskRef, UserName, WorkerId};
use shared::view::{
    CancelView, QueueView, ShutdownView, StatusView, SubmitView, TaskListView, TaskView, WhyView, WorkerListView,
    WorkerView,
};

use crate::store::{StoredFile, TaskQuery};

/// Cheap to clone.
#[derive(Debug, Clone)]
pub struct ClusterHandle {
    inner: Arc<()>,
}

fn skeleton<T>() -> Result<T, ApiError> {
    Err(ApiError::new(ErrorCode::Internal, "", ""))
}

impl ClusterHandle {
    /// A handle with no cluster behind it: every call fails.
    #[cfg(test)]
    pub(crate) fn detached() -> Self {
        Self { inner: Arc::new(()) }
    }
    /// A number that changes whenever anything of the task changes.
    pub fn subscribe(&self, _task: TaskId) -> tokio::sync::watch::Receiver<u64> {
        tokio::sync::watch::Sender::new(0).subscribe()
    }
    /// Each is durable when its answer is there; one answer per submission, in their order.
    pub async fn submit(&self, submissions: Vec<Submission>) -> Vec<Result<SubmitView, ApiError>> {
        submissions.iter().map(|_| skeleton()).collect()
    }
    /// Cancels a task or one element.
    pub async fn cancel(&self, _task: TaskRef) -> Result<CancelView, ApiError> {
        skeleton()
    }
    /// Why it waits.
    pub async fn why(&self, _task: TaskRef) -> Result<WhyView, ApiError> {
        skeleton()
    }
    /// One task, with its attempts.
    pub async fn task(&self, _task: TaskRef) -> Result<TaskView, ApiError> {
        skeleton()
    }
    /// A page.
    pub async fn list_tasks(&self, _query: TaskQuery) -> Result<TaskListView, ApiError> {
        skeleton()
    }
    /// Output files; TaskNotFound if there is no such task.
    pub async fn files(&self, _task: TaskRef) -> Result<Vec<StoredFile>, ApiError> {
        skeleton()
    }
    /// All workers.
    pub async fn workers(&self) -> Result<WorkerListView, ApiError> {
        skeleton()
    }
    /// One worker.
    pub async fn worker(&self, _worker: WorkerId) -> Result<WorkerView, ApiError> {
        skeleton()
    }
    /// The first `limit` rows.
    pub async fn queue(&self, _limit: usize) -> Result<QueueView, ApiError> {
        skeleton()
    }
    /// The cluster in numbers.
    pub async fn status(&self) -> Result<StatusView, ApiError> {
        skeleton()
    }
    /// Begins to stop.
    pub async fn shutdown(&self, _drain: bool) -> Result<ShutdownView, ApiError> {
        skeleton()
    }
    /// An account.
    pub async fn find_user(&self, _name: UserName) -> Result<Option<UserRecord>, ApiError> {
        skeleton()
    }
    /// Whether there is any account yet.
    pub async fn has_users(&self) -> Result<bool, ApiError> {
        skeleton()
    }
    /// Makes the first account; Conflict if there is one already.
    pub async fn create_first_user(&self, _user: UserRecord) -> Result<(), ApiError> {
        skeleton()
    }
}
