//! The accounts, their personal tokens and logins as they are committed: kept by the driver, asked at every request without
//! asking it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use cloudaid_core::account::{TokenRecord, UserRecord};
use cloudaid_core::login::LoginRecord;
use parking_lot::RwLock;
use shared::id::{LoginId, TokenId, UserName};
use shared::time::WallTime;

/// All accounts, by name.
#[derive(Debug, Default)]
pub struct Accounts {
    users: RwLock<BTreeMap<UserName, UserRecord>>,
    tokens: RwLock<BTreeMap<TokenId, TokenRecord>>,
    logins: RwLock<BTreeMap<LoginId, LoginRecord>>,
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

    /// What a login is now; none: it is no more.
    pub(crate) fn set_login(&self, id: LoginId, record: Option<LoginRecord>) {
        let mut logins = self.logins.write();
        match record {
            Some(login) => logins.insert(id, login),
            None => logins.remove(&id),
        };
    }

    /// A login.
    #[must_use]
    pub fn find_login(&self, id: LoginId) -> Option<LoginRecord> {
        self.logins.read().get(&id).cloned()
    }

    /// All logins.
    #[cfg(test)]
    pub(crate) fn logins(&self) -> Vec<LoginRecord> {
        self.logins.read().values().cloned().collect()
    }

    /// Whether there is a login of `user` from this network.
    #[must_use]
    pub fn is_known(&self, user: &UserName, network: IpAddr, now: WallTime) -> bool {
        let there = |login: &LoginRecord| login.user == *user && login.address == Some(network) && !login.is_over(now);
        self.logins.read().values().any(there)
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
