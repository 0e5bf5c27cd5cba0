//! Logins: from the password until somebody, or time, ends them.
//!
//! Whoever logs in gets two tokens: one that lets in for minutes, and one that renews both. The second is good once. Its
//! number is the `serial` of the login, so that of a stolen copy and the original the second to be used is one too old,
//! and ends the login for both (RFC 9700, section 4.14.2).

use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use shared::id::{LoginId, UserName};
use shared::time::WallTime;

/// Logins that one account can have at a time. With one more the one that was used least lately ends.
pub const LOGINS_LIMIT: usize = 100;
/// A login that is not used for this long is over.
pub const IDLE: Duration = Duration::from_secs(7 * 86_400);
/// A login lasts no longer than this, used or not.
pub const LIFE: Duration = Duration::from_secs(30 * 86_400);
/// For this long the token that was just replaced yields the same successor once more: an answer may be lost, and
/// programs that share a login may ask at once.
pub const OVERLAP: Duration = Duration::from_secs(60);

/// What a login is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LoginKind {
    /// A program that keeps two tokens and renews them.
    Tool,
    /// A browser, which has one secret in a cookie that no page can read.
    Browser,
    /// A tool of the person who runs the master on their own machine, who has no password to log in with again: it is
    /// over when it is not used for [`LIFE`].
    Local,
}

impl LoginKind {
    /// As it is stored.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tool => "tool",
            Self::Browser => "browser",
            Self::Local => "local",
        }
    }
}

impl std::str::FromStr for LoginKind {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let all = [Self::Tool, Self::Browser, Self::Local];
        all.into_iter().find(|kind| kind.as_str() == text).ok_or_else(|| format!("`{text}` is no kind of login"))
    }
}

/// A login.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoginRecord {
    /// Names it.
    pub id: LoginId,
    /// Whose it is.
    pub user: UserName,
    /// What it is for.
    pub kind: LoginKind,
    /// The network that it was begun from, where that is known.
    pub address: Option<IpAddr>,
    /// The number of the token that renews it next.
    pub serial: u32,
    /// When the password was given.
    pub created_at: WallTime,
    /// When it was used last, as far as that is noted.
    pub renewed_at: WallTime,
}

impl LoginRecord {
    /// When it is over if it is not used again.
    #[must_use]
    pub fn ends_at(&self) -> WallTime {
        match self.kind {
            LoginKind::Local => self.renewed_at + LIFE,
            LoginKind::Tool | LoginKind::Browser => (self.renewed_at + IDLE).min(self.created_at + LIFE),
        }
    }

    /// Whether time has ended it.
    #[must_use]
    pub fn is_over(&self, now: WallTime) -> bool {
        now >= self.ends_at()
    }
}

/// What somebody wants done to a login.
#[derive(Clone, PartialEq, Eq)]
pub enum LoginChange {
    /// A new one.
    Begin {
        /// As it begins.
        login: LoginRecord,
        /// The hash of the password that was verified; if another has replaced it meanwhile, there is no login. None:
        /// no password was asked for.
        verified: Option<String>,
    },
    /// The token with this number was shown, to have the next one.
    Renew(LoginId, u32),
    /// It was used.
    Used(LoginId),
    /// It shall be over. One that is not there is no error.
    End(LoginId),
}

impl std::fmt::Debug for LoginChange {
    /// Without hashes.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Begin { login, .. } => f.debug_tuple("Begin").field(login).finish(),
            Self::Renew(id, serial) => f.debug_tuple("Renew").field(id).field(serial).finish(),
            Self::Used(id) => f.debug_tuple("Used").field(id).finish(),
            Self::End(id) => f.debug_tuple("End").field(id).finish(),
        }
    }
}
