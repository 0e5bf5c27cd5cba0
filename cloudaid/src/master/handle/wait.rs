//! Waiting for tasks to end.

use std::time::Duration;

use futures_util::future::select_all;
use shared::error::ApiError;
use shared::id::{TaskId, TaskRef};
use shared::view::WaitView;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::ClusterHandle;

impl ClusterHandle {
    /// Returns when all of `tasks` have ended, with `any` when one has, or after `patience`.
    ///
    /// # Errors
    /// One of them does not exist, or the store cannot be read.
    pub async fn wait(&self, tasks: Vec<TaskRef>, any: bool, patience: Duration) -> Result<WaitView, ApiError> {
        let deadline = Instant::now() + patience;
        // Before they are looked at, so that nothing is missed between the two.
        let mut watched: Vec<(TaskId, watch::Receiver<u64>)> = Vec::new();
        for task in &tasks {
            if watched.iter().all(|(id, _)| *id != task.task) {
                watched.push((task.task, self.subscribe(task.task)));
            }
        }
        loop {
            watched.iter_mut().for_each(|(_, changes)| drop(changes.borrow_and_update()));
            let open = self.open_of(tasks.clone()).await?;
            let over = if any { open.len() < tasks.len() } else { open.is_empty() };
            if over || Instant::now() >= deadline || self.shutdown.is_cancelled() {
                return self.waited(tasks, open).await;
            }
            let mut changes: Vec<_> =
                watched.iter_mut().filter(|(id, _)| open.iter().any(|task| task.task == *id)).collect();
            let changed = select_all(changes.iter_mut().map(|(_, changes)| Box::pin(changes.changed())));
            tokio::select! {
                // Whichever it is: all are looked at again.
                _ = timeout_at(deadline, changed) => {}
                () = self.shutdown.cancelled() => {}
            }
        }
    }

    /// Those that have not ended.
    async fn open_of(&self, tasks: Vec<TaskRef>) -> Result<Vec<TaskRef>, ApiError> {
        self.read(move |cluster| tasks.into_iter().filter(|task| cluster.is_open(*task)).collect()).await
    }

    async fn waited(&self, tasks: Vec<TaskRef>, pending: Vec<TaskRef>) -> Result<WaitView, ApiError> {
        let mut ended = Vec::new();
        for task in tasks.into_iter().filter(|task| !pending.contains(task)) {
            ended.push(self.show(task).await?);
        }
        Ok(WaitView { ended, pending })
    }
}
