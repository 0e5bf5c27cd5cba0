//! What a worker pulls a private image with.

use shared::error::ErrorCode;
use shared::id::AttemptKey;
use shared::proto;
use tonic::Status;

use super::Caller;
use crate::grpc::{GrpcState, audit, status};

/// Only for an attempt that is live on this worker, and only for the registry of its image.
pub(super) async fn describe(
    state: &GrpcState,
    caller: &Caller,
    attempt: proto::Attempt,
) -> Result<proto::RegistryLogin, Status> {
    let key = AttemptKey::try_from(attempt).map_err(|error| Status::invalid_argument(error.to_string()))?;
    state.cluster.live().check(key, &caller.worker).map_err(|error| {
        if error.code == ErrorCode::Unavailable {
            return status(&error);
        }
        audit::refused(state, &caller.peer, "gRPC DescribeRegistry", &key.to_string(), error.code);
        Status::failed_precondition(error.message)
    })?;
    let record = state.cluster.registry_of(key.task).await.map_err(|error| status(&error))?;
    let record = record.ok_or_else(|| Status::not_found("the registry of its image knows nobody any more"))?;
    let login = state.api.seal.unseal(&record.registry, &record.username, &record.sealed).map_err(|error| {
        tracing::error!("{}: {error}", record.registry);
        Status::data_loss(format!("{}: {error}", record.registry))
    })?;
    Ok(login.into())
}
