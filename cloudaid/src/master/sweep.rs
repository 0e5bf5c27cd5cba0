//! Removes from disk what tasks left that are no more. What a crash leaves undone is done at the next start.

use shared::id::TaskId;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::files::FileStore;
use super::handle::ClusterHandle;
use super::logs::LogStore;
use crate::failpoint;

/// One task after the other: nobody waits for it.
pub(super) async fn run(
    mut gone: mpsc::UnboundedReceiver<TaskId>,
    cluster: ClusterHandle,
    logs: LogStore,
    files: FileStore,
    shutdown: CancellationToken,
) {
    while let Some(Some(task)) = shutdown.run_until_cancelled(gone.recv()).await {
        failpoint::hit("master.sweep.before");
        let removed = async {
            logs.remove(task).await?;
            files.remove(task).await
        };
        match removed.await {
            Ok(()) => cluster.task_swept(task).await,
            Err(error) => warn!("The logs and files of {task}, which was deleted, cannot be removed now: {error}"),
        }
    }
}
