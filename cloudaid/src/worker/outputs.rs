//! The files that a container left in its output directory.
//!
//! Whatever is in there was made by somebody else's program, so nothing in it is followed: every name is resolved by
//! the kernel below the directory and without links, and only regular files count. Walk it after the container has
//! stopped.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, Stat, fstat, openat, openat2};
use rustix::io::Errno;
use shared::files_of::{PATH_LIMIT, PLAIN_PATH};
use shared::resources::Bytes;

use entries::{Entries, Found, is_folder};

use crate::file_bytes::{UNIT, file_bytes};

mod entries;

/// The most files, and the most directories, that are collected.
pub const FILE_LIMIT: usize = 1_000_000;
/// The most notes; what follows is counted only.
pub const NOTE_LIMIT: usize = 100;
/// What the paths longer than [`PLAIN_PATH`] of a run may come to, in bytes: here they are names below each other, and the
/// master keeps each of them whole.
const LONG_PATHS: usize = 256 << 20;
/// Characters of a path in a note: a master takes no long ones, and each of them may need ten bytes.
const SHOWN_LIMIT: usize = 500;
/// The most files and folders of which [`lengths`] and [`used_soon`] tell: somebody waits for it.
const SOON_LIMIT: usize = 100_000;

/// For directories of ours and of theirs: no links, and a FIFO does not block.
const FOLDER: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::CLOEXEC);
const FILE: OFlags = OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::CLOEXEC);
/// What a directory is taken to store: its own size is a matter of the file system.
const FOLDER_BYTES: u64 = UNIT;
/// How much of a long path is resolved at a time: the kernel takes 4,095 bytes.
const PIECE: usize = 4000;
/// How often a resolution is tried that a rename somewhere on the machine has disturbed.
const RESOLVE_TRIES: u32 = 100;

/// A regular file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct OutputFile {
    /// Below the directory, as the program named it: any bytes.
    pub path: Vec<u8>,
    /// In bytes.
    pub size: u64,
}

/// Opens a file that a [`Walk`] has found.
///
/// # Errors
/// It is not there any more, is no regular file, or can only be reached by a link or outside of `root`.
pub fn open(root: &Path, path: &[u8]) -> io::Result<File> {
    let root = open_root(root)?;
    let file = resolve_far(&root, path, FILE)?;
    if FileType::from_raw_mode(fstat(&file)?.st_mode) != FileType::RegularFile {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    Ok(file.into())
}

/// Bytes on the disk below `root`, at whatever depth, as far as they can be seen; each file and folder is one block at the
/// least. Once they are more than `enough` the rest is not looked at. `each` is told the path of everything that is counted,
/// and its share; what is in a folder comes right behind it.
pub fn used(root: &Path, enough: u64, each: impl FnMut(&[u8], u64)) -> u64 {
    used_by(root, usize::MAX, enough, each)
}

/// The same of as many as are worth the time.
pub(super) fn used_soon(root: &Path, each: impl FnMut(&[u8], u64)) -> u64 {
    used_by(root, SOON_LIMIT, u64::MAX, each)
}

/// The same of so many files and folders.
fn used_by(root: &Path, entries: usize, enough: u64, mut each: impl FnMut(&[u8], u64)) -> u64 {
    let (mut used, mut left) = (0u64, entries);
    look_through(root, |path, stat| {
        let bytes = if is_folder(stat) { FOLDER_BYTES } else { file_bytes(stat) };
        each(path, bytes);
        used = used.saturating_add(bytes);
        left = left.saturating_sub(1);
        used <= enough && left > 0
    });
    used
}

/// The same as [`used_soon`] for what a container engine has measured, which counts lengths, and of files alone.
pub(super) fn lengths(root: &Path, mut each: impl FnMut(&[u8], u64)) {
    let mut left = SOON_LIMIT;
    look_through(root, |path, stat| {
        if !is_folder(stat) {
            each(path, u64::try_from(stat.st_size).unwrap_or(0));
        }
        left -= 1;
        left > 0
    });
}

/// Everything below `root`, at whatever depth, until `look` wants no more.
fn look_through(root: &Path, mut look: impl FnMut(&[u8], &Stat) -> bool) {
    let Ok(mut entries) = Entries::deep(root) else { return };
    let mut goes_on = true;
    while goes_on && entries.folders() <= FILE_LIMIT {
        goes_on = match entries.next_entry() {
            Some(Found::Entry(stat) | Found::FolderTooDeep(stat)) => look(entries.path(), &stat),
            // What goes while it is looked at stores nothing any more.
            Some(Found::UnreadableEntry(_) | Found::UnreadableFolder(_)) => true,
            None => false,
        };
    }
}

/// Finds the files below a directory, one after the other, always in the same order while nobody changes it. Holds no more
/// than the way to the present one, however many there are.
pub struct Walk {
    entries: Entries,
    /// The longest path, in bytes.
    longest: usize,
    files: usize,
    /// What the next paths that are longer than [`PLAIN_PATH`] may come to.
    long_paths: usize,
    notes: Notes,
    file_limit: usize,
    is_over: bool,
}

impl Walk {
    /// Leaves out files with paths of more than `longest` bytes, and of more than [`PATH_LIMIT`].
    ///
    /// # Errors
    /// `root` cannot be opened.
    pub fn new(root: &Path, longest: usize) -> io::Result<Self> {
        let longest = longest.min(PATH_LIMIT);
        Ok(Self {
            entries: Entries::new(root, longest)?,
            longest,
            files: 0,
            long_paths: LONG_PATHS,
            notes: Notes::default(),
            file_limit: FILE_LIMIT,
            is_over: false,
        })
    }

    /// The next file; none: there is no other.
    ///
    /// # Errors
    /// The root itself cannot be read; anything else that cannot be is a note.
    pub fn next_file(&mut self) -> io::Result<Option<OutputFile>> {
        while !self.is_over {
            match self.entries.next_entry() {
                None => self.is_over = true,
                Some(Found::UnreadableFolder(error)) if self.entries.path().is_empty() => return Err(error.into()),
                Some(Found::UnreadableFolder(error)) => {
                    self.notes.skip("directory that cannot be read", self.entries.path(), Some(error));
                }
                Some(Found::FolderTooDeep(_)) => {
                    self.notes.skip(&too_long("directory", self.longest), self.entries.path(), None);
                    self.end_if_too_many_folders();
                }
                Some(Found::UnreadableEntry(error)) => {
                    self.notes.skip("file that cannot be read", self.entries.path(), Some(error));
                }
                Some(Found::Entry(stat)) => {
                    if let Some(file) = self.take(&stat) {
                        return Ok(Some(file));
                    }
                }
            }
        }
        Ok(None)
    }

    fn take(&mut self, stat: &Stat) -> Option<OutputFile> {
        let path = self.entries.path();
        let skipped = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => {
                if self.files >= self.file_limit {
                    self.is_over = true;
                    self.notes.more_than(self.file_limit);
                    return None;
                }
                let long = if path.len() > PLAIN_PATH { path.len() } else { 0 };
                if path.len() > self.longest {
                    self.notes.skip(&too_long("file", self.longest), path, None);
                } else if let Some(left) = self.long_paths.checked_sub(long) {
                    self.long_paths = left;
                    self.files += 1;
                    return Some(OutputFile { path: path.to_vec(), size: u64::try_from(stat.st_size).unwrap_or(0) });
                } else {
                    self.notes.skip(&too_many_long(), path, None);
                }
                return None;
            }
            FileType::Directory => {
                self.end_if_too_many_folders();
                return None;
            }
            FileType::Symlink => "link",
            FileType::Fifo => "FIFO",
            FileType::Socket => "socket",
            FileType::CharacterDevice | FileType::BlockDevice => "device",
            FileType::Unknown => "file of an unknown kind",
        };
        self.notes.skip(skipped, path, None);
        None
    }

    fn end_if_too_many_folders(&mut self) {
        if self.entries.folders() > self.file_limit {
            self.is_over = true;
            self.notes.more_than(self.file_limit);
        }
    }

    /// What was left out so far, and why.
    #[must_use]
    pub fn finish(self) -> Vec<String> {
        self.notes.finish()
    }
}

fn too_long(what: &str, longest: usize) -> String {
    format!("{what} with a path of more than {longest} bytes")
}

fn too_many_long() -> String {
    format!("file, as the paths of more than {PLAIN_PATH} bytes would come to more than {}", Bytes(LONG_PATHS as u64))
}

/// Notes, of which the first [`NOTE_LIMIT`] are kept.
#[derive(Debug, Default)]
pub struct Notes {
    kept: Vec<String>,
    more: usize,
}

impl Notes {
    fn skip(&mut self, what: &str, path: &[u8], error: Option<Errno>) {
        let path = shown(path);
        match error {
            None => self.add(format!("skipped {what}: {path}")),
            Some(error) => self.add(format!("skipped {what}: {path}: {error}")),
        }
    }

    fn more_than(&mut self, limit: usize) {
        // It is the last one, and is to be seen.
        self.kept.truncate(NOTE_LIMIT - 1);
        self.add(format!("more than {limit} files or directories: the rest was skipped"));
    }

    /// One more.
    pub fn add(&mut self, note: String) {
        if self.kept.len() < NOTE_LIMIT {
            self.kept.push(note);
        } else {
            self.more += 1;
        }
    }

    /// All of them, sorted.
    #[must_use]
    pub fn finish(mut self) -> Vec<String> {
        self.kept.sort_unstable();
        if self.more > 0 {
            self.kept.push(format!("and {} more", self.more));
        }
        self.kept
    }
}

/// A path for people: without control characters, and only its beginning if it is long.
pub(super) fn shown(path: &[u8]) -> String {
    shown_within(SHOWN_LIMIT, path)
}

/// The same, if it is longer than so many characters.
pub(super) fn shown_within(limit: usize, path: &[u8]) -> String {
    let text = String::from_utf8_lossy(path);
    let mut chars = text.chars();
    let mut shown = chars.by_ref().take(limit).collect::<String>().escape_debug().to_string();
    if chars.next().is_some() {
        shown.push_str("...");
    }
    shown
}

/// The directory itself is ours, but a container sees it: its last name must not be a link either.
fn open_root(root: &Path) -> io::Result<OwnedFd> {
    Ok(openat(CWD, root, FOLDER, Mode::empty())?)
}

/// Opens `path` below `root`, through no link, however long it is.
fn resolve_far(root: &OwnedFd, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    let (mut folder, mut rest) = (None, path);
    while let Some(piece) = rest.get(..PIECE) {
        // No name is as long as a piece.
        let end = piece.iter().rposition(|byte| *byte == b'/').ok_or(Errno::NAMETOOLONG)?;
        folder = Some(resolve(folder.as_ref().unwrap_or(root), &rest[..end], FOLDER)?);
        rest = &rest[end + 1..];
    }
    resolve(folder.as_ref().unwrap_or(root), rest, flags)
}

/// The same of a path that the kernel takes at once.
fn resolve(root: &OwnedFd, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    let plain = path.split(|byte| *byte == b'/').all(|part| !matches!(part, b"" | b"." | b".."));
    if !plain || path.contains(&0) {
        return Err(Errno::INVAL);
    }
    let below = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    for _ in 0..RESOLVE_TRIES {
        match openat2(root, path, flags, Mode::empty(), below) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            // An old kernel, or a sandbox that does not know the call.
            Err(Errno::NOSYS | Errno::PERM) => return resolve_by_steps(root, path, flags),
            other => return other,
        }
    }
    Err(Errno::AGAIN)
}

/// The same without `openat2`: one name at a time, none of them a link.
fn resolve_by_steps(root: &OwnedFd, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    let mut parts: Vec<&[u8]> = path.split(|byte| *byte == b'/').collect();
    let last = parts.pop().ok_or(Errno::INVAL)?;
    let mut folder = None;
    for part in parts {
        folder = Some(openat(folder.as_ref().unwrap_or(root), part, FOLDER, Mode::empty())?);
    }
    openat(folder.as_ref().unwrap_or(root), last, flags, Mode::empty())
}

#[cfg(test)]
mod tests;
