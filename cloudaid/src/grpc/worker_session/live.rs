//! The attempt that a call is about.

use shared::error::ErrorCode;
use shared::id::AttemptKey;
use shared::proto;
use tonic::Status;

use super::Caller;
use crate::grpc::{GrpcState, audit, status};

/// Which one that is.
pub(super) fn parse(attempt: proto::Attempt) -> Result<AttemptKey, Status> {
    AttemptKey::try_from(attempt).map_err(|error| Status::invalid_argument(error.to_string()))
}

/// The same, if it is live on the worker that calls; a refusal of `method` is noted.
pub(super) fn check(
    state: &GrpcState,
    caller: &Caller,
    attempt: proto::Attempt,
    method: &str,
) -> Result<AttemptKey, Status> {
    let key = parse(attempt)?;
    state.cluster.live().check(key, &caller.worker).map_err(|error| {
        if error.code == ErrorCode::Unavailable {
            return status(&error);
        }
        audit::refused(state, &caller.peer, &format!("gRPC {method}"), &key.to_string(), error.code);
        Status::failed_precondition(error.message)
    })?;
    Ok(key)
}
