//! What lets a worker join, as it is written: `cloudai-join_<id>_<secret>_<fingerprint>`.
//!
//! The id finds the record, the secret is 256 random bits of which only a digest is kept, and the fingerprint is that of the
//! cluster's authority, so that the worker knows the master at its first word, and never tells the secret to anybody else.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use cloudaid_core::admission::JoinTokenRecord;
use shared::id::{TokenId, UserName};
use shared::tls::Fingerprint;
use ulid::Ulid;

use crate::clock;

/// How long one is good if nobody says.
pub const TTL: Duration = Duration::from_secs(15 * 60);
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
