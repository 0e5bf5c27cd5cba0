//! Removes files that have been kept for long enough.

use std::time::Duration;

use cloudaid_core::files::FileUsage;
use shared::error::{ApiError, ErrorCode};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::handle::ClusterHandle;
use super::inputs::Inputs;
use crate::clock::ago;
use crate::config::FileSettings;

/// How often is looked, at the least and at the most. In between: ten times within the shortest retention.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(3600));
/// Tasks at a time.
const TASKS: usize = 1000;

/// Until the end. What cannot be done now is done later.
pub(super) async fn run(cluster: ClusterHandle, inputs: Inputs, settings: FileSettings, shutdown: CancellationToken) {
    // Where all is kept for ever, what is remembered of inputs that were deleted goes too.
    let shortest = settings.retention.into_iter().chain(settings.input_retention).min();
    let mut turns = interval(shortest.map_or(PAUSES.1, |shortest| (shortest / 10).clamp(PAUSES.0, PAUSES.1)));
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while shutdown.run_until_cancelled(turns.tick()).await.is_some() {
        if let Err(error) = turn(&cluster, &inputs, &settings).await {
            warn!("Files that are old enough to go stay for now: {}", error.message);
        }
    }
}

async fn turn(cluster: &ClusterHandle, inputs: &Inputs, settings: &FileSettings) -> Result<(), ApiError> {
    inputs.prune().await?;
    cluster.drop_dead_uploads().await?;
    if let Some(retention) = settings.input_retention {
        cluster.expire_inputs(ago(retention), inputs.open()).await?;
    }
    let Some(retention) = settings.retention else { return Ok(()) };
    loop {
        let tasks = cluster.tasks_with_files(ago(retention), TASKS).await?;
        let mut deleted = FileUsage::default();
        for task in &tasks {
            deleted = deleted.plus(of_known(cluster.delete_files((*task).into(), None).await)?);
        }
        if tasks.len() < TASKS || deleted.files == 0 {
            return Ok(());
        }
    }
}

/// What was deleted: nothing of a task that somebody has deleted meanwhile, with all its files.
fn of_known(deleted: Result<FileUsage, ApiError>) -> Result<FileUsage, ApiError> {
    match deleted {
        Err(error) if error.code == ErrorCode::TaskNotFound => Ok(FileUsage::default()),
        deleted => deleted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_that_is_gone_by_now_does_not_keep_the_files_of_others() {
        let refused = |code| of_known(Err(ApiError::new(code, "no", "")));
        assert_eq!(refused(ErrorCode::TaskNotFound).expect("nothing is left of it"), FileUsage::default());
        assert_eq!(refused(ErrorCode::Unavailable).expect_err("it may be later").code, ErrorCode::Unavailable);
        let some = FileUsage { bytes: 3, files: 1 };
        assert_eq!(of_known(Ok(some)).expect("deleted"), some);
    }
}
