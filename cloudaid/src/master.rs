//! The control plane.

use std::net::SocketAddr;
use std::path::PathBuf;

use shared::id::UserName;
use shared::time::WallTime;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::config::MasterConfig;

/// What a master says of itself once both ports are open.
#[derive(Debug, Clone)]
pub struct Started {
    /// Where the admin API listens.
    pub http: SocketAddr,
    /// Where workers connect.
    pub grpc: SocketAddr,
    /// What a worker needs to join.
    pub worker_token_file: PathBuf,
    /// Makes the first account, if there is none yet.
    pub setup_token: Option<String>,
    /// Set if [`MasterConfig::bootstrap_admin`] was.
    pub admin: Option<AdminLogin>,
}

/// A login that the master made for the person at this machine.
#[derive(Debug, Clone)]
pub struct AdminLogin {
    /// Whose.
    pub username: UserName,
    /// A bearer token.
    pub token: String,
    /// Its end.
    pub expires_at: WallTime,
}

/// Why a master stopped.
#[derive(Debug, thiserror::Error)]
#[error("the master stopped")]
pub struct MasterError;

impl MasterError {
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
pub async fn run(
    config: MasterConfig,
    started: oneshot::Sender<Started>,
    shutdown: CancellationToken,
) -> Result<(), MasterError> {
    let (http, grpc) = (config.http, config.grpc);
    let worker_token_file = config.data_dir.join("worker.token");
    let _ = started.send(Started { http, grpc, worker_token_file, setup_token: None, admin: None });
    shutdown.cancelled().await;
    Ok(())
}
