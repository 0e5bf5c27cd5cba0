//! Everything below a directory, one after the other.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, Mode, Stat, openat, statat};
use rustix::io::Errno;

use super::{FOLDER, open_root, resolve};

/// A walk under way, first down and then on. Only the present directory is open, so that depth costs no file descriptors:
/// the others are opened again where they were left.
pub(super) struct Entries {
    root: OwnedFd,
    /// Of what was found last.
    path: Vec<u8>,
    /// From the root to the present one.
    folders: Vec<Folder>,
    seen: usize,
}

struct Folder {
    /// Of its path.
    length: usize,
    /// Behind the last entry that was found, as the file system counts; none: it has not begun.
    at: Option<i64>,
    open: Option<Dir>,
}

/// What was found.
pub(super) enum Found {
    /// Anything but `.` and `..`. If it is a directory, what is in it comes next.
    Entry(Stat),
    /// There was something.
    UnreadableEntry(Errno),
    /// This directory, or the rest of it.
    UnreadableFolder(Errno),
}

impl Entries {
    pub(super) fn new(root: &Path) -> io::Result<Self> {
        let first = Folder { length: 0, at: None, open: None };
        Ok(Self { root: open_root(root)?, path: Vec::new(), folders: vec![first], seen: 1 })
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
            let folder = self.folders.last_mut()?;
            self.path.truncate(folder.length);
            match folder.next(&self.root, &mut self.path) {
                Ok(Some(Found::Entry(stat))) => {
                    if is_folder(&stat) {
                        folder.open = None;
                        self.folders.push(Folder { length: self.path.len(), at: None, open: None });
                        self.seen += 1;
                    }
                    return Some(Found::Entry(stat));
                }
                Ok(Some(found)) => return Some(found),
                Ok(None) => drop(self.folders.pop()),
                Err(error) => {
                    self.path.truncate(folder.length);
                    self.folders.pop();
                    return Some(Found::UnreadableFolder(error));
                }
            }
        }
    }
}

impl Folder {
    /// Its next entry, of which `path` gets the name.
    fn next(&mut self, root: &OwnedFd, path: &mut Vec<u8>) -> Result<Option<Found>, Errno> {
        let open = match &mut self.open {
            Some(open) => open,
            None => self.open.insert(open_at(root, path, self.at)?),
        };
        while let Some(entry) = open.read() {
            let entry = entry?;
            self.at = Some(entry.offset());
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(name.to_bytes());
            let stat = statat(open.fd()?, name, AtFlags::SYMLINK_NOFOLLOW);
            return Ok(Some(stat.map_or_else(Found::UnreadableEntry, Found::Entry)));
        }
        Ok(None)
    }
}

fn open_at(root: &OwnedFd, folder: &[u8], at: Option<i64>) -> Result<Dir, Errno> {
    let opened =
        if folder.is_empty() { openat(root, c".", FOLDER, Mode::empty())? } else { resolve(root, folder, FOLDER)? };
    let mut opened = Dir::new(opened)?;
    if let Some(at) = at {
        opened.seek(at)?;
    }
    Ok(opened)
}

pub(super) fn is_folder(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
}
