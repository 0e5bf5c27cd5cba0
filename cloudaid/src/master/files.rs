//! Keeps the output files of tasks: `<task>/<index>-<attempt>/<BLAKE3>`, one blob per content and run.
//!
//! Names on the disk are made of our own ids and digests. The names that users gave are data in a [`FileRecord`] and
//! never become a path here, so there is nothing to escape from.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cloudaid_core::record::FileRecord;
use shared::id::{AttemptKey, ElementId, TaskId};
use ulid::Ulid;

mod path;
mod upload;

pub use path::InvalidPath;
pub use upload::{Upload, UploadError};

/// Unfinished files, below the directory of the store.
const TEMPORARY: &str = "tmp";

/// All output files below one directory. Cheap to clone.
#[derive(Debug, Clone)]
pub struct FileStore {
    directory: Arc<Path>,
}

impl FileStore {
    /// The files below `directory`, which is made if it is not there. What earlier uploads left unfinished is removed.
    ///
    /// # Errors
    /// The directory cannot be made or cleaned.
    pub fn open(directory: &Path) -> io::Result<Self> {
        let temporary = directory.join(TEMPORARY);
        match fs::remove_dir_all(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        fs::create_dir_all(&temporary)?;
        sync_directory(directory)?;
        if let Some(parent) = directory.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            sync_directory(parent)?;
        }
        Ok(Self { directory: directory.into() })
    }

    /// Begins to take the files of one run.
    #[must_use]
    pub fn begin(&self, key: AttemptKey) -> Upload {
        Upload::new(self.clone(), key)
    }

    /// Opens a file of a run for reading.
    ///
    /// # Errors
    /// It is not there or cannot be read.
    pub async fn open_file(&self, element: ElementId, attempt: u32, file: &FileRecord) -> io::Result<tokio::fs::File> {
        tokio::fs::File::open(self.blob(element, attempt, &file.blake3)).await
    }

    /// The same, on a thread that may block.
    ///
    /// # Errors
    /// It is not there or cannot be read.
    pub fn open_file_here(&self, element: ElementId, attempt: u32, file: &FileRecord) -> io::Result<File> {
        File::open(self.blob(element, attempt, &file.blake3))
    }

    /// Removes all files of a task.
    ///
    /// # Errors
    /// Some of them cannot be removed.
    pub async fn remove(&self, task: TaskId) -> io::Result<()> {
        match tokio::fs::remove_dir_all(self.directory.join(task.to_string())).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Free space on the disk, if it tells.
    pub async fn free_bytes(&self) -> Option<u64> {
        let directory = self.directory.clone();
        let free = tokio::task::spawn_blocking(move || {
            let disk = rustix::fs::statvfs(&*directory).ok()?;
            Some(disk.f_bavail.saturating_mul(disk.f_frsize))
        });
        free.await.ok().flatten()
    }

    fn run_directory(&self, element: ElementId, attempt: u32) -> PathBuf {
        self.directory.join(element.task.to_string()).join(format!("{}-{attempt}", element.index))
    }

    fn blob(&self, element: ElementId, attempt: u32, blake3: &[u8; 32]) -> PathBuf {
        self.run_directory(element, attempt).join(hex::encode(blake3))
    }

    fn temporary(&self) -> PathBuf {
        self.directory.join(TEMPORARY).join(Ulid::generate().to_string().to_ascii_lowercase())
    }
}

/// Makes the names in a directory durable.
fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests;
