//! The directory that trials are made in. It is gone afterwards; what is left of one whose doctor was killed is removed by the
//! next.

use std::fs::{self, File, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use tempfile::TempDir;

use crate::worker::data_dir::remove_tree;
use crate::worker::volume;

/// What its name begins with.
const PREFIX: &str = ".cloudai-doctor-";
/// How often one is made that another doctor takes for an old one before it is locked.
const TRIES: u32 = 10;

/// A directory for trials, locked for as long as it is there.
#[derive(Debug)]
pub(super) struct Trial {
    directory: TempDir,
    _lock: File,
}

impl Trial {
    /// One below `place`.
    pub(super) fn begin(place: &Path) -> io::Result<Self> {
        for _ in 0..TRIES {
            let mut builder = tempfile::Builder::new();
            let directory = builder.prefix(PREFIX).permissions(Permissions::from_mode(0o700)).tempdir_in(place)?;
            if let Some(lock) = lock(directory.path())? {
                return Ok(Self { directory, _lock: lock });
            }
        }
        Err(io::Error::other("what is made there is removed at once"))
    }
}

impl AsRef<Path> for Trial {
    fn as_ref(&self) -> &Path {
        self.directory.path()
    }
}

/// Removes those that are left in the data directory and in those above it, in which it would have been made. What cannot be
/// removed is in nobody's way.
pub(super) fn sweep(data_dir: &Path) {
    for place in data_dir.ancestors() {
        for entry in fs::read_dir(place).into_iter().flatten().flatten() {
            if entry.file_name().as_encoded_bytes().starts_with(PREFIX.as_bytes()) {
                let _ = remove(&entry.path());
            }
        }
    }
}

/// Others may be able to make something of that name; what is in ours is ours alone.
fn remove(trial: &Path) -> io::Result<()> {
    let found = fs::symlink_metadata(trial)?;
    let is_ours = found.is_dir() && found.uid() == rustix::process::geteuid().as_raw() && found.mode() & 0o022 == 0;
    if !is_ours {
        return Ok(());
    }
    // Its doctor is at it.
    let Some(_lock) = lock(trial)? else { return Ok(()) };
    volume::remove_trial(trial)?;
    remove_tree(trial)
}

/// None: another has it, or it is gone by now.
fn lock(trial: &Path) -> io::Result<Option<File>> {
    let file = match File::open(trial) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    match file.try_lock() {
        Ok(()) => Ok(trial.exists().then_some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::volume::Volume;

    fn names(place: &Path) -> Vec<String> {
        let entries = fs::read_dir(place).expect("a directory").flatten();
        let mut names: Vec<_> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    #[test]
    fn what_a_killed_doctor_has_left_is_removed_and_nothing_else() {
        let scratch = tempfile::tempdir().expect("a directory");
        let (data, left) = (scratch.path().join("data"), scratch.path().join(".cloudai-doctor-left"));
        for (place, mode) in [(data.join(".cloudai-doctor-below"), 0o700), (left.clone(), 0o755)] {
            fs::create_dir_all(place.join("volume-trial")).expect("made");
            fs::set_permissions(place, Permissions::from_mode(mode)).expect("only its owner may write to it");
        }
        // It was killed while it had a file system there, where there are means for that.
        let _ = Volume::of(&left.join("volume-trial")).ensure(1 << 20);
        let mounted = || fs::read_to_string("/proc/self/mountinfo").expect("mounts").contains(".cloudai-doctor-left");
        let of_another = scratch.path().join(".cloudai-doctor-open");
        fs::create_dir(&of_another).expect("made");
        fs::set_permissions(&of_another, Permissions::from_mode(0o777)).expect("anybody may write to it");
        std::os::unix::fs::symlink(&data, scratch.path().join(".cloudai-doctor-link")).expect("made");
        let used = Trial::begin(scratch.path()).expect("made");
        sweep(&data);
        assert!(!mounted());
        let name = used.as_ref().file_name().expect("a name").to_string_lossy().into_owned();
        let mut expected =
            vec![".cloudai-doctor-link".to_owned(), ".cloudai-doctor-open".to_owned(), name, "data".to_owned()];
        expected.sort();
        assert_eq!(names(scratch.path()), expected);
        assert!(names(&data).is_empty());
        drop(used);
        assert_eq!(names(scratch.path()).len(), 3);
    }
}
