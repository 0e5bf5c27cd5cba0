//! The accounts and their personal tokens as they are committed: kept by the driver, asked at every request without asking it.

use std::collections::BTreeMap;

use cloudaid_core::account::{TokenRecord, UserRecord};
use parking_lot::RwLock;
use shared::id::{TokenId, UserName};

/// All accounts, by name.
#[derive(Debug, Default)]
pub struct Accounts {
    users: RwLock<BTreeMap<UserName, UserRecord>>,
    tokens: RwLock<BTreeMap<TokenId, TokenRecord>>,
}

impl Accounts {
    /// What an account is now.
    pub(crate) fn insert(&self, user: UserRecord) {
        self.users.write().insert(user.name.clone(), user);
    }

    /// What a personal token is now; none: it is no more.
    pub(crate) fn set_token(&self, id: TokenId, record: Option<TokenRecord>) {
        let mut tokens = self.tokens.write();
        match record {
            Some(token) => tokens.insert(id, token),
            None => tokens.remove(&id),
        };
    }

    /// A personal token.
    #[must_use]
    pub fn find_token(&self, id: TokenId) -> Option<TokenRecord> {
        self.tokens.read().get(&id).cloned()
    }

    /// All personal tokens, by user and age.
    #[must_use]
    pub fn tokens(&self) -> Vec<TokenRecord> {
        let mut tokens: Vec<_> = self.tokens.read().values().cloned().collect();
        tokens.sort_by(|a, b| (&a.user, a.id).cmp(&(&b.user, b.id)));
        tokens
    }

    /// One of them.
    #[must_use]
    pub fn find(&self, name: &UserName) -> Option<UserRecord> {
        self.users.read().get(name).cloned()
    }

    /// Whether there is none yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.users.read().is_empty()
    }

    /// All of them, by name.
    #[must_use]
    pub fn list(&self) -> Vec<UserRecord> {
        self.users.read().values().cloned().collect()
    }
}
