//! Which workers belong to the cluster, and what each proves itself with.
//!
//! A worker that has a certificate is known by the identity that stands in it. The list of identities here is what counts:
//! a certificate whose identity is not that of its worker is worth nothing, however well it is signed, so taking a worker
//! out of the list is all that revoking needs.

use std::net::SocketAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use shared::id::{TokenId, UserName, WorkerId};
use shared::resources::Resources;
use shared::time::WallTime;
use shared::view::{PendingWorkerView, WorkerTokenView};
use shared::worker::WorkerProtocol;

/// The label that a join token may give.
pub const POOL: &str = "pool";
/// Join tokens that can still be used, at a time.
pub const JOIN_TOKENS_LIMIT: usize = 1000;
/// Workers that wait to be let in. They ask without any proof, so there must be an end to it.
pub const PENDING_LIMIT: usize = 256;
/// Of those at one address, so that nobody takes all the places.
pub const PENDING_PER_ADDRESS: usize = 16;
/// Workers that may let themselves in, where that is allowed.
pub const OPEN_LIMIT: usize = 10_000;

/// Names what a worker got when it joined. Random, so that nobody who joins later has it by chance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct IdentityId(pub u64);

/// What a worker proves itself with.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Admission {
    /// Nothing: it is known from a time without certificates, and has to join.
    #[default]
    None,
    /// A certificate of the cluster's own authority.
    Certificate(Identity),
    /// That it is at this address, where the master dials it.
    Dialed(SocketAddr),
}

impl Admission {
    /// How it and the master talk.
    #[must_use]
    pub fn protocol(&self) -> WorkerProtocol {
        match self {
            Self::None | Self::Certificate(_) => WorkerProtocol::Session,
            Self::Dialed(_) => WorkerProtocol::Seed,
        }
    }

    /// Whether it may be served over a connection on which it has proved `proof`.
    #[must_use]
    pub fn is_proved_by(&self, proof: Proof) -> bool {
        match (self, proof) {
            (Self::Certificate(identity), Proof::Certificate(id)) => identity.id == id,
            (Self::Dialed(address), Proof::Dialed(dialed)) => *address == dialed,
            (Self::None | Self::Certificate(_) | Self::Dialed(_), _) => false,
        }
    }
}

/// What a worker got when it joined.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// In every certificate of it.
    pub id: IdentityId,
    /// The label `pool` that it has, whatever it says itself.
    pub pool: Option<Arc<str>>,
    /// With which token it joined.
    pub token: TokenId,
    /// BLAKE3 of the public key that it joined with: whoever repeats the call because the answer was lost has the same.
    pub key: [u8; 32],
    /// When.
    pub joined_at: WallTime,
}

/// What a connection has proved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// The private key of a certificate with this identity.
    Certificate(IdentityId),
    /// That it is the master who has dialled this address.
    Dialed(SocketAddr),
}

/// What lets workers join.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinTokenRecord {
    /// Names it.
    pub id: TokenId,
    /// BLAKE3 of its secret, which has 256 random bits: nothing slower is needed.
    pub digest: [u8; 32],
    /// The one worker that it is for.
    pub name: Option<WorkerId>,
    /// The label `pool` of its workers.
    pub pool: Option<Arc<str>>,
    /// How many can still join with it.
    pub uses_left: u32,
    /// Who made it.
    pub created_by: UserName,
    /// When.
    pub created_at: WallTime,
    /// When it stops to work.
    pub expires_at: WallTime,
}

impl JoinTokenRecord {
    /// What admins may know of it.
    #[must_use]
    pub fn view(&self) -> WorkerTokenView {
        WorkerTokenView {
            token_id: self.id,
            name: self.name.clone(),
            pool: self.pool.as_deref().map(ToOwned::to_owned),
            uses_left: self.uses_left,
            created_by: self.created_by.clone(),
            created_at: self.created_at,
            expires_at: self.expires_at,
        }
    }

    /// Whether anybody can join with it.
    #[must_use]
    pub fn is_good(&self, now: WallTime) -> bool {
        self.uses_left > 0 && now < self.expires_at
    }
}

impl std::fmt::Debug for JoinTokenRecord {
    /// Without its digest.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("JoinTokenRecord");
        shown.field("id", &self.id).field("name", &self.name).field("uses_left", &self.uses_left);
        shown.finish_non_exhaustive()
    }
}

/// What somebody wants done to a join token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JoinTokenChange {
    /// A new one.
    Create(JoinTokenRecord),
    /// It shall work no longer.
    Revoke(TokenId),
}

/// A worker wants to join.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joining {
    /// With which token.
    pub token: TokenId,
    /// BLAKE3 of the secret that it gave.
    pub digest: [u8; 32],
    /// The name that it wants.
    pub worker: WorkerId,
    /// BLAKE3 of its public key.
    pub key: [u8; 32],
    /// The identity that it gets, unless it has one already.
    pub identity: IdentityId,
}

/// A worker of the first generation has asked to be let in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingRecord {
    /// What it calls itself.
    pub worker: WorkerId,
    /// Where the master would dial it.
    pub address: SocketAddr,
    /// What it says it can give to tasks.
    pub capacity: Resources,
    /// When it asked first.
    pub since: WallTime,
}

impl PendingRecord {
    /// What admins may know of it.
    #[must_use]
    pub fn view(&self) -> PendingWorkerView {
        PendingWorkerView {
            worker_id: self.worker.clone(),
            address: self.address.to_string(),
            capacity: self.capacity,
            since: self.since,
        }
    }
}
