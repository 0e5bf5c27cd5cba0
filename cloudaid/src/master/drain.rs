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
    while drain {
        match cluster.live_attempts().await {
            Ok(0) | Err(_) => break,
            Ok(live) => tracing::debug!("Draining: {live} attempts still run"),
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK_AGAIN) => {}
            () = shutdown.cancelled() => return,
        }
    }
    info!("Shutdown was requested");
    shutdown.cancel();
}
