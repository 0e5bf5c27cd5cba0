//! What files leave free of the master's disk. Its store and the logs are there too, and where they find no room nothing goes
//! on; files wait at workers, and with those who upload them. Quotas are no bound for that: what has not arrived as a whole is
//! not counted yet, and all that is promised may be more than there is.

use std::io;
use std::path::Path;
use std::sync::Arc;

use shared::resources::Bytes;

/// In bytes. More than all that goes on may write before it looks again, which is one object each.
const LEAST: u64 = 512 << 20;

/// The disk that files are written to.
#[derive(Debug, Clone)]
pub(super) struct Reserve {
    directory: Arc<Path>,
    least: u64,
}

impl Reserve {
    pub(super) fn on(directory: Arc<Path>) -> Self {
        Self { directory, least: LEAST }
    }

    /// Whether another object may be written. A disk that does not tell has room.
    ///
    /// # Errors
    /// Too little is free.
    pub(super) async fn check(&self) -> io::Result<()> {
        match free_bytes(Arc::clone(&self.directory)).await {
            Some(free) if free < self.least => {
                let (free, least) = (Bytes(free), Bytes(self.least));
                let message = format!("its disk has {free} free, and {least} are left for logs and the store");
                Err(io::Error::new(io::ErrorKind::StorageFull, message))
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// Of the disk on which this directory is, if it tells.
pub(super) async fn free_bytes(directory: Arc<Path>) -> Option<u64> {
    let free = tokio::task::spawn_blocking(move || {
        let disk = rustix::fs::statvfs(&*directory).ok()?;
        Some(disk.f_bavail.saturating_mul(disk.f_frsize))
    });
    free.await.ok().flatten()
}

#[cfg(test)]
mod tests {
    use shared::id::BlobId;

    use super::*;
    use crate::master::files::{FileStore, PIECE, contract};

    #[tokio::test]
    async fn a_disk_that_is_nearly_full_takes_no_more_files_until_it_has_room() {
        let scratch = tempfile::tempdir().expect("a directory");
        let mut store = FileStore::open(scratch.path()).expect("opened");
        let place = contract::place(1);
        let piece = vec![7; usize::try_from(PIECE).expect("small")];
        let mut begun = store.write(place, BlobId(7.into())).await.expect("begun");
        begun.write(piece.clone().into()).await.expect("there is room");
        let there = store.reserve.replace(Reserve { directory: scratch.path().into(), least: u64::MAX });
        let mut refused = store.write(place, BlobId(8.into())).await.expect("begun");
        let error = refused.write(piece.clone().into()).await.expect_err("there is none");
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert!(error.to_string().contains("are left for logs and the store"), "{error}");
        drop(refused);
        assert_eq!(store.names(place).await.expect("listed").len(), 1, "nothing of it stays");
        store.reserve = there;
        let mut again = store.write(place, BlobId(8.into())).await.expect("begun");
        again.write(piece.into()).await.expect("there is room again");
    }
}
