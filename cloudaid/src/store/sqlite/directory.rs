//! The data directory, and the lock that keeps a second process out of it.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

use crate::store::StoreError;

/// Held as long as a process uses a data directory. The kernel gives it back when the process ends, however it ends.
#[derive(Debug)]
pub struct DirectoryLock {
    _file: File,
}

impl DirectoryLock {
    /// The file that is locked. It holds the number of the process, for people, and is never deleted: a process could
    /// then lock a new one while another holds the old.
    const FILE: &'static str = "lock";

    /// Takes the lock, or says who has it.
    ///
    /// # Errors
    /// Another process has it, or the directory cannot be made or written to.
    pub fn acquire(data_dir: &Path) -> Result<Self, StoreError> {
        create(data_dir)?;
        let path = data_dir.join(Self::FILE);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let mut file = options.open(&path).map_err(io_error(&path))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(in_use(data_dir, &mut file)),
            Err(error) => return Err(io_error(&path)(error.into())),
        }
        let pid = format!("{}\n", std::process::id());
        file.set_len(0).and_then(|()| file.write_all(pid.as_bytes())).map_err(io_error(&path))?;
        Ok(Self { _file: file })
    }
}

/// Makes the directory, for its owner only, if it is not there.
pub(super) fn create(data_dir: &Path) -> Result<(), StoreError> {
    if data_dir.is_dir() {
        return Ok(());
    }
    DirBuilder::new().recursive(true).mode(0o700).create(data_dir).map_err(io_error(data_dir))?;
    // Its name must survive a power loss too, or everything in it is lost.
    let parent = data_dir.canonicalize().ok().and_then(|path| path.parent().map(Path::to_path_buf));
    parent.map_or(Ok(()), |parent| File::open(&parent).and_then(|dir| dir.sync_all()).map_err(io_error(&parent)))
}

/// Names the file in an error.
pub(super) fn io_error(path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    move |source| StoreError::Io { path: path.display().to_string(), source }
}

fn in_use(data_dir: &Path, file: &mut File) -> StoreError {
    let mut text = String::new();
    let pid = file.take(20).read_to_string(&mut text).ok().and_then(|_| text.trim().parse::<u32>().ok());
    let holder = pid.map(|pid| format!(" (process {pid})")).unwrap_or_default();
    StoreError::InUse { path: data_dir.display().to_string(), holder }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_second_holder_is_told_who_the_first_is() {
        let dir = tempfile::tempdir().expect("a directory");
        let lock = DirectoryLock::acquire(dir.path()).expect("the lock");
        match DirectoryLock::acquire(dir.path()) {
            Err(StoreError::InUse { path, holder }) => {
                assert_eq!(path, dir.path().display().to_string());
                assert_eq!(holder, format!(" (process {})", std::process::id()));
            }
            other => panic!("not refused: {other:?}"),
        }
        drop(lock);
        DirectoryLock::acquire(dir.path()).expect("the lock, given back");
    }

    #[test]
    fn what_is_left_in_the_lock_file_does_not_matter() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join(DirectoryLock::FILE);
        std::fs::write(&path, "not a number, and longer than any").expect("a file");
        let lock = DirectoryLock::acquire(dir.path()).expect("the lock");
        assert_eq!(std::fs::read_to_string(&path).expect("the file"), format!("{}\n", std::process::id()));
        std::fs::write(&path, "not a number").expect("a file");
        let refused = DirectoryLock::acquire(dir.path());
        assert!(matches!(refused, Err(StoreError::InUse { holder, .. }) if holder.is_empty()));
        drop(lock);
    }

    #[test]
    fn the_directory_is_for_its_owner_only() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("a/b");
        create(&path).expect("a new directory");
        create(&path).expect("the same directory");
        let mode = std::fs::metadata(&path).expect("the directory").permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        std::fs::write(dir.path().join("file"), "").expect("a file");
        assert!(matches!(create(&dir.path().join("file")), Err(StoreError::Io { .. })));
    }
}
