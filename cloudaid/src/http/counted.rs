//! How many of something each of many has at a time.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use parking_lot::Mutex;
use shared::id::UserName;
use shared::role::Role;

use crate::master::auth::Principal;

/// Counts for each that has any. Cheap to clone.
#[derive(Debug)]
pub(super) struct Counted<K> {
    counts: Arc<Mutex<HashMap<K, usize>>>,
}

/// One of them, until it is dropped.
#[derive(Debug)]
pub(crate) struct Share<K: Hash + Eq> {
    of: Counted<K>,
    key: K,
}

impl<K> Clone for Counted<K> {
    fn clone(&self) -> Self {
        Self { counts: Arc::clone(&self.counts) }
    }
}

impl<K> Default for Counted<K> {
    fn default() -> Self {
        Self { counts: Arc::default() }
    }
}

impl<K: Hash + Eq + Clone> Counted<K> {
    /// One more for `key`, who may have `most` of them.
    pub(super) fn take(&self, key: &K, most: usize) -> Option<Share<K>> {
        let mut counts = self.counts.lock();
        let count = counts.get(key).copied().unwrap_or(0);
        if count >= most {
            return None;
        }
        counts.insert(key.clone(), count + 1);
        drop(counts);
        Some(Share { of: self.clone(), key: key.clone() })
    }
}

impl Counted<UserName> {
    /// One more for a user, who may have `most` of them; admins are not bound.
    pub(super) fn take_of(&self, principal: &Principal, most: usize) -> Option<Share<UserName>> {
        let most = if principal.role == Role::Admin { usize::MAX } else { most };
        self.take(&principal.user, most)
    }
}

impl<K> Counted<K> {
    /// Of all together.
    pub(super) fn total(&self) -> usize {
        self.counts.lock().values().sum()
    }
}

impl<K: Hash + Eq> Drop for Share<K> {
    fn drop(&mut self) {
        let mut counts = self.of.counts.lock();
        if let Some(count) = counts.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_so_many_and_what_is_dropped_makes_room() {
        let counted = Counted::default();
        let mut shares: Vec<_> = (0..3).map(|_| counted.take(&"ann", 3).expect("room")).collect();
        assert!(counted.take(&"ann", 3).is_none());
        let other = counted.take(&"bob", 1).expect("others are not held up");
        assert_eq!(counted.total(), 4);
        shares.pop();
        shares.push(counted.take(&"ann", 3).expect("room"));
        drop((shares, other));
        assert!(counted.counts.lock().is_empty(), "nothing is kept of who has gone");
    }
}
