//! Which connections there are room for: so many in all, and so many from one address that have not proved who they are.
//!
//! Whoever opens one too many loses their oldest, not their newest: a client that means it proves itself at once, and one
//! that only holds connections open displaces nobody but itself.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::open_files;

/// Connections at a time; more wait in the kernel.
const CONNECTIONS: u64 = 12_000;
/// File descriptors for everything else.
const RESERVED: u64 = 512;
/// Of one address, of those on which nobody has proved who they are.
const STRANGERS: usize = 256;

/// All connections.
#[derive(Debug, Clone)]
pub(crate) struct Connections {
    room: Arc<Semaphore>,
    strangers: Arc<Mutex<Strangers>>,
}

#[derive(Debug, Default)]
struct Strangers {
    /// By address, the oldest first.
    open: HashMap<IpAddr, VecDeque<(u64, CancellationToken)>>,
    next: u64,
}

/// A connection that there is room for.
#[derive(Debug)]
pub(crate) struct Place {
    stranger: Stranger,
}

/// Counts as a stranger until somebody proves who they are. Whoever has one keeps the room for the connection.
#[derive(Debug, Clone)]
pub(crate) struct Stranger {
    _room: Arc<OwnedSemaphorePermit>,
    strangers: Arc<Mutex<Strangers>>,
    address: IpAddr,
    number: u64,
    evicted: CancellationToken,
}

impl Connections {
    /// As many as this process may have.
    pub(crate) fn new() -> Self {
        let files = open_files::as_many_as_can_be();
        let room = usize::try_from(CONNECTIONS.min(files.saturating_sub(RESERVED)).max(64)).unwrap_or(64);
        Self { room: Arc::new(Semaphore::new(room)), strangers: Arc::default() }
    }

    /// Waits until there is room for one more.
    pub(crate) async fn room(&self) -> Option<OwnedSemaphorePermit> {
        self.room.clone().acquire_owned().await.ok()
    }

    /// Gives the room to a connection from `address`.
    pub(crate) fn enter(&self, room: OwnedSemaphorePermit, address: IpAddr) -> Place {
        let evicted = CancellationToken::new();
        let mut strangers = self.strangers.lock();
        let number = strangers.next;
        strangers.next += 1;
        let open = strangers.open.entry(address).or_default();
        open.push_back((number, evicted.clone()));
        if open.len() > STRANGERS
            && let Some((_, oldest)) = open.pop_front()
        {
            oldest.cancel();
        }
        drop(strangers);
        let stranger = Stranger { _room: Arc::new(room), strangers: self.strangers.clone(), address, number, evicted };
        Place { stranger }
    }
}

impl Place {
    /// For the requests on it.
    pub(crate) fn stranger(&self) -> Stranger {
        self.stranger.clone()
    }

    /// See [`Place::evicted`].
    pub(crate) fn evicted_owned(&self) -> WaitForCancellationFutureOwned {
        self.stranger.evicted.clone().cancelled_owned()
    }

    /// Resolves when it has to make room for a newer one.
    pub(crate) async fn evicted(&self) {
        self.stranger.evicted.cancelled().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.stranger.is_known();
    }
}

impl Stranger {
    /// Somebody has proved who they are: it does not count any more.
    pub(crate) fn is_known(&self) {
        let mut strangers = self.strangers.lock();
        if let Some(open) = strangers.open.get_mut(&self.address) {
            open.retain(|(number, _)| *number != self.number);
            if open.is_empty() {
                strangers.open.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_oldest_stranger_of_an_address_makes_room_and_who_is_known_does_not() {
        let connections = Connections::new();
        let enter = async |last: u8| {
            let room = connections.room().await.expect("room");
            connections.enter(room, [10, 0, 0, last].into())
        };
        let (known, other) = (enter(1).await, enter(2).await);
        known.stranger().is_known();
        let mut places = Vec::new();
        for _ in 0..STRANGERS {
            places.push(enter(1).await);
        }
        assert!(!places[0].stranger.evicted.is_cancelled());
        places.push(enter(1).await);
        assert!(places[0].stranger.evicted.is_cancelled(), "the oldest goes");
        places[0].evicted().await;
        let evicted = places.iter().filter(|place| place.stranger.evicted.is_cancelled()).count();
        assert_eq!(evicted, 1);
        assert!(!known.stranger.evicted.is_cancelled() && !other.stranger.evicted.is_cancelled());
        // Who has gone makes room too.
        drop(places.pop());
        places.push(enter(1).await);
        assert!(!places[1].stranger.evicted.is_cancelled());
        drop((places, known, other));
        assert!(connections.strangers.lock().open.is_empty(), "nothing is kept of who has gone");
    }
}
