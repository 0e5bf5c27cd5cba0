//! Calls over gRPC in the audit log: those that change who belongs to the cluster, and those that are refused for who calls.

use std::net::SocketAddr;
use std::sync::Arc;

use cloudaid_core::audit::{AuditNote, Outcome};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use shared::error::ErrorCode;
use std::num::NonZeroU32;
use ulid::Ulid;

use super::GrpcState;
use super::peer::Peer;
use crate::master::auth::Principal;
use crate::master::call::Call;

/// Refused calls that are noted, per second and at once: whoever makes more of them must not fill the disk with it.
const NOTED_PER_SECOND: NonZeroU32 = NonZeroU32::new(20).unwrap();
const ANNOUNCED_PER_SECOND: NonZeroU32 = NonZeroU32::new(5).unwrap();
const ANNOUNCED_AT_ONCE: NonZeroU32 = NonZeroU32::new(500).unwrap();
const NOTED_AT_ONCE: NonZeroU32 = NonZeroU32::new(1000).unwrap();

/// How many refused calls are noted.
pub(crate) type Refusals = Arc<DefaultDirectRateLimiter>;

/// As many as there may be.
pub(crate) fn refusals() -> Refusals {
    Arc::new(RateLimiter::direct(Quota::per_second(NOTED_PER_SECOND).allow_burst(NOTED_AT_ONCE)))
}

/// As many workers of the first generation as may ask to be let in, per second and at once.
pub(crate) fn announcements() -> Refusals {
    Arc::new(RateLimiter::direct(Quota::per_second(ANNOUNCED_PER_SECOND).allow_burst(ANNOUNCED_AT_ONCE)))
}

/// A call that is to be noted with what it changes.
pub(super) fn call(peer: &Peer, action: &str, object: &str) -> Arc<Call> {
    Call::new(note(Some(peer), peer.address, action, object), true)
}

/// A call of a user. `changes`: it is noted whatever becomes of it.
pub(super) fn user_call(peer: &Peer, principal: &Principal, action: &str, object: &str, changes: bool) -> Arc<Call> {
    let (user, via) = (Some(principal.user.clone()), principal.via.to_string());
    Call::new(AuditNote { user, via, ..note(Some(peer), peer.address, action, object) }, changes)
}

/// Notes that a call was refused, unless there are too many of them. Nobody waits for it.
pub(super) fn refused(state: &GrpcState, peer: &Peer, action: &str, object: &str, code: ErrorCode) {
    enter(state, note(Some(peer), peer.address, action, object), code);
}

/// Notes that a connection was refused for the certificate that was shown on it.
pub(super) fn refused_connection(state: &GrpcState, address: SocketAddr, why: &str) {
    let why: String = why.chars().take(200).collect();
    enter(state, note(None, address, "gRPC connect", &shared::text::printable(&why)), ErrorCode::Unauthenticated);
}

/// Notes a call that was refused as somebody's whom it is known of.
pub(super) fn refused_call(state: &GrpcState, call: &Call, code: ErrorCode) {
    enter(state, call.ended(Outcome::Refused(code)), code);
}

fn enter(state: &GrpcState, note: AuditNote, code: ErrorCode) {
    if state.refusals.check().is_err() {
        tracing::warn!(
            action = note.action,
            object = note.object,
            "Refused; there are too many of these to note them all"
        );
        return;
    }
    let cluster = state.cluster.clone();
    tokio::spawn(async move {
        let note = AuditNote { outcome: Some(Outcome::Refused(code)), ..note };
        if let Err(error) = cluster.note(note).await {
            tracing::debug!(error = %error.message, "a refused call could not be noted");
        }
    });
}

fn note(peer: Option<&Peer>, address: SocketAddr, action: &str, object: &str) -> AuditNote {
    let certified = peer.and_then(|peer| peer.certified.as_ref());
    AuditNote {
        user: None,
        via: certified.map_or_else(|| "none".to_owned(), |certified| format!("worker:{}", certified.worker)),
        address: Some(address.ip().to_canonical()),
        request_id: Ulid::generate().to_string().to_ascii_lowercase(),
        action: action.to_owned(),
        object: object.to_owned(),
        outcome: None,
    }
}
