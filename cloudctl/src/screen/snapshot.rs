//! The cluster at one moment.

use shared::task::TaskState;
use shared::view::{QueueView, StatusView, TaskView, WorkerView};

use crate::client::{Client, TaskFilter};
use crate::exit::CtlError;

/// Rows of the queue; no screen has more.
const QUEUE: u32 = 100;
/// The most running tasks that are asked for: more than a screen has lines.
const RUNNING: u32 = 200;

/// What is shown.
#[derive(Debug)]
pub(crate) struct Snapshot {
    /// In numbers.
    pub(crate) status: StatusView,
    /// By name.
    pub(crate) workers: Vec<WorkerView>,
    /// The head of it.
    pub(crate) queue: QueueView,
    /// The newest.
    pub(crate) running: Vec<TaskView>,
}

impl Snapshot {
    /// Asks the master for all of it at once.
    pub(crate) async fn take(client: &Client) -> Result<Self, CtlError> {
        let filter = TaskFilter { state: Some(TaskState::Running), ..TaskFilter::default() };
        let (status, workers, queue, running) = tokio::try_join!(
            client.status(),
            client.workers(),
            client.queue(QUEUE),
            client.tasks(&filter, None, RUNNING)
        )?;
        Ok(Self { status, workers: workers.workers, queue, running: running.tasks })
    }
}
