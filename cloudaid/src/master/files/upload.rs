//! Takes the files of one run: all of them, or none.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use cloudaid_core::record::FileRecord;
use shared::id::AttemptKey;

use super::path::{self, InvalidPath};
use super::{FileStore, sync_directory};

/// An upload that goes on. Whatever of it is not finished when it is dropped is removed.
#[derive(Debug)]
pub struct Upload {
    store: FileStore,
    key: AttemptKey,
    /// Complete files by path, each with the temporary file that holds it.
    complete: BTreeMap<Vec<u8>, (FileRecord, PathBuf)>,
    open: Option<OpenFile>,
    /// Temporary files to remove if this is dropped.
    temporaries: Vec<PathBuf>,
    /// Those of them whose path came again, so that nothing needs them.
    replaced: Vec<PathBuf>,
}

/// A file of which the end has not come.
#[derive(Debug)]
struct OpenFile {
    path: Vec<u8>,
    size: u64,
    received: u64,
    temporary: PathBuf,
    file: File,
    hasher: blake3::Hasher,
}

/// Why an upload was refused. Nothing of it is kept.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// No file can have this path.
    #[error("the path `{shown}` is refused: {why}")]
    Path {
        /// The path, readable.
        shown: String,
        /// What is wrong with it.
        why: InvalidPath,
    },
    /// A file began before the one before it had ended, or the upload ended inside a file.
    #[error("the file `{0}` has not ended")]
    StillOpen(String),
    /// Data or an end without a file.
    #[error("data outside of a file")]
    NoFile,
    /// Another number of bytes than was said at its begin.
    #[error("the file `{shown}` was announced with {announced} bytes and has {received}")]
    Size {
        /// The path, readable.
        shown: String,
        /// As said at its begin.
        announced: u64,
        /// Received so far.
        received: u64,
    },
    /// Its content is not what was sent.
    #[error("the file `{0}` does not match its checksum; send it again")]
    Checksum(String),
    /// The operating system said no.
    #[error("the file cannot be stored: {0}")]
    Io(#[from] io::Error),
}

impl Upload {
    pub(super) fn new(store: FileStore, key: AttemptKey) -> Self {
        Self { store, key, complete: BTreeMap::new(), open: None, temporaries: Vec::new(), replaced: Vec::new() }
    }

    /// Begins a file of `size` bytes. If the path came before, this one takes its place.
    ///
    /// # Errors
    /// Bad path, another file is open, or the disk says no.
    pub async fn begin_file(&mut self, path: Vec<u8>, size: u64) -> Result<(), UploadError> {
        if let Some(open) = &self.open {
            return Err(UploadError::StillOpen(show(&open.path)));
        }
        path::check(&path).map_err(|why| UploadError::Path { shown: show(&path), why })?;
        let temporary = self.store.temporary();
        self.temporaries.push(temporary.clone());
        let name = temporary.clone();
        let file = blocking(move || OpenOptions::new().write(true).create_new(true).mode(0o600).open(name)).await?;
        self.open = Some(OpenFile { path, size, received: 0, temporary, file, hasher: blake3::Hasher::new() });
        Ok(())
    }

    /// Takes the next bytes of the open file.
    ///
    /// # Errors
    /// No file is open, more bytes than announced, or the disk says no.
    pub async fn write(&mut self, data: Bytes) -> Result<(), UploadError> {
        let mut open = self.open.take().ok_or(UploadError::NoFile)?;
        open.received = open.received.saturating_add(data.len() as u64);
        if open.received > open.size {
            return Err(open.wrong_size());
        }
        let open = blocking(move || {
            open.hasher.update(&data);
            open.file.write_all(&data)?;
            Ok(open)
        });
        self.open = Some(open.await?);
        Ok(())
    }

    /// Ends the open file, which is durable then.
    ///
    /// # Errors
    /// No file is open, size or checksum do not match, or the disk says no.
    pub async fn end_file(&mut self, blake3: [u8; 32]) -> Result<(), UploadError> {
        let open = self.open.take().ok_or(UploadError::NoFile)?;
        if open.received != open.size {
            return Err(open.wrong_size());
        }
        if *open.hasher.finalize().as_bytes() != blake3 {
            return Err(UploadError::Checksum(show(&open.path)));
        }
        let OpenFile { path, size, temporary, file, .. } = open;
        blocking(move || file.sync_all()).await?;
        let record = FileRecord { path: path.clone(), size, blake3 };
        if let Some((_, earlier)) = self.complete.insert(path, (record, temporary)) {
            self.replaced.push(earlier);
        }
        Ok(())
    }

    /// Puts all files in their places. When this returns, all of them are durable. By path.
    ///
    /// # Errors
    /// A file is still open, or the disk says no.
    pub async fn finish(mut self) -> Result<Vec<FileRecord>, UploadError> {
        if let Some(open) = &self.open {
            return Err(UploadError::StillOpen(show(&open.path)));
        }
        let complete = std::mem::take(&mut self.complete);
        if complete.is_empty() {
            return Ok(Vec::new());
        }
        let directory = self.store.run_directory(self.key.element(), self.key.attempt);
        let root = self.store.directory.clone();
        let records = blocking(move || place(complete.into_values().collect(), &directory, &root)).await?;
        self.temporaries = std::mem::take(&mut self.replaced);
        Ok(records)
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        let temporaries = std::mem::take(&mut self.temporaries);
        if temporaries.is_empty() {
            return;
        }
        let remove = move || {
            for path in temporaries {
                // What cannot be removed now goes at the next start.
                let _ = fs::remove_file(path);
            }
        };
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(remove)),
            Err(_) => remove(),
        }
    }
}

impl OpenFile {
    fn wrong_size(&self) -> UploadError {
        UploadError::Size { shown: show(&self.path), announced: self.size, received: self.received }
    }
}

/// Two files with one content are one blob; the second replaces the first with the same bytes.
fn place(files: Vec<(FileRecord, PathBuf)>, directory: &Path, root: &Path) -> io::Result<Vec<FileRecord>> {
    fs::create_dir_all(directory)?;
    let mut records = Vec::with_capacity(files.len());
    for (record, temporary) in files {
        fs::rename(temporary, directory.join(hex::encode(record.blake3)))?;
        records.push(record);
    }
    sync_directory(directory)?;
    if let Some(task) = directory.parent() {
        sync_directory(task)?;
    }
    sync_directory(root)?;
    Ok(records)
}

fn show(path: &[u8]) -> String {
    String::from_utf8_lossy(path).chars().take(200).collect::<String>().escape_debug().to_string()
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(io::Error::other(error)))
}
