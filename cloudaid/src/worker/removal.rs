//! Removing what programs have left: folders as deep as they like, with names of any bytes. Nothing in them is followed, at
//! most two of them are open at a time, and no depth takes up the stack.
//!
//! Nobody else may change the tree meanwhile: its container has ended.

use std::ffi::CStr;
use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, DirEntry, FileType, Mode, OFlags, chmod, fchmod, fstat, openat, statat, unlinkat};
use rustix::io::Errno;
use rustix::path::Arg;

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// Takes no permission but to get there.
const PLACE: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// What is still there, because it is somebody else's.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Left {
    /// Files, and folders whose content cannot be seen.
    count: u64,
    /// The name of one of them.
    name: Vec<u8>,
    error: Errno,
}

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = String::from_utf8_lossy(&self.name);
        write!(f, "{}: {}", name.escape_debug(), self.error)?;
        if self.count > 1 { write!(f, ", and {} more", self.count - 1) } else { Ok(()) }
    }
}

/// Removes a directory and all that is in it, as far as this process may. It need not be there; anything else than a directory
/// is removed as well.
///
/// # Errors
/// The file system fails, or something in it is in use.
pub(super) fn remove(top: &Path) -> io::Result<Option<Left>> {
    let opened = match enter(CWD, top) {
        Err(Errno::NOENT) => return Ok(None),
        Err(Errno::NOTDIR | Errno::LOOP) => return Ok(unlinkat(CWD, top, AtFlags::empty()).map(|()| None)?),
        Err(error) => return refused(top.as_os_str().as_encoded_bytes(), error),
        Ok(opened) => opened,
    };
    let here = Here::of(&opened)?;
    let removal = Removal { folder: Dir::new(opened)?, here, above: Vec::new(), left: None };
    if let Some(left) = removal.run()? {
        return Ok(Some(left));
    }
    match unlinkat(CWD, top, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => Ok(None),
        Err(error) => refused(top.as_os_str().as_encoded_bytes(), error),
    }
}

fn refused(name: &[u8], error: Errno) -> io::Result<Option<Left>> {
    match error {
        Errno::ACCESS | Errno::PERM => Ok(Some(Left { count: 1, name: name.to_vec(), error })),
        error => Err(error.into()),
    }
}

/// One that is under way: down into the first folder that is not empty, and up again when it is.
struct Removal {
    folder: Dir,
    here: Here,
    /// From the top to the one above.
    above: Vec<Here>,
    left: Option<Left>,
}

/// A folder, and how far it is.
#[derive(Debug, Clone, Copy)]
struct Here {
    /// What makes it the same, when it is come back to.
    device: u64,
    inode: u64,
    /// In front of the entry that is looked at, as the file system counts; none: at the first.
    before: Option<i64>,
    /// And behind it.
    after: Option<i64>,
    /// Whether something has gone since it was begun to be read.
    has_changed: bool,
    /// Whether anything ever has.
    was_changed: bool,
    /// Whether something in it stays.
    is_kept: bool,
}

impl Here {
    fn of(folder: &OwnedFd) -> Result<Self, Errno> {
        let stat = fstat(folder)?;
        Ok(Self {
            device: stat.st_dev,
            inode: stat.st_ino,
            before: None,
            after: None,
            has_changed: false,
            was_changed: false,
            is_kept: false,
        })
    }

    fn changed(&mut self) {
        self.has_changed = true;
        self.was_changed = true;
    }
}

impl Removal {
    /// Empties the top.
    fn run(mut self) -> io::Result<Option<Left>> {
        loop {
            match self.folder.read() {
                Some(entry) => self.take(&entry?)?,
                // Some file systems pass over entries when others go meanwhile.
                None if self.here.has_changed && !self.here.is_kept => {
                    self.here.has_changed = false;
                    self.here.before = None;
                    self.folder.rewind();
                }
                None if self.above.is_empty() => return Ok(self.left),
                None => self.leave()?,
            }
        }
    }

    fn take(&mut self, entry: &DirEntry) -> Result<(), Errno> {
        let (name, behind) = (entry.file_name(), Some(entry.offset()));
        self.here.after = behind;
        if !matches!(name.to_bytes(), b"." | b"..") {
            match self.remove_entry(name, entry.file_type()) {
                // It is come back to when it is empty.
                Ok(Some(child)) => return self.go_into(child),
                Ok(None) => self.here.changed(),
                Err(Errno::NOENT) => {}
                Err(error @ (Errno::ACCESS | Errno::PERM)) => self.keep(name, error),
                Err(error) => return Err(error),
            }
        }
        self.here.before = behind;
        Ok(())
    }

    /// Removes it, or opens it, if it is a folder that is not empty.
    fn remove_entry(&self, name: &CStr, kind: FileType) -> Result<Option<OwnedFd>, Errno> {
        let folder = self.folder.fd()?;
        let is_folder = match kind {
            FileType::Directory => true,
            FileType::Unknown => {
                let stat = statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
                FileType::from_raw_mode(stat.st_mode) == FileType::Directory
            }
            _ => false,
        };
        let flags = if is_folder { AtFlags::REMOVEDIR } else { AtFlags::empty() };
        match unlinkat(folder, name, flags) {
            Err(Errno::NOTEMPTY | Errno::EXIST) if is_folder => enter(folder, name).map(Some),
            other => other.map(|()| None),
        }
    }

    fn go_into(&mut self, child: OwnedFd) -> Result<(), Errno> {
        let here = Here::of(&child)?;
        self.folder = Dir::new(child)?;
        self.above.push(std::mem::replace(&mut self.here, here));
        Ok(())
    }

    /// Up again, to the entry that has been emptied, or behind it.
    fn leave(&mut self) -> Result<(), Errno> {
        let Some(mut parent) = self.above.pop() else { return Ok(()) };
        if !self.here.was_changed && !self.here.is_kept {
            // The kernel says that there is something in it, and shows nothing.
            return Err(Errno::NOTEMPTY);
        }
        let up = openat(self.folder.fd()?, c"..", FOLDER, Mode::empty())?;
        let stat = fstat(&up)?;
        if (stat.st_dev, stat.st_ino) != (parent.device, parent.inode) {
            // Somebody has moved it. Whatever is above it now is not to be removed.
            return Err(Errno::STALE);
        }
        if self.here.is_kept {
            parent.before = parent.after;
            parent.is_kept = true;
        }
        parent.changed();
        self.folder = Dir::new(up)?;
        if let Some(at) = parent.before {
            self.folder.seek(at)?;
        }
        self.here = parent;
        Ok(())
    }

    fn keep(&mut self, name: &CStr, error: Errno) {
        self.here.is_kept = true;
        match &mut self.left {
            Some(left) => left.count += 1,
            None => self.left = Some(Left { count: 1, name: name.to_bytes().to_vec(), error }),
        }
    }
}

/// Opens a folder, to be emptied: one of ours may be without the permissions for that.
fn enter<P: Arg + Copy>(at: BorrowedFd<'_>, name: P) -> Result<OwnedFd, Errno> {
    let folder = match openat(at, name, FOLDER, Mode::empty()) {
        Err(Errno::ACCESS) => {
            let place = openat(at, name, PLACE, Mode::empty())?;
            chmod(format!("/proc/self/fd/{}", place.as_raw_fd()), Mode::RWXU).map_err(|_| Errno::ACCESS)?;
            openat(at, name, FOLDER, Mode::empty())?
        }
        other => other?,
    };
    let mode = Mode::from_raw_mode(fstat(&folder)?.st_mode);
    if !mode.contains(Mode::RWXU) {
        // What is not ours stays as it is, and says what it forbids.
        let _ = fchmod(&folder, Mode::RWXU);
    }
    // There has to be a way back.
    statat(&folder, c"..", AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(folder)
}

#[cfg(test)]
pub(super) mod testkit {
    use super::*;

    /// Makes so many folders, each in the one before, and a file in the last, below a directory.
    pub(in crate::worker) fn nest(top: &Path, depth: usize) {
        let mut at = openat(CWD, top, FOLDER, Mode::empty()).expect("the top");
        for _ in 0..depth {
            rustix::fs::mkdirat(&at, c"d", Mode::RWXU).expect("a folder");
            at = openat(&at, c"d", FOLDER, Mode::empty()).expect("a folder");
        }
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC;
        drop(openat(&at, c"last", flags, Mode::RUSR).expect("a file"));
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::fs;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn folders_of_any_depth_go_on_a_small_stack() {
        let scratch = tempfile::tempdir().expect("a directory");
        let top = scratch.path().join("top");
        fs::create_dir(&top).expect("made");
        testkit::nest(&top, 50_000);
        fs::create_dir(top.join("beside")).expect("made");
        testkit::nest(&top.join("beside"), 2_000);
        let small = std::thread::Builder::new().stack_size(256 << 10);
        let removed = small.spawn({
            let top = top.clone();
            move || remove(&top)
        });
        let removed = removed.expect("a thread").join().expect("it does not panic");
        assert_eq!(removed.expect("removed"), None);
        assert!(!top.exists());
        assert_eq!(remove(&top).expect("removed twice"), None);
    }

    #[test]
    fn wide_trees_with_odd_names_go_and_what_links_name_stays() {
        let scratch = tempfile::tempdir().expect("a directory");
        let (top, outside) = (scratch.path().join("top"), scratch.path().join("outside"));
        fs::create_dir_all(outside.join("kept")).expect("made");
        fs::write(outside.join("kept/file"), "data").expect("written");
        for number in 0..3_000 {
            let folder = top.join(format!("d{}/e{}", number % 700, number % 3));
            fs::create_dir_all(&folder).expect("made");
            fs::write(folder.join(format!("f{number}")), "").expect("written");
            fs::write(top.join(format!("g{number}")), "").expect("written");
        }
        for name in [&b"\xff\xfe"[..], b"-rf", b"\n", b"...", b" "] {
            let folder = top.join(OsStr::from_bytes(name));
            fs::create_dir(&folder).expect("made");
            symlink(&outside, folder.join(OsStr::from_bytes(name))).expect("linked");
        }
        symlink(&outside, top.join("way")).expect("linked");
        symlink("nowhere", top.join("dangling")).expect("linked");
        fs::set_permissions(top.join("d0/e0"), fs::Permissions::from_mode(0o000)).expect("closed");
        fs::set_permissions(top.join("d1"), fs::Permissions::from_mode(0o400)).expect("closed");
        fs::set_permissions(top.join("d2"), fs::Permissions::from_mode(0o555)).expect("closed");
        assert_eq!(remove(&top).expect("removed"), None);
        assert!(!top.exists());
        let link = scratch.path().join("link");
        symlink(&outside, &link).expect("linked");
        assert_eq!(remove(&link).expect("removed"), None);
        assert!(link.symlink_metadata().is_err(), "the link goes");
        assert_eq!(fs::read_to_string(outside.join("kept/file")).expect("it stays"), "data");
    }

    #[test]
    fn what_may_not_be_removed_is_named_and_keeps_nothing_else() {
        // Nobody but root makes what root cannot be kept from: an entry that cannot go stands in for it.
        let left = refused(b"a\n", Errno::PERM).expect("it is left").expect("it is named");
        assert_eq!(left.to_string(), format!("a\\n: {}", Errno::PERM));
        let more = Left { count: 3, ..left };
        assert_eq!(more.to_string(), format!("a\\n: {}, and 2 more", Errno::PERM));
        assert!(refused(b"a", Errno::BUSY).is_err());
        let scratch = tempfile::tempdir().expect("a directory");
        let top = scratch.path().join("top");
        fs::create_dir_all(top.join("a/b/c")).expect("made");
        fs::write(top.join("a/b/c/file"), "").expect("written");
        let opened = enter(CWD, &top).expect("opened");
        let here = Here::of(&opened).expect("looked at");
        let mut removal = Removal { folder: Dir::new(opened).expect("opened"), here, above: Vec::new(), left: None };
        removal.keep(c"foreign", Errno::ACCESS);
        let left = removal.run().expect("emptied").expect("something stays");
        assert_eq!((left.count, left.name), (1, b"foreign".to_vec()));
        assert_eq!(fs::read_dir(&top).expect("it stays").count(), 0, "all else goes");
    }
}
