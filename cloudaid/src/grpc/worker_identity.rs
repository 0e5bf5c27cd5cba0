//! `cloudai.v1.WorkerIdentity`: how a worker gets and keeps its certificate.

use cloudaid_core::admission::{IdentityId, Joining, Proof};
use shared::error::{ApiError, ErrorCode};
use shared::id::WorkerId;
use shared::proto;
use shared::proto::worker_identity_server::WorkerIdentity;
use tonic::{Request, Response, Status};
use x509_parser::prelude::{FromDer, X509CertificationRequest};

use super::peer::Peer;
use super::{GrpcState, audit, status};
use crate::clock;
use crate::master::join_token::JoinToken;
use crate::tls::authority::{BadRequest, RENEWAL_GRACE};

/// The service.
#[derive(Debug)]
pub(super) struct Service {
    state: GrpcState,
}

impl Service {
    pub(super) fn new(state: GrpcState) -> Self {
        Self { state }
    }

    async fn admit(&self, peer: &Peer, request: proto::JoinRequest) -> Result<proto::Credentials, ApiError> {
        encrypted(peer)?;
        let worker: WorkerId = request.worker_id.parse().map_err(|error| invalid(format!("worker_id: {error}")))?;
        let token: JoinToken = request.token.parse().map_err(|_| invalid(format!("token: {}", JoinToken::FORM)))?;
        let key = public_key(&request.csr)?;
        // It becomes half of a serial number, which is never negative.
        let identity = IdentityId(rand::random_range(1..1 << 63));
        let joining = Joining { token: token.id, digest: token.digest(), worker: worker.clone(), key, identity };
        self.state.cluster.check_join(joining.clone()).await?;
        let identity = self.state.cluster.join_worker(joining).await?;
        self.credentials(&worker, identity.id, &request.csr)
    }

    fn renew_for(&self, peer: &Peer, csr: &[u8]) -> Result<proto::Credentials, ApiError> {
        encrypted(peer)?;
        let hint = "let the worker join: `cloudctl worker-token create`";
        let certified = peer.certified.as_ref().ok_or_else(|| {
            ApiError::new(ErrorCode::Unauthenticated, "this needs the certificate that is to be renewed", hint)
        })?;
        if certified.expires_at + RENEWAL_GRACE < clock::wall() {
            let message = "the certificate ran out too long ago to be renewed";
            return Err(ApiError::new(ErrorCode::Unauthenticated, message, hint));
        }
        self.state.cluster.check_admission(&certified.worker, Proof::Certificate(certified.identity))?;
        self.credentials(&certified.worker, certified.identity, csr)
    }

    fn credentials(&self, worker: &WorkerId, identity: IdentityId, csr: &[u8]) -> Result<proto::Credentials, ApiError> {
        let authority = self.state.tls.authority();
        let issued = authority.issue(csr, worker, identity).map_err(|error| bad_request(&error))?;
        Ok(proto::Credentials {
            cluster_id: authority.cluster().to_string(),
            worker_id: worker.to_string(),
            certificate: issued.certificate.to_vec().into(),
            authorities: authority.believed().into_iter().map(|certificate| certificate.to_vec().into()).collect(),
            renew_at_unix_ms: issued.renew_at.0,
        })
    }
}

#[tonic::async_trait]
impl WorkerIdentity for Service {
    async fn join(&self, request: Request<proto::JoinRequest>) -> Result<Response<proto::Credentials>, Status> {
        const ACTION: &str = "gRPC Join";
        let peer = Peer::of(request.extensions())?;
        let request = request.into_inner();
        let object: String = shared::text::printable(&request.worker_id).chars().take(64).collect();
        let call = audit::call(&peer, ACTION, &object);
        match call.scope(self.admit(&peer, request)).await {
            Ok(credentials) => Ok(Response::new(credentials)),
            Err(error) => {
                // What the cluster has refused is noted already.
                if call.is_to_be_noted() {
                    audit::refused(&self.state, &peer, ACTION, &object, error.code);
                }
                tracing::warn!("Worker {object} at {} may not join: {}", peer.address, error.message);
                Err(status(&error))
            }
        }
    }

    async fn renew(&self, request: Request<proto::RenewRequest>) -> Result<Response<proto::Credentials>, Status> {
        let peer = Peer::of(request.extensions())?;
        self.renew_for(&peer, &request.into_inner().csr).map(Response::new).map_err(|error| {
            let object = peer.certified.as_ref().map(|certified| certified.worker.to_string()).unwrap_or_default();
            audit::refused(&self.state, &peer, "gRPC Renew", &object, error.code);
            status(&error)
        })
    }
}

/// BLAKE3 of the public key of a request.
fn public_key(csr: &[u8]) -> Result<[u8; 32], ApiError> {
    let (_, request) = X509CertificationRequest::from_der(csr).map_err(|_| bad_request(&BadRequest))?;
    Ok(blake3::hash(request.certification_request_info.subject_pki.raw).into())
}

fn encrypted(peer: &Peer) -> Result<(), ApiError> {
    if peer.is_encrypted {
        return Ok(());
    }
    let hint = "give the worker a --join token: it brings what is needed for TLS";
    Err(ApiError::new(ErrorCode::Unauthenticated, "this is done over TLS only", hint))
}

fn invalid(message: String) -> ApiError {
    ApiError::new(ErrorCode::InvalidArgument, message, "use `cloudaid worker --join TOKEN`, which knows how to ask")
}

fn bad_request(error: &BadRequest) -> ApiError {
    invalid(format!("csr: {error}"))
}
