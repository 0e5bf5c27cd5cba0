//! Files of any name in a folder of ours, made step by step and never through a link.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{CWD, Mode, OFlags, fchmod, mkdirat, openat};
use rustix::io::Errno;

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
const NEW: OFlags =
    OFlags::WRONLY.union(OFlags::CREATE).union(OFlags::EXCL).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Any user of any image reads them, and nobody writes.
const FOLDER_MODE: Mode = Mode::from_raw_mode(0o755);
const FILE_MODE: Mode = Mode::from_raw_mode(0o644);
const PROGRAM_MODE: Mode = Mode::from_raw_mode(0o755);

/// An open folder. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Folder(Arc<OwnedFd>);

/// A file that is being written.
#[derive(Debug)]
pub(super) struct NewFile {
    file: File,
    left: u64,
    hasher: blake3::Hasher,
}

impl Folder {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self(Arc::new(openat(CWD, path, FOLDER, Mode::empty())?)))
    }

    /// A new file of `size` bytes. Its folders are made if they are not there; that it is there itself is an error.
    pub(super) fn create(&self, path: &[u8], size: u64, executable: bool) -> io::Result<NewFile> {
        let mut names: Vec<&[u8]> = path.split(|byte| *byte == b'/').collect();
        let odd = |name: &&[u8]| matches!(*name, b"" | b"." | b"..") || name.contains(&0);
        let last = names.pop().filter(|last| !odd(last) && !names.iter().any(odd));
        let last = last.ok_or(Errno::INVAL)?;
        let mut folder = None;
        for name in names {
            folder = Some(enter(folder.as_ref().unwrap_or(&self.0), name)?);
        }
        let file = openat(folder.as_ref().unwrap_or(&self.0), last, NEW, FILE_MODE)?;
        // Whatever the umask of this process.
        fchmod(&file, if executable { PROGRAM_MODE } else { FILE_MODE })?;
        Ok(NewFile { file: file.into(), left: size, hasher: blake3::Hasher::new() })
    }
}

fn enter(at: &OwnedFd, name: &[u8]) -> io::Result<OwnedFd> {
    match mkdirat(at, name, FOLDER_MODE) {
        Ok(()) => {
            let made = openat(at, name, FOLDER, Mode::empty())?;
            fchmod(&made, FOLDER_MODE)?;
            Ok(made)
        }
        Err(Errno::EXIST) => Ok(openat(at, name, FOLDER, Mode::empty())?),
        Err(error) => Err(error.into()),
    }
}

impl NewFile {
    /// Appends.
    pub(super) fn write(&mut self, data: &[u8]) -> io::Result<()> {
        self.left =
            self.left.checked_sub(data.len() as u64).ok_or_else(|| damaged("more bytes came than announced"))?;
        self.hasher.update(data);
        self.file.write_all(data)
    }

    /// Whether it is what it should be.
    pub(super) fn finish(self, blake3: &[u8]) -> io::Result<()> {
        if self.left > 0 || self.hasher.finalize().as_bytes() != blake3 {
            return Err(damaged("a file came that does not match its checksum"));
        }
        Ok(())
    }
}

fn damaged(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn put(folder: &Folder, path: &[u8], content: &[u8]) -> io::Result<()> {
        let mut file = folder.create(path, content.len() as u64, path.ends_with(b".sh"))?;
        file.write(content)?;
        file.finish(blake3::hash(content).as_bytes())
    }

    #[test]
    fn files_of_odd_names_appear_as_they_are() {
        let scratch = tempfile::tempdir().expect("a directory");
        let folder = Folder::open(scratch.path()).expect("opened");
        for path in [&b"a b\n"[..], b"d/e/\xff", b"d/..x", b"-rf", b"d/run.sh"] {
            put(&folder, path, path).expect("written");
            let on_disk = scratch.path().join(std::ffi::OsStr::from_bytes(path));
            assert_eq!(fs::read(on_disk).expect("there"), path);
        }
        let mode = |path: &str| fs::metadata(scratch.path().join(path)).expect("there").permissions().mode() & 0o777;
        assert_eq!((mode("d"), mode("d/..x"), mode("d/run.sh")), (0o755, 0o644, 0o755));
        assert!(put(&folder, b"-rf", b"again").is_err(), "nothing is written over");
    }

    #[test]
    fn no_name_leads_out_and_no_link_is_followed() {
        let scratch = tempfile::tempdir().expect("a directory");
        let (inside, outside) = (scratch.path().join("in"), scratch.path().join("out"));
        fs::create_dir(&inside).expect("made");
        fs::create_dir(&outside).expect("made");
        symlink(&outside, inside.join("link")).expect("linked");
        symlink(outside.join("new"), inside.join("dangling")).expect("linked");
        let folder = Folder::open(&inside).expect("opened");
        for bad in [&b"../out/x"[..], b"/x", b"", b"a//b", b"a/.", b"link/x", b"dangling", b"a\0b", b"."] {
            assert!(put(&folder, bad, b"x").is_err(), "{bad:?}");
        }
        assert_eq!(fs::read_dir(&outside).expect("listed").count(), 0);
        assert!(Folder::open(&inside.join("link")).is_err());
    }

    #[test]
    fn what_is_not_as_announced_is_refused() {
        let scratch = tempfile::tempdir().expect("a directory");
        let folder = Folder::open(scratch.path()).expect("opened");
        let mut long = folder.create(b"long", 2, false).expect("created");
        assert!(long.write(b"abc").is_err());
        let mut short = folder.create(b"short", 2, false).expect("created");
        short.write(b"a").expect("written");
        assert!(short.finish(blake3::hash(b"a").as_bytes()).is_err());
        let mut other = folder.create(b"other", 1, false).expect("created");
        other.write(b"a").expect("written");
        assert!(other.finish(blake3::hash(b"b").as_bytes()).is_err());
    }
}
