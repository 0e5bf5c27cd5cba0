//! The disk that the spools of all runs may take together.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes of disk for the logs of all runs that wait for the master.
const LIMIT: u64 = 1 << 30;

/// Counts what the spools take.
#[derive(Debug)]
pub(in crate::worker) struct Room {
    limit: u64,
    taken: AtomicU64,
}

impl Default for Room {
    fn default() -> Self {
        Self::of(LIMIT)
    }
}

impl Room {
    /// Room for so many bytes.
    pub(super) fn of(limit: u64) -> Self {
        Self { limit, taken: AtomicU64::new(0) }
    }
}

/// What one run has of it. Dropped, it is given back: who drops it ends, or removes the run with its files.
#[derive(Debug)]
pub(super) struct Share {
    room: Arc<Room>,
    bytes: u64,
}

impl Share {
    /// Nothing yet.
    pub(super) fn of(room: Arc<Room>) -> Self {
        Self { room, bytes: 0 }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Takes more, if there is so much.
    pub(super) fn take(&mut self, more: u64) -> bool {
        let before = self.room.taken.fetch_add(more, Ordering::Relaxed);
        if before.saturating_add(more) > self.room.limit {
            self.room.taken.fetch_sub(more, Ordering::Relaxed);
            return false;
        }
        self.bytes += more;
        true
    }

    /// What an earlier life has left is taken, and the little without which nothing is counted, also where that is more than
    /// there may be.
    pub(super) fn have(&mut self, bytes: u64) {
        self.room.taken.fetch_add(bytes, Ordering::Relaxed);
        self.bytes += bytes;
    }

    pub(super) fn give_back(&mut self, bytes: u64) {
        let bytes = bytes.min(self.bytes);
        self.room.taken.fetch_sub(bytes, Ordering::Relaxed);
        self.bytes -= bytes;
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.give_back(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_together_take_no_more_than_there_is() {
        let room = Arc::new(Room::of(10));
        let (mut first, mut second) = (Share::of(Arc::clone(&room)), Share::of(Arc::clone(&room)));
        assert!(first.take(6) && !second.take(5) && second.take(4) && !first.take(1));
        first.give_back(2);
        assert!(second.take(2) && !first.take(1));
        assert_eq!((first.bytes(), second.bytes()), (4, 6));
        drop(first);
        assert!(second.take(4) && !second.take(1));
        // An earlier life may have left more than there may be.
        let mut third = Share::of(Arc::clone(&room));
        third.have(100);
        drop(second);
        assert!(!third.take(1));
        third.give_back(95);
        assert!(third.take(5) && !third.take(1));
    }
}
