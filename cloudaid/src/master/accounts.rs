//! The accounts as they are committed: kept by the driver, asked at every request without asking it.

use std::collections::BTreeMap;

use cloudaid_core::account::UserRecord;
use parking_lot::RwLock;
use shared::id::UserName;

/// All accounts, by name.
#[derive(Debug, Default)]
pub struct Accounts {
    users: RwLock<BTreeMap<UserName, UserRecord>>,
}

impl Accounts {
    /// What an account is now.
    pub(crate) fn insert(&self, user: UserRecord) {
        self.users.write().insert(user.name.clone(), user);
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
