//! Everything below a directory, one after the other.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, Mode, Stat, fstat, openat, statat};
use rustix::io::Errno;

use super::{FOLDER, open_root, resolve_far};

/// The longest way that is remembered: folders that are deeper than that take much of the disk themselves.
const DEEP_LIMIT: usize = 64 << 20;

/// A walk under way, first down and then on. Only the present directory is open, so that depth costs no file descriptors:
/// the others are opened again where they were left.
pub(super) struct Entries {
    root: OwnedFd,
    /// Of what was found last.
    path: Vec<u8>,
    /// Directories whose paths are longer are not looked into.
    longest: usize,
    /// From the root to the present one.
    folders: Vec<Folder>,
    /// The one that is open, which is the present one or was just before, and its place in `folders`.
    open: Option<(usize, Dir)>,
    seen: usize,
}

struct Folder {
    /// Of its path.
    length: usize,
    /// Behind the last entry that was found, as the file system counts; none: it has not begun.
    at: Option<i64>,
    /// Device and number, since it was opened: what makes it the same.
    identity: Option<(u64, u64)>,
}

/// What was found.
pub(super) enum Found {
    /// Anything but `.` and `..`. If it is a directory, what is in it comes next.
    Entry(Stat),
    /// A directory whose path is so long that it is not looked into.
    FolderTooDeep(Stat),
    /// There was something.
    UnreadableEntry(Errno),
    /// This directory, or the rest of it.
    UnreadableFolder(Errno),
}

impl Entries {
    /// Finds everything, whatever its path.
    pub(super) fn deep(root: &Path) -> io::Result<Self> {
        Self::new(root, DEEP_LIMIT)
    }

    /// Does not look into directories with paths of more than `longest` bytes.
    pub(super) fn new(root: &Path, longest: usize) -> io::Result<Self> {
        let first = Folder { length: 0, at: None, identity: None };
        let root = open_root(root)?;
        Ok(Self { root, path: Vec::new(), longest, folders: vec![first], open: None, seen: 1 })
    }

    /// Below the root: of what was found last.
    pub(super) fn path(&self) -> &[u8] {
        &self.path
    }

    /// How many directories were found, with the root.
    pub(super) fn folders(&self) -> usize {
        self.seen
    }

    pub(super) fn next_entry(&mut self) -> Option<Found> {
        loop {
            let length = self.folders.last()?.length;
            self.path.truncate(length);
            match self.read_present() {
                Ok(Some(Found::Entry(stat))) => {
                    if is_folder(&stat) {
                        self.seen += 1;
                        if self.path.len() > self.longest {
                            return Some(Found::FolderTooDeep(stat));
                        }
                        self.folders.push(Folder { length: self.path.len(), at: None, identity: None });
                    }
                    return Some(Found::Entry(stat));
                }
                Ok(Some(found)) => return Some(found),
                Ok(None) => drop(self.folders.pop()),
                Err(error) => {
                    self.path.truncate(length);
                    self.folders.pop();
                    return Some(Found::UnreadableFolder(error));
                }
            }
        }
    }

    /// The next entry of the present directory, of which `path` gets the name.
    fn read_present(&mut self) -> Result<Option<Found>, Errno> {
        self.open_present()?;
        let (Some((_, open)), Some(folder)) = (&mut self.open, self.folders.last_mut()) else { return Ok(None) };
        while let Some(entry) = open.read() {
            let entry = entry?;
            folder.at = Some(entry.offset());
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            if !self.path.is_empty() {
                self.path.push(b'/');
            }
            self.path.extend_from_slice(name.to_bytes());
            let stat = statat(open.fd()?, name, AtFlags::SYMLINK_NOFOLLOW);
            return Ok(Some(stat.map_or_else(Found::UnreadableEntry, Found::Entry)));
        }
        Ok(None)
    }

    /// From the directory above it or below it, whichever is open; by its path, if somebody has moved that meanwhile.
    fn open_present(&mut self) -> Result<(), Errno> {
        let Some((folder, above)) = self.folders.split_last_mut() else { return Ok(()) };
        let place = above.len();
        let opened = match self.open.take() {
            Some(open) if open.0 == place => {
                self.open = Some(open);
                return Ok(());
            }
            Some((at, open)) if at + 1 == place => {
                let name = self.path.get(above.last().map_or(0, Folder::begin)..).unwrap_or_default();
                let opened = openat(open.fd()?, name, FOLDER, Mode::empty());
                // The one above goes on if this one cannot be opened.
                opened.inspect_err(|_| self.open = Some((at, open)))?
            }
            Some((at, open)) if at == place + 1 => match openat(open.fd()?, c"..", FOLDER, Mode::empty()) {
                Ok(opened) if identity(&opened).ok() == folder.identity => opened,
                Ok(_) | Err(_) => reopen(&self.root, &self.path)?,
            },
            Some(_) | None => reopen(&self.root, &self.path)?,
        };
        folder.identity = Some(identity(&opened)?);
        let mut opened = Dir::new(opened)?;
        if let Some(at) = folder.at {
            opened.seek(at)?;
        }
        self.open = Some((place, opened));
        Ok(())
    }
}

impl Folder {
    /// Where the names of its entries begin in their paths.
    fn begin(&self) -> usize {
        if self.length == 0 { 0 } else { self.length + 1 }
    }
}

fn identity(folder: &OwnedFd) -> Result<(u64, u64), Errno> {
    fstat(folder).map(|stat| (stat.st_dev, stat.st_ino))
}

/// Opens a directory below `root`, or that itself, through no link.
fn reopen(root: &OwnedFd, path: &[u8]) -> Result<OwnedFd, Errno> {
    if path.is_empty() { openat(root, c".", FOLDER, Mode::empty()) } else { resolve_far(root, path, FOLDER) }
}

pub(super) fn is_folder(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
}
