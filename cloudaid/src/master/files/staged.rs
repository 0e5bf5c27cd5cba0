//! Takes the files of one run part by part: what is taken out as a part is durable, and is not held here any more. Small
//! files are kept together, because each content of its own costs a write that waits for the disk.

use std::sync::Arc;

use bytes::Bytes;
use cloudaid_core::files::{FileUsage, OpenFile, UploadRecord};
use cloudaid_core::record::FileRecord;
use futures_util::TryStreamExt;
use shared::id::{AttemptKey, BlobId};
use ulid::Ulid;

use super::blob::{BlobWriter, PIECE, Place, Progress};
use super::path::{self, show as show_path};
use super::upload::UploadError;
use super::{Content, FileStore};
use crate::upload_chain;

/// Files of this size at the most are kept together, in bytes.
const SMALL: u64 = 64 * 1024;
/// The most files of a part.
const PART_FILES: usize = 1000;
/// The bytes of a part with its names, about: one more file may come to them. Together with it they make one object.
const PART_BYTES: u64 = 4 << 20;
/// A file of this size or more is known before it has ended, so that its upload can go on in the middle of it.
const LARGE: u64 = 2 * PIECE;

/// The largest file that any disk has, in bytes, and that all stores can count.
const LARGEST: u64 = i64::MAX.cast_unsigned();

/// An upload that goes on. What of it was not taken when it is dropped is removed.
#[derive(Debug)]
pub struct StagedUpload {
    store: FileStore,
    place: Place,
    /// What all files may come to; none: anything.
    room: Option<FileUsage>,
    announced: FileUsage,
    arrived: FileUsage,
    chain: [u8; 32],
    /// Whether something was taken.
    is_staged: bool,
    /// Complete files that were not taken.
    part: Vec<FileRecord>,
    part_bytes: u64,
    /// Small files of the part.
    pack: Option<(BlobId, BlobWriter)>,
    open: Option<Open>,
    /// Was taken as what the upload is at, and is so until the next part is: it is not for this to remove.
    known: Option<BlobId>,
}

/// A file of which the end has not come.
#[derive(Debug)]
struct Open {
    path: Vec<u8>,
    size: u64,
    content: Coming,
}

#[derive(Debug)]
enum Coming {
    Small(Vec<u8>),
    Large(Box<Large>),
}

#[derive(Debug)]
struct Large {
    blob: BlobId,
    writer: BlobWriter,
}

/// What was taken out of an upload.
#[derive(Debug)]
pub struct Part {
    /// Durable.
    pub files: Arc<[FileRecord]>,
    /// How far the upload is with them.
    pub upload: UploadRecord,
}

impl StagedUpload {
    pub(super) fn new(store: FileStore, key: AttemptKey, room: Option<FileUsage>) -> Self {
        let nothing = UploadRecord { size: FileUsage::default(), chain: upload_chain::START, open: None };
        Self::after(store, key, room, &nothing)
    }

    fn after(store: FileStore, key: AttemptKey, room: Option<FileUsage>, record: &UploadRecord) -> Self {
        Self {
            store,
            place: Place::Run(key.element(), key.attempt),
            room,
            announced: record.size,
            arrived: record.size,
            chain: record.chain,
            is_staged: false,
            part: Vec::new(),
            part_bytes: 0,
            pack: None,
            open: None,
            known: None,
        }
    }

    /// Goes on where another upload was, in the open file after `offset` bytes.
    pub(super) async fn resume(
        store: FileStore,
        key: AttemptKey,
        room: Option<FileUsage>,
        (record, offset): (UploadRecord, u64),
    ) -> Result<Self, UploadError> {
        let mut upload = Self::after(store, key, room, &record);
        upload.is_staged = true;
        if let Some(OpenFile { path, size, blob }) = record.open {
            upload.announce(FileUsage { bytes: size, files: 1 })?;
            let mut there = upload.store.read(Content::whole(upload.place, blob, offset), 0..offset).await?;
            let mut progress = Progress::default();
            while let Some(bytes) = there.try_next().await? {
                progress.hasher.update(&bytes);
                progress.size += bytes.len() as u64;
            }
            let writer = upload.store.resume(upload.place, blob, progress).await?;
            upload.open = Some(Open { path, size, content: Coming::Large(Box::new(Large { blob, writer })) });
            upload.known = Some(blob);
        }
        Ok(upload)
    }

    /// Begins a file of `size` bytes.
    ///
    /// # Errors
    /// Bad path, another file is open, no file is so large, or there is no room for so much.
    pub async fn begin_file(&mut self, path: Vec<u8>, size: u64) -> Result<(), UploadError> {
        if let Some(open) = &self.open {
            return Err(UploadError::StillOpen(show_path(&open.path)));
        }
        path::check(&path).map_err(|why| UploadError::Path { shown: show_path(&path), why })?;
        if size > LARGEST {
            return Err(UploadError::TooLarge { shown: show_path(&path), announced: size });
        }
        self.announce(FileUsage { bytes: size, files: 1 })?;
        let content = if size <= SMALL {
            Coming::Small(Vec::new())
        } else {
            let blob = BlobId(Ulid::generate());
            let writer = self.store.write(self.place, blob).await?;
            Coming::Large(Box::new(Large { blob, writer }))
        };
        self.open = Some(Open { path, size, content });
        Ok(())
    }

    /// So much more is coming.
    fn announce(&mut self, more: FileUsage) -> Result<(), UploadError> {
        self.announced = self.announced.plus(more);
        match self.room.filter(|room| !self.announced.fits(*room)) {
            Some(room) => Err(UploadError::NoRoom(room)),
            None => Ok(()),
        }
    }

    /// Takes the next bytes of the open file.
    ///
    /// # Errors
    /// No file is open, more bytes than announced, or the store says no.
    pub async fn write(&mut self, data: Bytes) -> Result<(), UploadError> {
        let open = self.open.as_mut().ok_or(UploadError::NoFile)?;
        let received = open.received().saturating_add(data.len() as u64);
        if received > open.size {
            return Err(open.wrong_size(received));
        }
        match &mut open.content {
            Coming::Small(bytes) => bytes.extend_from_slice(&data),
            Coming::Large(large) => large.writer.write(data).await?,
        }
        Ok(())
    }

    /// Ends the open file.
    ///
    /// # Errors
    /// No file is open, size or checksum do not match, or the store says no.
    pub async fn end_file(&mut self, expected: [u8; 32]) -> Result<(), UploadError> {
        let open = self.open.as_ref().ok_or(UploadError::NoFile)?;
        if open.received() != open.size {
            return Err(open.wrong_size(open.received()));
        }
        let Some(Open { path, size, content }) = self.open.take() else { return Err(UploadError::NoFile) };
        let (blob, start, blake3) = match content {
            Coming::Small(bytes) => {
                let blake3 = *blake3::hash(&bytes).as_bytes();
                if blake3 != expected {
                    return Err(UploadError::Checksum(show_path(&path)));
                }
                let (blob, start) = self.pack(bytes).await?;
                (blob, Some(start), blake3)
            }
            Coming::Large(large) => {
                let Large { blob, writer } = *large;
                let finished = writer.finish().await;
                let finished = finished.map_err(UploadError::from).and_then(|blake3| {
                    if blake3 == expected { Ok(blake3) } else { Err(UploadError::Checksum(show_path(&path))) }
                });
                if finished.is_err() && self.known != Some(blob) {
                    self.store.remove_later(vec![Content::whole(self.place, blob, size)]);
                }
                (blob, None, finished?)
            }
        };
        self.chain = upload_chain::extend(self.chain, &path, size);
        self.arrived = self.arrived.plus(FileUsage { bytes: size, files: 1 });
        self.part_bytes = self.part_bytes.saturating_add(size).saturating_add(path.len() as u64);
        self.part.push(FileRecord { path, size, blake3, blob: Some(blob), start });
        Ok(())
    }

    /// Puts a small content to the others. Returns where it is.
    async fn pack(&mut self, bytes: Vec<u8>) -> Result<(BlobId, u64), UploadError> {
        let mut pack = match self.pack.take() {
            Some(pack) => pack,
            None => {
                let blob = BlobId(Ulid::generate());
                (blob, self.store.write(self.place, blob).await?)
            }
        };
        let start = pack.1.size();
        pack.1.write(bytes.into()).await?;
        let blob = pack.0;
        self.pack = Some(pack);
        Ok((blob, start))
    }

    /// Whether it is time to take a part.
    #[must_use]
    pub fn is_part_due(&self) -> bool {
        let opens_large = |open: &Open| {
            open.size >= LARGE && matches!(&open.content, Coming::Large(large) if self.known != Some(large.blob))
        };
        self.part.len() >= PART_FILES || self.part_bytes >= PART_BYTES || self.open.as_ref().is_some_and(opens_large)
    }

    /// Whether a part was taken, now or before this upload went on.
    #[must_use]
    pub fn is_staged(&self) -> bool {
        self.is_staged
    }

    /// All of it, so far.
    #[must_use]
    pub fn arrived(&self) -> FileUsage {
        self.arrived
    }

    /// A digest of the names and sizes of it, in their order.
    #[must_use]
    pub fn chain(&self) -> [u8; 32] {
        self.chain
    }

    /// Ends the upload: its last part.
    ///
    /// # Errors
    /// A file is still open, or the store says no.
    pub async fn end(&mut self) -> Result<Part, UploadError> {
        match &self.open {
            Some(open) => Err(UploadError::StillOpen(show_path(&open.path))),
            None => self.take_part().await,
        }
    }

    /// Takes out what is complete. It belongs to somebody now.
    ///
    /// # Errors
    /// The store says no.
    pub async fn take_part(&mut self) -> Result<Part, UploadError> {
        if let Some((_, writer)) = self.pack.take() {
            writer.finish().await?;
        }
        let open = match &self.open {
            Some(Open { path, size, content: Coming::Large(large) }) if *size >= LARGE => {
                Some(OpenFile { path: path.clone(), size: *size, blob: large.blob })
            }
            Some(_) | None => None,
        };
        self.is_staged = true;
        self.part_bytes = 0;
        self.known = open.as_ref().map(|open| open.blob);
        let upload = UploadRecord { size: self.arrived, chain: self.chain, open };
        Ok(Part { files: std::mem::take(&mut self.part).into(), upload })
    }
}

impl Drop for StagedUpload {
    fn drop(&mut self) {
        let content = |blob: BlobId, size| Content::whole(self.place, blob, size);
        let alone = self.part.iter().filter(|file| file.start.is_none() && file.blob != self.known);
        let mut leftovers: Vec<_> = alone.filter_map(|file| Some(content(file.blob?, file.size))).collect();
        // It may be there as well under its name, or not yet.
        let mut packs: Vec<_> =
            self.part.iter().filter(|file| file.start.is_some()).filter_map(|file| file.blob).collect();
        packs.dedup();
        leftovers.extend(packs.into_iter().map(|blob| content(blob, 1)));
        if let Some(Open { content: Coming::Large(large), .. }) = &self.open
            && self.known != Some(large.blob)
        {
            leftovers.push(content(large.blob, large.writer.size()));
        }
        self.store.remove_later(leftovers);
    }
}

impl Open {
    fn received(&self) -> u64 {
        match &self.content {
            Coming::Small(bytes) => bytes.len() as u64,
            Coming::Large(large) => large.writer.size(),
        }
    }

    fn wrong_size(&self, received: u64) -> UploadError {
        UploadError::Size { shown: show_path(&self.path), announced: self.size, received }
    }
}
