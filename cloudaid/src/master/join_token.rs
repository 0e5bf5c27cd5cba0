//! What lets a worker join, as it is written: `cloudai-join_<id>_<secret>_<fingerprint>`.
//!
//! The id finds the record, the secret is 256 random bits of which only a digest is kept, and the fingerprint is that of the
//! cluster's authority, so that the worker knows the master at its first word, and never tells the secret to anybody else.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use cloudaid_core::admission::JoinTokenRecord;
use shared::error::{ApiError, ErrorCode};
use shared::id::{TokenId, UserName};
use shared::tls::Fingerprint;
use shared::view::CreateWorkerTokenRequest;
use ulid::Ulid;

use crate::clock;

/// How long one is good if nobody says, and at the most: whoever finds it later finds nothing.
pub const TTL: Duration = Duration::from_secs(15 * 60);
const TTL_MAX: Duration = Duration::from_secs(24 * 3600);
/// How many workers can join with one, at the most.
const USES_MAX: u32 = 10_000;
/// The longest name of a pool.
const POOL_LIMIT: usize = 63;
/// What they begin with, so that scanners find them where they should not be.
const PREFIX: &str = "cloudai-join_";

/// A join token.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinToken {
    /// Finds its record.
    pub id: TokenId,
    secret: [u8; 32],
    /// Of the authority of the cluster.
    pub fingerprint: Fingerprint,
}

/// A text is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{}", JoinToken::FORM)]
pub struct NoJoinToken;

impl JoinToken {
    /// What is wrong with a text that is none.
    pub const FORM: &'static str = "it is no join token: copy it whole, as `cloudctl worker-token create` shows it";

    /// A new one.
    #[must_use]
    pub fn generate(fingerprint: Fingerprint) -> Self {
        Self { id: TokenId(Ulid::generate()), secret: rand::random(), fingerprint }
    }

    /// BLAKE3 of its secret.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        blake3::hash(&self.secret).into()
    }

    /// The whole token. Secret.
    #[must_use]
    pub fn expose(&self) -> String {
        let fingerprint = hex::encode(self.fingerprint.0);
        format!("{PREFIX}{}_{}_{fingerprint}", self.id, hex::encode(self.secret))
    }
}

/// A new token and its record.
#[derive(Debug)]
pub struct Made {
    /// Shown once.
    pub token: JoinToken,
    /// Kept.
    pub record: JoinTokenRecord,
}

/// A new token that is good for one worker of any name and for [`TTL`], but for what `change` says.
#[must_use]
pub fn make(
    fingerprint: Fingerprint,
    created_by: UserName,
    change: impl FnOnce(JoinTokenRecord) -> JoinTokenRecord,
) -> Made {
    let token = JoinToken::generate(fingerprint);
    let created_at = clock::wall();
    let record = JoinTokenRecord {
        id: token.id,
        digest: token.digest(),
        name: None,
        pool: None,
        uses_left: 1,
        created_by,
        created_at,
        expires_at: created_at + TTL,
    };
    Made { token, record: change(record) }
}

/// A new token as an admin wants it.
///
/// # Errors
/// It would be good for too long, for too many, or for a pool that cannot be a label.
pub fn requested(
    fingerprint: Fingerprint,
    created_by: UserName,
    request: CreateWorkerTokenRequest,
) -> Result<Made, ApiError> {
    let CreateWorkerTokenRequest { name, pool, ttl_seconds, uses } = request;
    let refuse = |message: String, hint: &str| Err(ApiError::new(ErrorCode::InvalidArgument, message, hint));
    let ttl = ttl_seconds.map_or(TTL, Duration::from_secs);
    if ttl.is_zero() || ttl > TTL_MAX {
        return refuse(format!("ttl_seconds: must be 1 to {}", TTL_MAX.as_secs()), "leave it out for 15 minutes");
    }
    let uses = uses.unwrap_or(1);
    if uses == 0 || uses > USES_MAX {
        return refuse(format!("uses: must be 1 to {USES_MAX}"), "leave it out for one");
    }
    if name.is_some() && uses > 1 {
        return refuse("uses: only one worker can have the name".to_owned(), "leave out `uses`, or `name`");
    }
    if let Some((problem, hint)) = pool.as_deref().and_then(pool_problem) {
        return refuse(format!("pool: {problem}"), hint);
    }
    Ok(make(fingerprint, created_by, |record| JoinTokenRecord {
        name,
        pool: pool.map(Into::into),
        uses_left: uses,
        expires_at: record.created_at + ttl,
        ..record
    }))
}

/// What is wrong with the name of a pool, and what to do about it.
pub(crate) fn pool_problem(pool: &str) -> Option<(String, &'static str)> {
    if let Some(character) = pool.chars().find(|&c| !c.is_ascii_alphanumeric() && !"-_.".contains(c)) {
        return Some((format!("{character:?} cannot stand in it"), "give letters, digits, `-`, `_` and `.`"));
    }
    let has_good_length = (1..=POOL_LIMIT).contains(&pool.len());
    (!has_good_length).then(|| (format!("must have 1 to {POOL_LIMIT} characters"), "leave it out for none"))
}

impl fmt::Debug for JoinToken {
    /// Without its secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinToken").field("id", &self.id).finish_non_exhaustive()
    }
}

impl FromStr for JoinToken {
    type Err = NoJoinToken;
    fn from_str(text: &str) -> Result<Self, NoJoinToken> {
        let parts = text.trim().strip_prefix(PREFIX).map(|rest| rest.split('_').collect::<Vec<_>>());
        let Some([id, secret, fingerprint]) = parts.as_deref().and_then(|parts| <&[&str; 3]>::try_from(parts).ok())
        else {
            return Err(NoJoinToken);
        };
        let secret = hex::decode(secret).ok().and_then(|secret| secret.try_into().ok()).ok_or(NoJoinToken)?;
        let id = id.parse().map_err(|_| NoJoinToken)?;
        Ok(Self { id, secret, fingerprint: fingerprint.parse().map_err(|_| NoJoinToken)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_as_it_was_written_and_nothing_else_is() {
        let token = JoinToken::generate(Fingerprint([7; 32]));
        let text = token.expose();
        assert_eq!(text.parse(), Ok(token.clone()));
        assert_eq!(format!(" {text}\n").parse(), Ok(token.clone()));
        assert!(!format!("{token:?}").contains(&hex::encode(token.secret)));
        let cut = &text[..text.len() - 1];
        for bad in ["", "cloudai-join_", cut, &text[1..], &text.replace('_', "-"), &format!("{text}_x"), "é"] {
            assert_eq!(bad.parse::<JoinToken>(), Err(NoJoinToken), "{bad}");
        }
    }
}
