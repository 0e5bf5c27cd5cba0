//! Room on the engine's disk for the images that are being fetched.

use std::collections::HashMap;
use std::path::PathBuf;

use parking_lot::Mutex;

/// What the pulls under way will still take, so that each leaves the others theirs.
#[derive(Debug, Default)]
pub(super) struct Room {
    /// Where the engine keeps images; none: nobody knows, or it is on another machine.
    disk: Option<PathBuf>,
    /// Has to stay free, in bytes.
    floor: u64,
    /// By image, in bytes.
    wanted: Mutex<HashMap<String, u64>>,
}

/// Too little is free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shortage {
    /// What there should be, in bytes: what the image will take, or what must stay free.
    pub(super) wanted: u64,
    /// What there is of it, in bytes.
    pub(super) left: u64,
}

impl Room {
    pub(super) fn new(disk: Option<PathBuf>, floor: u64) -> Self {
        Self { disk, floor, wanted: Mutex::default() }
    }

    /// Reserves what the pull of an image will still take, less or more than before. No more is reserved than is there: then it
    /// says how much is.
    pub(super) fn reserve(&self, image: &str, wanted: u64) -> Result<(), Shortage> {
        match self.free() {
            Some(free) => self.reserve_of(free, image, wanted),
            None => Ok(()),
        }
    }

    fn reserve_of(&self, free: u64, image: &str, wanted: u64) -> Result<(), Shortage> {
        let mut all = self.wanted.lock();
        let of_others: u64 = all.iter().filter(|(other, _)| *other != image).map(|(_, wanted)| *wanted).sum();
        let left = free.saturating_sub(self.floor).saturating_sub(of_others);
        let is_less = all.get(image).is_some_and(|before| wanted <= *before);
        if wanted > left && !is_less {
            return Err(Shortage { wanted, left });
        }
        all.insert(image.to_owned(), wanted);
        Ok(())
    }

    /// Its pull is over.
    pub(super) fn release(&self, image: &str) {
        self.wanted.lock().remove(image);
    }

    /// Bytes; none where nobody can tell.
    fn free(&self) -> Option<u64> {
        let stat = rustix::fs::statvfs(self.disk.as_ref()?).ok()?;
        Some(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    /// What must stay free, where that is not.
    pub(super) fn shortage(&self) -> Option<Shortage> {
        let left = self.free().filter(|free| *free < self.floor)?;
        Some(Shortage { wanted: self.floor, left })
    }

    /// Whether what must stay free is not.
    pub(super) fn is_short(&self) -> bool {
        self.shortage().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_pull_leaves_the_others_theirs() {
        let room = Room::new(None, 50);
        assert_eq!(room.reserve_of(150, "a", 60), Ok(()));
        assert_eq!(room.reserve_of(150, "b", 60), Err(Shortage { wanted: 60, left: 40 }));
        assert_eq!(room.reserve_of(150, "a", 20), Ok(()), "it needs less by now");
        assert_eq!(room.reserve_of(150, "b", 60), Ok(()));
        assert_eq!(room.reserve_of(40, "c", 1), Err(Shortage { wanted: 1, left: 0 }));
        room.release("b");
        assert_eq!(room.reserve_of(150, "a", 100), Ok(()));
        assert_eq!(
            room.reserve_of(100, "a", 90),
            Ok(()),
            "another has filled the disk, and it still needs less than before"
        );
        assert_eq!(room.reserve_of(100, "a", 91), Err(Shortage { wanted: 91, left: 50 }));
    }

    #[test]
    fn a_disk_is_short_when_less_is_free_than_should_be() {
        let scratch = tempfile::tempdir().expect("a directory");
        let room = |floor| Room::new(Some(scratch.path().to_owned()), floor);
        assert!(!room(1).is_short() && room(u64::MAX).is_short());
        assert_eq!(room(u64::MAX).shortage().map(|shortage| shortage.wanted), Some(u64::MAX));
    }

    #[test]
    fn what_nobody_can_measure_is_there() {
        let room = Room::new(None, u64::MAX);
        assert_eq!((room.reserve("a", u64::MAX), room.is_short()), (Ok(()), false));
    }
}
