//! Takes files of one run of which nobody says beforehand how large they are: all of them, or none.

use std::collections::BTreeMap;
use std::io;

use bytes::Bytes;
use cloudaid_core::files::FileUsage;
use cloudaid_core::record::FileRecord;
use shared::id::{AttemptKey, BlobId};
use ulid::Ulid;

use super::blob::{BlobWriter, Place};
use super::path::{self, InvalidPath, show as show_path};
use super::{Content, FileStore};

/// An upload that goes on. What of it is not kept when it is dropped is removed.
#[derive(Debug)]
pub struct Upload {
    store: FileStore,
    place: Place,
    /// What all files may come to; none: anything.
    room: Option<FileUsage>,
    announced: FileUsage,
    /// Complete files by path.
    complete: BTreeMap<Vec<u8>, FileRecord>,
    open: Option<OpenFile>,
    /// To remove when this is dropped: what is not complete, and what came again.
    leftovers: Vec<Content>,
}

/// A file of which the end has not come.
#[derive(Debug)]
struct OpenFile {
    path: Vec<u8>,
    blob: BlobId,
    content: BlobWriter,
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
    /// More bytes than any file has: the store counts them in 63 bits.
    #[error("the file `{shown}` was announced with {announced} bytes, and no file has so many")]
    TooLarge {
        /// The path, readable.
        shown: String,
        /// As said at its begin.
        announced: u64,
    },
    /// Its content is not what was sent.
    #[error("the file `{0}` does not match its checksum; send it again")]
    Checksum(String),
    /// Its user may not keep so much.
    #[error("its user may keep {} more in {} files, and that is too much", shared::resources::Bytes(.0.bytes), .0.files)]
    NoRoom(FileUsage),
    /// Where files are kept said no.
    #[error("the file cannot be stored: {0}")]
    Io(#[from] io::Error),
}

impl Upload {
    pub(super) fn new(store: FileStore, key: AttemptKey, room: Option<FileUsage>) -> Self {
        let place = Place::Run(key.element(), key.attempt);
        Self {
            store,
            place,
            room,
            announced: FileUsage::default(),
            complete: BTreeMap::new(),
            open: None,
            leftovers: Vec::new(),
        }
    }

    /// Begins a file. If the path came before, this one takes its place.
    ///
    /// # Errors
    /// Bad path, another file is open, or there is no room for another one.
    pub async fn begin_file(&mut self, path: Vec<u8>) -> Result<(), UploadError> {
        if let Some(open) = &self.open {
            return Err(UploadError::StillOpen(show_path(&open.path)));
        }
        path::check_plain(&path).map_err(|why| UploadError::Path { shown: show_path(&path), why })?;
        self.announce(FileUsage { bytes: 0, files: 1 })?;
        let blob = BlobId(Ulid::generate());
        self.open = Some(OpenFile { path, blob, content: self.store.write(self.place, blob).await? });
        Ok(())
    }

    /// Takes the next bytes of the open file.
    ///
    /// # Errors
    /// No file is open, there is no room for so much, or the store says no.
    pub async fn write(&mut self, data: Bytes) -> Result<(), UploadError> {
        if self.open.is_some() {
            self.announce(FileUsage { bytes: data.len() as u64, files: 0 })?;
        }
        let open = self.open.as_mut().ok_or(UploadError::NoFile)?;
        Ok(open.content.write(data).await?)
    }

    /// So much more is coming.
    fn announce(&mut self, more: FileUsage) -> Result<(), UploadError> {
        self.announced = self.announced.plus(more);
        match self.room.filter(|room| !self.announced.fits(*room)) {
            Some(room) => Err(UploadError::NoRoom(room)),
            None => Ok(()),
        }
    }

    /// The path of the open file.
    #[must_use]
    pub fn open_path(&self) -> Option<&[u8]> {
        self.open.as_ref().map(|open| &open.path[..])
    }

    /// Ends the open file, which is durable then.
    ///
    /// # Errors
    /// No file is open, or the store says no.
    pub async fn end_file(&mut self) -> Result<(), UploadError> {
        let Some(OpenFile { path, blob, content }) = self.open.take() else { return Err(UploadError::NoFile) };
        let size = content.size();
        self.leftovers.push(Content::whole(self.place, blob, size));
        let blake3 = content.finish().await?;
        self.leftovers.pop();
        let file = FileRecord { path: path.clone(), size, blake3, blob: Some(blob), start: None };
        if let Some(earlier) = self.complete.insert(path, file) {
            self.leftovers.push(Content::of(self.place, &earlier));
        }
        Ok(())
    }

    /// All files, durable and by path.
    ///
    /// # Errors
    /// A file is still open.
    pub fn files(&self) -> Result<Vec<FileRecord>, UploadError> {
        match &self.open {
            Some(open) => Err(UploadError::StillOpen(show_path(&open.path))),
            None => Ok(self.complete.values().cloned().collect()),
        }
    }

    /// Ends the upload: its files belong to somebody now.
    pub fn keep(mut self) {
        self.complete.clear();
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        let mut leftovers = std::mem::take(&mut self.leftovers);
        leftovers.extend(std::mem::take(&mut self.complete).values().map(|file| Content::of(self.place, file)));
        if let Some(OpenFile { blob, content, .. }) = self.open.take() {
            let size = content.size();
            leftovers.push(Content::whole(self.place, blob, size));
        }
        self.store.remove_later(leftovers);
    }
}
