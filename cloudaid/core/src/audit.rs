//! What is to be noted of a call, before it is known what becomes of it.

use std::net::IpAddr;

use shared::audit::{AuditEntry, FIRST};
use shared::error::ErrorCode;
use shared::id::UserName;
use shared::time::WallTime;

/// A call, as the edge knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditNote {
    /// Who, if that was proved.
    pub user: Option<UserName>,
    /// With what.
    pub via: String,
    /// From where.
    pub address: Option<IpAddr>,
    /// Names the request.
    pub request_id: String,
    /// The method and path of the API.
    pub action: String,
    /// To what; what a submission makes is added.
    pub object: String,
    /// What became of it, where the core does not know it.
    pub outcome: Option<Outcome>,
}

/// What became of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// What was wanted.
    Done,
    /// It was refused.
    Refused(ErrorCode),
}

impl Outcome {
    /// As it is noted.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Refused(code) => code.as_str(),
        }
    }
}

/// The entry of a note, not sealed yet.
pub(crate) fn entry(note: AuditNote, sequence: u64, at: WallTime, object: String, outcome: Outcome) -> AuditEntry {
    let AuditNote { user, via, address, request_id, action, .. } = note;
    let outcome = outcome.as_str().to_owned();
    AuditEntry { sequence, at, user, via, address, request_id, action, object, outcome, seal: FIRST }
}
