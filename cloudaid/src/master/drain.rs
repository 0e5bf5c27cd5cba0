//! The end of a master that was asked to stop.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::info;

use super::handle::ClusterHandle;

/// Time for the answer to the request to leave.
const ANSWER_GRACE: Duration = Duration::from_millis(100);
/// How often a draining master looks whether anything still runs.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// Stops now, or when no worker holds a run any more.
pub(crate) async fn then_stop(cluster: ClusterHandle, drain: bool, shutdown: CancellationToken) {
    tokio::time::sleep(ANSWER_GRACE).await;
    if drain {
        tokio::select! {
            () = nothing_runs(&cluster) => {}
            () = shutdown.cancelled() => return,
        }
    }
    info!("Shutdown was requested");
    shutdown.cancel();
}

/// Returns when no worker holds a run any more, or nobody can tell.
async fn nothing_runs(cluster: &ClusterHandle) {
    while cluster.live_attempts().await.is_ok_and(|live| live > 0) {
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}
