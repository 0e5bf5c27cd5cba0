//! The files of one log: the first, whose name the log has, and the later ones in a folder beside it.
//!
//! A log without bounds is its first file and nothing else. Of one with bounds the first file is the beginning; what comes
//! after it stands in later files, each named by its place in the log, of which the oldest go. Behind what never came another
//! file begins, too.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::BytesMut;

use super::frame::{self, FrameFile};
use super::index::{Checkpoint, Index};
use super::part::Part;

/// Where a log is kept.
#[derive(Debug)]
pub(super) struct Disk {
    first: PathBuf,
}

/// A write that failed.
#[derive(Debug)]
pub(super) struct Unwritten {
    pub(super) error: io::Error,
    /// What is on the disk now is not known.
    pub(super) is_unknown: bool,
}

impl Unwritten {
    fn known(error: io::Error) -> Self {
        Self { error, is_unknown: false }
    }

    fn unknown(error: io::Error) -> Self {
        Self { error, is_unknown: true }
    }
}

impl Disk {
    pub(super) fn new(first: PathBuf) -> Self {
        Self { first }
    }

    /// Where the later files are.
    fn folder(&self) -> PathBuf {
        self.first.with_extension(FOLDER)
    }

    /// Makes the first file.
    pub(super) fn begin(&self, bytes: &[u8]) -> Result<Arc<Part>, Unwritten> {
        let shard = parent(&self.first);
        let is_new = make_directory(shard).map_err(Unwritten::known)?;
        create(&self.first, bytes)?;
        sync_directory(shard).map_err(Unwritten::unknown)?;
        if is_new {
            sync_directory(parent(shard)).map_err(Unwritten::unknown)?;
        }
        Ok(Arc::new(Part::head(self.first.clone())))
    }

    /// Makes another file, for what stands from `start` on.
    pub(super) fn begin_later(&self, start: Checkpoint, bytes: &[u8]) -> Result<Arc<Part>, Unwritten> {
        let folder = self.folder();
        let is_new = make_directory(&folder).map_err(Unwritten::known)?;
        let path = folder.join(format!("{:016x}", start.position));
        create(&path, &[&frame::encode_start(start), bytes].concat())?;
        sync_directory(&folder).map_err(Unwritten::unknown)?;
        if is_new {
            sync_directory(parent(&folder)).map_err(Unwritten::unknown)?;
        }
        Ok(Arc::new(Part::later(path, start)))
    }

    /// Puts a file in the place of the first that says only how much there was. The later files are the caller's to remove.
    pub(super) fn clear(&self, first: Option<&Part>, end: Checkpoint) -> io::Result<Arc<Part>> {
        let new = self.first.with_extension("new");
        let written = File::create(&new).and_then(|mut file| {
            file.write_all(&frame::encode_start(end))?;
            file.sync_all()
        });
        let replace = || fs::rename(&new, &self.first);
        let replaced = written.and_then(|()| match first {
            Some(part) => part.put_aside(self.first.with_extension(ASIDE), replace),
            None => replace(),
        });
        if let Err(error) = replaced {
            let _ = fs::remove_file(&new);
            return Err(error);
        }
        Ok(Arc::new(Part::later(self.first.clone(), end)))
    }

    /// Makes the name of the first file durable.
    pub(super) fn sync_first(&self) -> io::Result<()> {
        sync_directory(parent(&self.first))
    }

    /// Whether this is the first file.
    pub(super) fn is_first(&self, part: &Part) -> bool {
        part.path() == self.first
    }

    /// Makes all of it durable.
    pub(super) fn sync<'a>(&self, parts: impl Iterator<Item = &'a Part>) -> io::Result<()> {
        let mut is_there = false;
        for part in parts {
            File::open(part.path())?.sync_data()?;
            sync_directory(parent(&part.path()))?;
            is_there = true;
        }
        if is_there {
            let shard = parent(&self.first);
            sync_directory(shard)?;
            sync_directory(parent(shard))?;
        }
        Ok(())
    }

    /// Reads all files, and cuts off what a crash has left unfinished at the end of the last.
    pub(super) fn load(&self) -> io::Result<Index> {
        // Whoever read it is no more.
        match fs::remove_file(self.first.with_extension(ASIDE)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut index = Index::default();
        let later = self.later()?;
        let first = fs::exists(&self.first)?.then(|| self.first.clone());
        let mut paths = first.into_iter().chain(later).peekable();
        while let Some(path) = paths.next() {
            load_file(&path, path == self.first, paths.peek().is_none(), &mut index)?;
        }
        if let Some(last) = index.last() {
            cut_torn(last, index.end())?;
        }
        Ok(index)
    }

    /// The later files in their order.
    fn later(&self) -> io::Result<Vec<PathBuf>> {
        let entries = match fs::read_dir(self.folder()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut paths = entries.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<Vec<_>>>()?;
        paths.sort_unstable();
        Ok(paths)
    }
}

/// Appends to a file that ends at `end`.
pub(super) fn extend(part: &Part, end: Checkpoint, bytes: &[u8]) -> Result<(), Unwritten> {
    let mut file = OpenOptions::new().append(true).open(part.path()).map_err(Unwritten::known)?;
    if let Err(error) = file.write_all(bytes) {
        // A full disk: take back the part that was written, so that the next try begins at a frame.
        return Err(Unwritten { error, is_unknown: file.set_len(part.place(end.position)).is_err() });
    }
    file.sync_data().map_err(Unwritten::unknown)
}

/// What the folder of the later files has in the place of `log`.
const FOLDER: &str = "later";
/// And a first file that was cleared while it was read.
const ASIDE: &str = "aside";

fn load_file(path: &Path, is_first: bool, is_last: bool, index: &mut Index) -> io::Result<()> {
    let mut file = File::open(path)?;
    let size = file.metadata()?.len();
    let part = match frame::read_start(&mut file)? {
        Some(start) => Part::later(path.to_owned(), start),
        None if is_first => Part::head(path.to_owned()),
        None if is_last => {
            tracing::warn!(log = %path.display(), "removed a file of a log that a crash has left without a beginning");
            fs::remove_file(path)?;
            return sync_directory(parent(path));
        }
        None => {
            tracing::error!(log = %path.display(), "a file of a log is damaged: what stands in it is missing");
            return Ok(());
        }
    };
    let (start, base) = (part.start(), part.place(part.start().position));
    if start.position < index.end().position {
        // What was to be removed when the log was cleared, or cut.
        fs::remove_file(path)?;
        return Ok(());
    }
    index.begin(Arc::new(part));
    let mut frames = FrameFile::open(file.try_clone()?, base, size.saturating_sub(base))?;
    let mut buffer = BytesMut::new();
    while let Some(frame) = frames.next()? {
        let follows = frame.offset == index.end().offsets.of(frame.stream);
        if !follows || frames.data(&frame, &mut buffer)?.is_none() {
            break;
        }
        index.push(&frame);
    }
    let torn = size.saturating_sub(base + index.end().position - start.position);
    if torn > 0 && !is_last {
        tracing::error!(log = %path.display(), bytes = torn, "a file of a log is damaged: its end is missing");
    }
    Ok(())
}

/// What stands behind the last frame of the file that is written next must not stay: what is appended would follow on it.
fn cut_torn(last: &Part, end: Checkpoint) -> io::Result<()> {
    let (path, length) = (last.path(), last.place(end.position));
    let file = OpenOptions::new().write(true).open(&path)?;
    let torn = file.metadata()?.len().saturating_sub(length);
    if torn > 0 {
        tracing::warn!(log = %path.display(), bytes = torn, "cut off what a crash left unfinished at the end of a log");
        file.set_len(length)?;
        file.sync_all()?;
    }
    Ok(())
}

/// Makes a file with these bytes, durably but for its name.
fn create(path: &Path, bytes: &[u8]) -> Result<(), Unwritten> {
    let mut file = File::create_new(path).map_err(Unwritten::known)?;
    if let Err(error) = file.write_all(bytes) {
        return Err(Unwritten { error, is_unknown: fs::remove_file(path).is_err() });
    }
    file.sync_data().map_err(Unwritten::unknown)
}

/// Whether it was not there before.
fn make_directory(path: &Path) -> io::Result<bool> {
    match fs::create_dir(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(path)
}
