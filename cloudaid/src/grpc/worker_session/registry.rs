//! What a worker pulls a private image with.

use shared::proto;
use tonic::Status;

use super::{Caller, live};
use crate::grpc::{GrpcState, status};

/// Only for an attempt that is live on this worker, and only for the registry of its image.
pub(super) async fn describe(
    state: &GrpcState,
    caller: &Caller,
    attempt: proto::Attempt,
) -> Result<proto::RegistryLogin, Status> {
    let key = live::check(state, caller, attempt, "DescribeRegistry")?;
    let record = state.cluster.registry_of(key.task).await.map_err(|error| status(&error))?;
    let record = record.ok_or_else(|| Status::not_found("the registry of its image knows nobody any more"))?;
    let login = state.api.seal.unseal(&record.registry, &record.username, &record.sealed).map_err(|error| {
        tracing::error!("{}: {error}", record.registry);
        Status::data_loss(format!("{}: {error}", record.registry))
    })?;
    Ok(login.into())
}
