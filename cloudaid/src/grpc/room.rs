//! Room for large calls: so many in all, and of one address only a part, so that no machine has all of it.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Addresses of which nobody is here are forgotten once there are more than so many.
const REMEMBERED: usize = 1024;

/// So many places.
#[derive(Debug)]
pub(crate) struct Room {
    all: Arc<Semaphore>,
    each: usize,
    by_address: Mutex<HashMap<IpAddr, Arc<Semaphore>>>,
}

/// A place in it, as long as it is kept.
#[derive(Debug)]
pub(crate) struct Place {
    _of_address: Option<OwnedSemaphorePermit>,
    _of_all: Option<OwnedSemaphorePermit>,
}

impl Room {
    /// `all` places, `each` of them for one address at the most.
    pub(crate) fn new(all: usize, each: usize) -> Self {
        Self { all: Arc::new(Semaphore::new(all)), each, by_address: Mutex::default() }
    }

    /// Waits for a place. First for one of the address, so that who has many calls waits behind themselves only.
    pub(crate) async fn enter(&self, address: IpAddr) -> Place {
        let of_address = self.of(address);
        // Neither is ever closed.
        let _of_address = of_address.acquire_owned().await.ok();
        let _of_all = Arc::clone(&self.all).acquire_owned().await.ok();
        Place { _of_address, _of_all }
    }

    fn of(&self, address: IpAddr) -> Arc<Semaphore> {
        let mut by_address = self.by_address.lock();
        if by_address.len() > REMEMBERED {
            by_address.retain(|_, places| Arc::strong_count(places) > 1);
        }
        Arc::clone(by_address.entry(address).or_insert_with(|| Arc::new(Semaphore::new(self.each))))
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn one_address_does_not_take_all_the_room() {
        let room = Room::new(3, 2);
        let (one, two): (IpAddr, IpAddr) = ([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
        let first = room.enter(one).await;
        let _second = room.enter(one).await;
        assert!(room.enter(one).now_or_never().is_none());
        let _third = room.enter(two).now_or_never().expect("there is room for another");
        assert!(room.enter(two).now_or_never().is_none(), "three are all");
        drop(first);
        assert!(room.enter(one).now_or_never().is_some());
    }
}
