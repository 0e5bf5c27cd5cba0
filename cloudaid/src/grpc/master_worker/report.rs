//! What a worker of the first generation tells: that it lives, and how a task has ended.

use shared::error::{ApiError, ErrorCode};
use shared::proto::seed::{Ack, Heartbeat, HeartbeatAck, TaskResult};
use tonic::Status;

use super::{dialed, in_words, refused};
use crate::grpc::peer::Peer;
use crate::grpc::{GrpcState, status};

/// Not successful before its master knows what it is.
pub(super) async fn heartbeat(state: &GrpcState, peer: &Peer, heartbeat: Heartbeat) -> Result<HeartbeatAck, Status> {
    let dialed = dialed(state)?;
    let worker = dialed.known(&heartbeat.worker_id, peer.address.ip()).map_err(|error| {
        refused(state, peer, "SendHeartbeat", &heartbeat.worker_id, &error);
        status(&error)
    })?;
    let success = dialed.heartbeat(&worker, heartbeat).await.map_err(|error| status(&error))?;
    Ok(HeartbeatAck { success })
}

/// Successful once it is durable, or if it is only said again.
pub(super) async fn completion(state: &GrpcState, peer: &Peer, result: TaskResult) -> Result<Ack, Status> {
    let object = format!("{} {}", result.worker_id, result.task_id);
    let taken = async {
        let dialed = state.dialed.as_ref().ok_or_else(not_served)?;
        let worker = dialed.known(&result.worker_id, peer.address.ip())?;
        dialed.completed(&worker, result).await
    };
    match taken.await {
        Ok(()) => Ok(Ack { success: true, message: "recorded".to_owned() }),
        Err(error) => {
            refused(state, peer, "ReportTaskCompletion", &object, &error);
            Ok(Ack { success: false, message: in_words(&error) })
        }
    }
}

fn not_served() -> ApiError {
    let hint = "start the master with --allow-plaintext-workers";
    ApiError::new(ErrorCode::PermissionDenied, "workers of the first generation are not served", hint)
}
