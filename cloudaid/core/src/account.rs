//! Accounts: what can be done to one, and what may not be.
//!
//! An account is never deleted, only disabled: tasks and files carry the name of their owner, and whoever got that name
//! later would own them. Every change that takes rights away ends the logins of the account.

use serde::{Deserialize, Serialize};
use shared::id::{LoginId, TokenId, UserName};
use shared::role::Role;
use shared::time::WallTime;
use shared::view::{TokenView, UserView};

/// An account.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserRecord {
    /// Its name.
    pub name: UserName,
    /// Argon2id, as a PHC string.
    pub password_hash: String,
    /// What it may do.
    pub role: Role,
    /// When it was made.
    pub created_at: WallTime,
    /// Whether nobody gets in with it.
    pub disabled: bool,
}

impl UserRecord {
    /// What others may know of it.
    #[must_use]
    pub fn view(&self) -> UserView {
        UserView { username: self.name.clone(), role: self.role, disabled: self.disabled, created_at: self.created_at }
    }
}

impl std::fmt::Debug for UserRecord {
    /// Without the password's hash.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("UserRecord");
        shown.field("name", &self.name).field("role", &self.role);
        shown.field("disabled", &self.disabled).finish_non_exhaustive()
    }
}

/// What somebody wants done to an account.
#[derive(Clone, PartialEq, Eq)]
pub enum AccountChange {
    /// A new one.
    Create(UserRecord),
    /// What is named becomes so, all of it or nothing; if that is anything new, logins of before end.
    Update {
        /// The hash of another password.
        hash: Option<String>,
        /// Another role.
        role: Option<Role>,
        /// Whether nobody gets in with it.
        disabled: Option<bool>,
    },
    /// The same password with the present parameters of the hash; no login ends.
    Rehash {
        /// The hash that was verified; if another has replaced it meanwhile, that one stays.
        verified: String,
        /// The new one.
        hash: String,
    },
    /// Another password, given by whoever has the present one: all logins of before end but the one that it is done with.
    OwnPassword {
        /// The hash that was verified; if another has replaced it meanwhile, that one stays.
        verified: String,
        /// The new one.
        hash: String,
        /// What stays.
        kept: Option<LoginId>,
    },
    /// All logins of before end.
    EndLogins,
}

impl std::fmt::Debug for AccountChange {
    /// Without hashes.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Create(user) => f.debug_tuple("Create").field(user).finish(),
            Self::Update { hash, role, disabled } => {
                let mut shown = f.debug_struct("Update");
                shown.field("hash", &hash.is_some()).field("role", role).field("disabled", disabled).finish()
            }
            Self::Rehash { .. } => f.write_str("Rehash"),
            Self::OwnPassword { kept, .. } => f.debug_struct("OwnPassword").field("kept", kept).finish_non_exhaustive(),
            Self::EndLogins => f.write_str("EndLogins"),
        }
    }
}

/// Personal tokens that one account can have at a time.
pub const TOKENS_LIMIT: usize = 100;

/// A personal token, for scripts.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenRecord {
    /// Names it.
    pub id: TokenId,
    /// Whose it is.
    pub user: UserName,
    /// What it is for.
    pub name: String,
    /// BLAKE3 of its secret, which has 256 random bits: nothing slower is needed.
    pub digest: [u8; 32],
    /// The most that it may do; never more than the account may.
    pub role: Role,
    /// When it was made.
    pub created_at: WallTime,
    /// When it stops to work.
    pub expires_at: WallTime,
    /// When it was used last, to the minute.
    pub used_at: Option<WallTime>,
}

impl TokenRecord {
    /// What its owner may know of it.
    #[must_use]
    pub fn view(&self) -> TokenView {
        TokenView {
            token_id: self.id,
            name: self.name.clone(),
            username: self.user.clone(),
            role: self.role,
            created_at: self.created_at,
            expires_at: self.expires_at,
            used_at: self.used_at,
        }
    }
}

impl std::fmt::Debug for TokenRecord {
    /// Without its digest.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("TokenRecord");
        shown.field("id", &self.id).field("user", &self.user).field("used_at", &self.used_at).finish_non_exhaustive()
    }
}

/// What somebody wants done to a personal token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenChange {
    /// A new one.
    Create(TokenRecord),
    /// It shall work no longer. One that does not is no error.
    Revoke(TokenId),
    /// It was used.
    Used(TokenId, WallTime),
}
