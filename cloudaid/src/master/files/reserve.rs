//! What files leave free of the master's disk. Its store and the logs are there too, and where they find no room nothing goes
//! on; files wait at workers, and with those who upload them. Quotas are no bound for that: what has not arrived as a whole is
//! not counted yet, and all that is promised may be more than there is.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use shared::resources::Bytes;

/// In bytes. So much is left for everything else, however many write at the same time.
const LEAST: u64 = 512 << 20;

/// The disk that files are written to.
#[derive(Debug, Clone)]
pub(super) struct Reserve {
    directory: Arc<Path>,
    least: u64,
    /// Bytes that objects on their way may still come to.
    promised: Arc<AtomicU64>,
}

/// Room for one object. Dropped when its bytes are on the disk, which counts them then, or will not be.
#[derive(Debug)]
pub(super) struct Promise {
    promised: Arc<AtomicU64>,
    bytes: u64,
}

impl Drop for Promise {
    fn drop(&mut self) {
        self.promised.fetch_sub(self.bytes, Ordering::SeqCst);
    }
}

impl Reserve {
    pub(super) fn on(directory: Arc<Path>) -> Self {
        Self { directory, least: LEAST, promised: Arc::default() }
    }

    /// Room for another object of so many bytes at the most. A disk that does not tell has room.
    ///
    /// # Errors
    /// Too little is free.
    pub(super) async fn promise(&self, bytes: u64) -> io::Result<Promise> {
        // Before the disk is looked at: of two that ask at once, one sees the other.
        let others = self.promised.fetch_add(bytes, Ordering::SeqCst);
        let promise = Promise { promised: Arc::clone(&self.promised), bytes };
        let wanted = self.least.saturating_add(others).saturating_add(bytes);
        match free_bytes(Arc::clone(&self.directory)).await {
            Some(free) if free < wanted => {
                let (free, least, others) = (Bytes(free), Bytes(self.least), Bytes(others));
                let message = format!(
                    "its disk has {free} free; {least} are left for logs and the store, and {others} are promised to what is on its way"
                );
                Err(io::Error::new(io::ErrorKind::StorageFull, message))
            }
            Some(_) | None => Ok(promise),
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
        let there = store.reserve.replace(Reserve { least: u64::MAX, ..Reserve::on(scratch.path().into()) });
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

    #[tokio::test]
    async fn those_that_write_at_once_are_not_promised_the_same_room() {
        let scratch = tempfile::tempdir().expect("a directory");
        let reserve = Reserve { least: 0, ..Reserve::on(scratch.path().into()) };
        let free = free_bytes(scratch.path().into()).await.expect("it tells");
        // Others write to this disk too: neither is near the bound.
        let most = free / 4 * 3;
        let first = reserve.promise(most).await.expect("there is room for one");
        let error = reserve.clone().promise(most).await.expect_err("and for no other");
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert_eq!(reserve.promised.load(Ordering::SeqCst), most, "nothing is promised to who was refused");
        drop(first);
        drop(reserve.promise(most).await.expect("there is room again"));
        assert_eq!(reserve.promised.load(Ordering::SeqCst), 0);
    }

    #[tokio::test]
    async fn a_piece_holds_its_room_until_it_is_written_or_given_up() {
        let scratch = tempfile::tempdir().expect("a directory");
        let store = FileStore::open(scratch.path()).expect("opened");
        let promised = || store.reserve.as_ref().expect("a disk").promised.load(Ordering::SeqCst);
        let mut begun = Vec::new();
        for number in 1..=3_u64 {
            let blob = BlobId(u128::from(number).into());
            let mut writer = store.write(contract::place(1), blob).await.expect("begun");
            writer.write(vec![7; 10].into()).await.expect("there is room");
            writer.write(vec![7; 10].into()).await.expect("there is room");
            begun.push(writer);
            assert_eq!(promised(), number * PIECE);
        }
        begun.pop().expect("three").finish().await.expect("ended");
        assert_eq!(promised(), 2 * PIECE, "it is on the disk");
        drop(begun.pop());
        assert_eq!(promised(), PIECE);
        // What is there already of a piece needs no more room until more comes.
        let progress = begun.pop().expect("one").pause().await.expect("kept");
        assert_eq!(promised(), 0);
        let mut again = store.resume(contract::place(1), BlobId(1.into()), progress).await.expect("gone on with");
        assert_eq!(promised(), 0);
        again.write(vec![7; 10].into()).await.expect("there is room");
        assert_eq!(promised(), PIECE, "the rest of the piece");
        let rest = usize::try_from(PIECE).expect("small") - 30;
        again.write(vec![7; rest].into()).await.expect("there is room");
        assert_eq!(promised(), 0, "the piece is whole");
    }
}
