//! A worker of the first generation says that it is there: because the master has dialled it, or by itself.

use std::net::SocketAddr;

use cloudaid_core::admission::PendingRecord;
use shared::error::{ApiError, ErrorCode};
use shared::id::WorkerId;
use shared::proto::seed::{RegisterAck, WorkerInfo};
use tonic::Status;

use super::{dialed, in_words, refused};
use crate::clock;
use crate::grpc::peer::Peer;
use crate::grpc::{GrpcState, audit};
use crate::master::handle::admission::Announced;
use crate::master::links::dialed::capacity_of;

/// Where workers of the first generation listen if they do not say.
const WORKER_PORT: u16 = 50_052;
const METHOD: &str = "RegisterWorker";

pub(super) async fn register(state: &GrpcState, peer: &Peer, info: WorkerInfo) -> Result<RegisterAck, Status> {
    let dialed = dialed(state)?;
    let object: String = shared::text::printable(&info.worker_id).chars().take(64).collect();
    // Only where it is let in by this call something is done that is to be noted; else only that it was refused.
    let call = audit::call(peer, &format!("gRPC {METHOD}"), &object);
    let announced = async {
        let (asking, capacity) = asking(peer, &info)?;
        let worker = asking.worker.clone();
        let is_new = state.cluster.admissions().address(&worker).is_none();
        if is_new && state.announcements.check().is_err() {
            let hint = "it is asked again in a while";
            return Err(ApiError::new(ErrorCode::ResourceExhausted, "too many workers come at once", hint));
        }
        let announced = state.cluster.worker_announced(asking, state.open_admission);
        let announced = match is_new && state.open_admission {
            true => call.scope(announced).await,
            false => announced.await,
        };
        match announced? {
            Announced::Admitted(_) => {
                dialed.registered(&worker, capacity).await?;
                Ok(format!("{worker} belongs to the cluster"))
            }
            Announced::Waits => {
                let hint = format!("an admin has to let it in: `cloudctl approve {worker}`");
                Err(ApiError::new(ErrorCode::PermissionDenied, format!("{worker} is not registered"), hint))
            }
        }
    };
    match announced.await {
        Ok(message) => Ok(RegisterAck { success: true, message }),
        Err(error) => {
            // What the cluster itself has answered is noted already.
            if call.is_to_be_noted() {
                refused(state, peer, METHOD, &object, &error);
            }
            Ok(RegisterAck { success: false, message: in_words(&error) })
        }
    }
}

fn asking(peer: &Peer, info: &WorkerInfo) -> Result<(PendingRecord, shared::resources::Resources), ApiError> {
    let invalid = |message: String| ApiError::new(ErrorCode::InvalidArgument, message, "see to what the worker sends");
    let worker: WorkerId = info.worker_id.parse().map_err(|error| invalid(format!("worker_id: {error}")))?;
    let capacity = capacity_of(info).map_err(|error| invalid(error.to_string()))?;
    let address = listens_at(peer, &info.worker_ip);
    Ok((PendingRecord { worker, address, capacity, since: clock::wall() }, capacity))
}

/// Where it would be dialled: at the address that it calls from, whatever it says, and at the port that it says.
fn listens_at(peer: &Peer, said: &str) -> SocketAddr {
    let port = said.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).filter(|port| *port != 0);
    SocketAddr::new(peer.address.ip().to_canonical(), port.unwrap_or(WORKER_PORT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_port_is_believed() {
        let peer = Peer {
            address: "[::ffff:10.0.0.7]:40000".parse().expect("an address"),
            is_encrypted: false,
            certified: None,
            is_expired: false,
            stranger: None,
        };
        for (said, at) in [
            ("", "10.0.0.7:50052"),
            ("10.0.0.7", "10.0.0.7:50052"),
            ("10.0.0.9:6000", "10.0.0.7:6000"),
            ("w1:0", "10.0.0.7:50052"),
            ("w1:x", "10.0.0.7:50052"),
        ] {
            assert_eq!(listens_at(&peer, said), at.parse().expect("an address"), "{said}");
        }
    }
}
