//! Removes what is kept although nothing names it any more. What a crash leaves undone is done at the next start.

use cloudaid_core::files::Leftover;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::files::FileStore;
use super::handle::ClusterHandle;
use super::logs::LogStore;
use crate::failpoint;

/// One after the other: nobody waits for it.
pub(super) async fn run(
    mut gone: mpsc::UnboundedReceiver<Leftover>,
    cluster: ClusterHandle,
    logs: LogStore,
    files: FileStore,
    shutdown: CancellationToken,
) {
    while let Some(Some(leftover)) = shutdown.run_until_cancelled(gone.recv()).await {
        failpoint::hit("master.sweep.before");
        let removed = async {
            if let Leftover::Task(task) = leftover {
                logs.remove(task).await?;
            }
            files.remove(leftover).await
        };
        match removed.await {
            Ok(()) => cluster.swept(leftover).await,
            Err(error) => warn!("What was kept of {leftover}, which was deleted, cannot be removed now: {error}"),
        }
    }
}
