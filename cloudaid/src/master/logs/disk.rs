//! The files of one log: the first, whose name the log has, and the later ones in a folder beside it.
//!
//! A log without bounds is its first file and nothing else. Of one with bounds the first file is the beginning; what comes
//! after it stands in later files, each named by its place in the log, of which the oldest go. What is left of those is in a file
//! of its own, named by where they ended (see `thin.rs`). Behind what never came another file begins, too.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::index::{Checkpoint, Index};
use super::part::Part;
use super::{frame, load};

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

    /// Makes a file for what is left of what stood from `start` to `end`, which `write` writes. Durable when this returns; after
    /// an error there is none.
    pub(super) fn begin_thin<T>(
        &self,
        start: Checkpoint,
        end: Checkpoint,
        write: impl FnOnce(&mut File) -> io::Result<T>,
    ) -> io::Result<(Arc<Part>, T)> {
        let folder = self.folder();
        let path = folder.join(format!("{:016x}", end.position)).with_extension(THIN);
        let written = File::create(&path).and_then(|mut file| {
            file.write_all(&[frame::encode_start(start), frame::encode_start(end)].concat())?;
            let written = write(&mut file)?;
            file.sync_data()?;
            sync_directory(&folder)?;
            Ok(written)
        });
        match written {
            Ok(written) => Ok((Arc::new(Part::thin(path, start)), written)),
            Err(error) => {
                let _ = fs::remove_file(&path);
                Err(error)
            }
        }
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
        let (thin, later) = self.later()?;
        if fs::exists(&self.first)? {
            load::file(&self.first, true, later.is_empty(), &mut index)?;
        }
        // The newest that is whole holds what is left of the others, and of files that were to be removed.
        let mut is_there = false;
        for path in thin.iter().rev() {
            match is_there {
                true => fs::remove_file(path)?,
                false => is_there = load::remains(path, &mut index)?,
            }
        }
        let mut later = later.iter().peekable();
        while let Some(path) = later.next() {
            load::file(path, false, later.peek().is_none(), &mut index)?;
        }
        index.join();
        match index.spans().last() {
            Some(last) if last.thin.is_none() => cut_torn(&last.part, index.end())?,
            _ => {}
        }
        Ok(index)
    }

    /// The files with what is left of others, and the later files, each in their order.
    fn later(&self) -> io::Result<(Vec<PathBuf>, Vec<PathBuf>)> {
        let entries = match fs::read_dir(self.folder()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Default::default()),
            entries => entries?,
        };
        let mut paths = entries.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<Vec<_>>>()?;
        paths.sort_unstable();
        Ok(paths.into_iter().partition(|path| path.extension().is_some_and(|extension| extension == THIN)))
    }
}

/// Appends to a file that ends at `end`.
pub(super) fn extend(part: &Part, end: Checkpoint, bytes: &[u8]) -> Result<(), Unwritten> {
    let mut file = OpenOptions::new().append(true).open(part.path()).map_err(Unwritten::known)?;
    if let Err(error) = file.write_all(bytes) {
        // A full disk: take back the part that was written, so that the next try begins at a record.
        return Err(Unwritten { error, is_unknown: file.set_len(part.place(end.position)).is_err() });
    }
    file.sync_data().map_err(Unwritten::unknown)
}

/// What the folder of the later files has in the place of `log`.
const FOLDER: &str = "later";
/// And a first file that was cleared while it was read.
const ASIDE: &str = "aside";
/// And, after their name, the file with what is left of later files.
const THIN: &str = "thin";

/// What stands behind the last record of the file that is written next must not stay: what is appended would follow on it.
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

pub(super) fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

pub(super) fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(path)
}
