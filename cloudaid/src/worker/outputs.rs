//! The files that a container left in its output directory.
//!
//! Whatever is in there was made by somebody else's program, so nothing in it is followed: every name is resolved by
//! the kernel below the directory and without links, and only regular files count. Walk it after the container has
//! stopped.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags, fstat, openat, openat2, statat};
use rustix::io::Errno;

/// The most files, and the most directories, that are collected.
pub const FILE_LIMIT: usize = 1_000_000;
/// The most notes; what follows is counted only.
pub const NOTE_LIMIT: usize = 100;

/// For directories of ours and of theirs: no links, and a FIFO does not block.
const FOLDER: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::CLOEXEC);
const FILE: OFlags = OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::CLOEXEC);
/// Bytes of what `st_blocks` counts.
const BLOCK: u64 = 512;
/// Bytes that a file system gives at a time, as most do.
const UNIT: u64 = 4096;
/// What a directory is taken to store: its own size is a matter of the file system.
const FOLDER_BYTES: u64 = UNIT;
/// How often a resolution is tried that a rename somewhere on the machine has disturbed.
const RESOLVE_TRIES: u32 = 100;

/// What a directory holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Outputs {
    /// Regular files, sorted by path.
    pub files: Vec<OutputFile>,
    /// What was left out, and why.
    pub notes: Vec<String>,
}

/// A regular file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct OutputFile {
    /// Below the directory, as the program named it: any bytes.
    pub path: Vec<u8>,
    /// In bytes.
    pub size: u64,
}

/// Finds all files below `root`.
///
/// # Errors
/// `root` itself cannot be read; anything else that cannot be is a note.
pub fn walk(root: &Path) -> io::Result<Outputs> {
    Walk::new(open_root(root)?).run()
}

/// Opens a file that [`walk`] has found.
///
/// # Errors
/// It is not there any more, is no regular file, or can only be reached by a link or outside of `root`.
pub fn open(root: &Path, path: &[u8]) -> io::Result<File> {
    let root = open_root(root)?;
    let file = resolve(&root, path, FILE)?;
    if FileType::from_raw_mode(fstat(&file)?.st_mode) != FileType::RegularFile {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    Ok(file.into())
}

/// Bytes on the disk below `root`, as far as they can be seen; once they are more than `enough` the rest is not looked at.
pub fn used(root: &Path, enough: u64) -> u64 {
    let Ok(root) = open_root(root) else { return 0 };
    let (mut used, mut folders) = (0u64, vec![Vec::new()]);
    while let Some(folder) = folders.pop() {
        if used > enough {
            break;
        }
        // What goes while it is looked at stores nothing any more.
        let _ = measure(&root, &folder, (&mut used, enough), &mut folders);
    }
    used
}

/// Blocks and not the length, because a file may have holes; but no more than its length takes, because some file systems
/// give a file that grows more than it has. Each name of a file counts its share of it.
fn file_bytes(stat: &rustix::fs::Stat) -> u64 {
    let number = |number: i64| u64::try_from(number).unwrap_or(0);
    let blocks = number(stat.st_blocks).saturating_mul(BLOCK);
    let length = number(stat.st_size).div_ceil(UNIT).saturating_mul(UNIT);
    blocks.min(length) / stat.st_nlink.max(1)
}

/// Adds what stands in one folder, and puts its folders on the list.
fn measure(
    root: &OwnedFd,
    folder: &[u8],
    (used, enough): (&mut u64, u64),
    folders: &mut Vec<Vec<u8>>,
) -> Result<(), Errno> {
    let opened = open_folder(root, folder)?;
    let mut entries = Dir::read_from(&opened)?;
    while let Some(entry) = entries.read() {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let Ok(stat) = statat(&opened, name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
        let is_folder = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        *used = used.saturating_add(if is_folder { FOLDER_BYTES } else { file_bytes(&stat) });
        if is_folder && folders.len() < FILE_LIMIT {
            folders.push(join(folder, name.to_bytes()));
        }
        if *used > enough {
            break;
        }
    }
    Ok(())
}

/// A walk under way. Directories are kept as paths and not open, so that depth costs no file descriptors.
struct Walk {
    root: OwnedFd,
    /// Still to read.
    folders: Vec<Vec<u8>>,
    folders_seen: usize,
    files: Vec<OutputFile>,
    notes: Notes,
    file_limit: usize,
}

impl Walk {
    fn new(root: OwnedFd) -> Self {
        Self {
            root,
            folders: vec![Vec::new()],
            folders_seen: 1,
            files: Vec::new(),
            notes: Notes::default(),
            file_limit: FILE_LIMIT,
        }
    }

    fn run(mut self) -> io::Result<Outputs> {
        while let Some(folder) = self.folders.pop() {
            match self.read(&folder) {
                Ok(()) => {}
                Err(error) if folder.is_empty() => return Err(error.into()),
                Err(error) => self.notes.skip("directory that cannot be read", &folder, Some(error)),
            }
            if self.files.len() > self.file_limit || self.folders_seen > self.file_limit {
                self.files.truncate(self.file_limit);
                self.notes.add(format!("more than {} files or directories: the rest was skipped", self.file_limit));
                break;
            }
        }
        self.files.sort_unstable();
        Ok(Outputs { files: self.files, notes: self.notes.finish() })
    }

    /// Takes the files of one directory and puts its directories on the list.
    fn read(&mut self, folder: &[u8]) -> Result<(), Errno> {
        let opened = open_folder(&self.root, folder)?;
        let mut entries = Dir::read_from(&opened)?;
        while let Some(entry) = entries.read() {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                let path = join(folder, name);
                match statat(&opened, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW) {
                    Ok(stat) => self.take(path, FileType::from_raw_mode(stat.st_mode), stat.st_size),
                    Err(error) => self.notes.skip("file that cannot be read", &path, Some(error)),
                }
            }
            if self.files.len() > self.file_limit || self.folders_seen > self.file_limit {
                return Ok(());
            }
        }
        Ok(())
    }

    fn take(&mut self, path: Vec<u8>, kind: FileType, size: i64) {
        let skipped = match kind {
            FileType::RegularFile => {
                self.files.push(OutputFile { path, size: u64::try_from(size).unwrap_or(0) });
                return;
            }
            FileType::Directory => {
                self.folders.push(path);
                self.folders_seen += 1;
                return;
            }
            FileType::Symlink => "link",
            FileType::Fifo => "FIFO",
            FileType::Socket => "socket",
            FileType::CharacterDevice | FileType::BlockDevice => "device",
            FileType::Unknown => "file of an unknown kind",
        };
        self.notes.skip(skipped, &path, None);
    }
}

/// Notes, of which the first [`NOTE_LIMIT`] are kept.
#[derive(Debug, Default)]
struct Notes {
    kept: Vec<String>,
    more: usize,
}

impl Notes {
    fn skip(&mut self, what: &str, path: &[u8], error: Option<Errno>) {
        let path = String::from_utf8_lossy(path);
        let path = path.escape_debug();
        match error {
            None => self.add(format!("skipped {what}: {path}")),
            Some(error) => self.add(format!("skipped {what}: {path}: {error}")),
        }
    }

    fn add(&mut self, note: String) {
        if self.kept.len() < NOTE_LIMIT {
            self.kept.push(note);
        } else {
            self.more += 1;
        }
    }

    fn finish(mut self) -> Vec<String> {
        self.kept.sort_unstable();
        if self.more > 0 {
            self.kept.push(format!("and {} more", self.more));
        }
        self.kept
    }
}

/// The directory itself is ours, but a container sees it: its last name must not be a link either.
fn open_root(root: &Path) -> io::Result<OwnedFd> {
    Ok(openat(CWD, root, FOLDER, Mode::empty())?)
}

/// The root itself, or a folder below it.
fn open_folder(root: &OwnedFd, folder: &[u8]) -> Result<OwnedFd, Errno> {
    if folder.is_empty() { openat(root, c".", FOLDER, Mode::empty()) } else { resolve(root, folder, FOLDER) }
}

fn join(folder: &[u8], name: &[u8]) -> Vec<u8> {
    if folder.is_empty() { name.to_vec() } else { [folder, b"/", name].concat() }
}

/// Opens `path` below `root`, through no link.
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
