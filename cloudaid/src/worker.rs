//! Runs tasks on one machine.

use tokio_util::sync::CancellationToken;

use crate::config::WorkerConfig;

/// Why a worker stopped.
#[derive(Debug, thiserror::Error)]
#[error("the worker stopped")]
pub struct WorkerError;

impl WorkerError {
    /// For the process.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        1
    }

    /// What to do next.
    #[must_use]
    pub fn hint(&self) -> String {
        "read the log".to_owned()
    }
}

/// Runs until `shutdown`.
///
/// # Errors
/// It stopped for another reason.
pub async fn run(_config: WorkerConfig, shutdown: CancellationToken) -> Result<(), WorkerError> {
    shutdown.cancelled().await;
    Ok(())
}
