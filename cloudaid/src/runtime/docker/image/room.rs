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
    /// What the image will take, in bytes.
    pub(super) wanted: u64,
    /// What is left for it, in bytes.
    pub(super) left: u64,
}

impl Room {
    pub(super) fn new(disk: Option<PathBuf>, floor: u64) -> Self {
        Self { disk, floor, wanted: Mutex::default() }
    }

    /// Reserves what the pull of an image will still take, less or more than before. Nothing is reserved that is not there:
    /// then it says how much is.
    pub(super) fn reserve(&self, image: &str, wanted: u64) -> Result<(), Shortage> {
        let Some(free) = self.free() else { return Ok(()) };
        let mut all = self.wanted.lock();
        let of_others: u64 = all.iter().filter(|(other, _)| *other != image).map(|(_, wanted)| *wanted).sum();
        let left = free.saturating_sub(self.floor).saturating_sub(of_others);
        if wanted > left {
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
    pub(super) fn free(&self) -> Option<u64> {
        let stat = rustix::fs::statvfs(self.disk.as_ref()?).ok()?;
        Some(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    /// Whether what must stay free is not.
    pub(super) fn is_short(&self) -> bool {
        self.free().is_some_and(|free| free < self.floor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_pull_leaves_the_others_theirs() {
        let scratch = tempfile::tempdir().expect("a directory");
        let of_disk = |floor| Room::new(Some(scratch.path().to_owned()), floor);
        let free = of_disk(0).free().expect("a disk");
        let floor = free - (100 << 20);
        let room = of_disk(floor);
        // Others write to this disk too.
        assert_eq!(room.reserve("a", 60 << 20), Ok(()));
        let refused = room.reserve("b", 60 << 20).expect_err("it is not there");
        assert!(refused.wanted == 60 << 20 && refused.left < 60 << 20, "{refused:?}");
        assert_eq!(room.reserve("a", 20 << 20), Ok(()), "it needs less by now");
        assert_eq!(room.reserve("b", 50 << 20), Ok(()));
        room.release("b");
        assert_eq!(room.reserve("a", 65 << 20), Ok(()));
        assert!(!room.is_short());
        assert!(of_disk(free + (1 << 40)).is_short());
    }

    #[test]
    fn what_nobody_can_measure_is_there() {
        let room = Room::new(None, u64::MAX);
        assert_eq!((room.reserve("a", u64::MAX), room.is_short()), (Ok(()), false));
    }
}
