//! One of the files of a log.

use std::fs::{self, File};
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::RwLock;

use super::frame::{self, FrameFile};
use super::index::Checkpoint;

/// A file of a log, and where in the log it begins. One that was cut off goes when its last reader is done with it.
#[derive(Debug)]
pub(super) struct Part {
    /// Another one once the file has been put aside.
    path: RwLock<PathBuf>,
    start: Checkpoint,
    /// Bytes of the file before its first record.
    base: u64,
    is_cut: AtomicBool,
}

impl Part {
    /// The beginning of a log.
    pub(super) fn head(path: PathBuf) -> Self {
        Self { path: RwLock::new(path), start: Checkpoint::default(), base: 0, is_cut: AtomicBool::new(false) }
    }

    /// A file that says itself where it begins.
    pub(super) fn later(path: PathBuf, start: Checkpoint) -> Self {
        Self { path: RwLock::new(path), start, base: frame::START as u64, is_cut: AtomicBool::new(false) }
    }

    /// A file that says where it begins and where it ends.
    pub(super) fn thin(path: PathBuf, start: Checkpoint) -> Self {
        Self { path: RwLock::new(path), start, base: frame::THIN_START as u64, is_cut: AtomicBool::new(false) }
    }

    pub(super) fn path(&self) -> PathBuf {
        self.path.read().clone()
    }

    pub(super) fn start(&self) -> Checkpoint {
        self.start
    }

    /// Where in the file a place of the log is.
    pub(super) fn place(&self, position: u64) -> u64 {
        self.base + position.saturating_sub(self.start.position)
    }

    /// What is behind the first `inside` of `length` bytes of records; none if the file is gone.
    pub(super) fn read(&self, inside: u64, length: u64) -> io::Result<Option<FrameFile>> {
        match File::open(&*self.path.read()) {
            Ok(file) => FrameFile::open(file, self.base + inside, length.saturating_sub(inside)).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// `replace` puts another file in its place. Those who read it find it at `aside` until they are done.
    pub(super) fn put_aside(&self, aside: PathBuf, replace: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let mut path = self.path.write();
        // Without a second name they will find that it is damaged. That is no reason to keep it.
        let is_kept = fs::hard_link(&*path, &aside).is_ok();
        let replaced = replace();
        match (&replaced, is_kept) {
            (Ok(()), true) => {
                *path = aside;
                self.cut();
            }
            (Err(_), true) => fs::remove_file(&aside)?,
            (_, false) => {}
        }
        replaced
    }

    /// It is not a part of the log any more.
    pub(super) fn cut(&self) {
        self.is_cut.store(true, Ordering::Release);
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if *self.is_cut.get_mut()
            && let Err(error) = fs::remove_file(&*self.path.get_mut())
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(log = %self.path.get_mut().display(), %error, "What was cut out of a log cannot be removed now");
        }
    }
}
