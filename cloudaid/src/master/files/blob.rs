//! One content: written in pieces, so that what has arrived of a large one stays when the rest does not come.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use object_store::ObjectStore;
use object_store::buffered::BufWriter;
use object_store::path::Path as ObjectPath;
use shared::id::{BlobId, ElementId, InputId};
use tokio::io::AsyncWriteExt;

use super::failed;
use super::reserve::{Promise, Reserve};

/// Bytes of one object. Part of the format: what is larger is kept in several, all but the last of this size.
pub const PIECE: u64 = 8 << 20;

/// The folder of all inputs.
pub(super) const INPUTS: &str = "inputs";

/// Where contents stand together that go together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Output files of a run.
    Run(ElementId, u32),
    /// What a user has uploaded.
    Input(InputId),
}

impl Place {
    /// The folder of its objects.
    pub(super) fn folder(self) -> ObjectPath {
        match self {
            Self::Input(id) => ObjectPath::from(format!("{INPUTS}/{id}")),
            Self::Run(ElementId { task, index }, attempt) => ObjectPath::from(format!("{task}/{index}-{attempt}")),
        }
    }

    /// The object of a piece.
    pub(super) fn piece(self, blob: BlobId, number: u64) -> ObjectPath {
        self.folder().join(format!("{blob}.{number}").as_str())
    }
}

/// The content that an object is a piece of.
pub(super) fn of_name(name: &str) -> Option<BlobId> {
    name.split_once('.')?.0.parse().ok()
}

/// A content that is being written. What is dropped before its end is not there, but for the pieces that are complete.
#[derive(Debug)]
pub struct BlobWriter {
    objects: Arc<dyn ObjectStore>,
    reserve: Option<Reserve>,
    part: usize,
    place: Place,
    blob: BlobId,
    /// The present piece; none: it has no byte yet.
    piece: Option<BufWriter>,
    /// Of room on the disk for what comes to the present piece.
    promise: Option<Promise>,
    now: Progress,
    /// As of the last piece that is complete.
    kept: Progress,
    /// Whether the present piece has bytes that are nowhere else.
    is_new: bool,
}

/// How far a content has come.
#[derive(Debug, Clone, Default)]
pub struct Progress {
    /// Bytes.
    pub size: u64,
    /// Of these bytes. It is large.
    pub hasher: Box<blake3::Hasher>,
}

impl BlobWriter {
    /// Goes on from `kept`; `tail` are those of its bytes that make no whole piece, which is written anew.
    pub(super) async fn new(
        objects: Arc<dyn ObjectStore>,
        reserve: Option<Reserve>,
        part: usize,
        (place, blob): (Place, BlobId),
        (kept, tail): (Progress, Vec<Bytes>),
    ) -> io::Result<Self> {
        let now = kept.clone();
        let mut writer =
            Self { objects, reserve, part, place, blob, piece: None, promise: None, now, kept, is_new: false };
        for data in tail {
            writer.piece(writer.now.size / PIECE).put(data).await.map_err(failed)?;
        }
        Ok(writer)
    }

    /// The present piece, which has this number.
    fn piece(&mut self, number: u64) -> &mut BufWriter {
        let Self { objects, part, place, blob, piece, .. } = self;
        piece.get_or_insert_with(|| BufWriter::with_capacity(Arc::clone(objects), place.piece(*blob, number), *part))
    }

    /// What stays if this is dropped now.
    #[must_use]
    pub fn progress(&self) -> &Progress {
        &self.kept
    }

    /// Bytes so far.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.now.size
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// They cannot be kept; nothing more can be written then.
    pub async fn write(&mut self, mut data: Bytes) -> io::Result<()> {
        while !data.is_empty() {
            if self.promise.is_none()
                && let Some(reserve) = &self.reserve
            {
                self.promise = Some(reserve.promise(PIECE).await?);
            }
            let room = PIECE - self.now.size % PIECE;
            let next = data.split_to(data.len().min(usize::try_from(room).unwrap_or(usize::MAX)));
            self.now.hasher.update(&next);
            let number = self.now.size / PIECE;
            self.is_new = true;
            self.now.size += next.len() as u64;
            self.piece(number).put(next).await.map_err(failed)?;
            if self.now.size.is_multiple_of(PIECE) {
                self.end_piece().await?;
                self.kept = self.now.clone();
            }
        }
        Ok(())
    }

    /// Keeps what has come so far, also what makes no whole piece: another writer can go on from here.
    ///
    /// # Errors
    /// It cannot be kept.
    pub async fn pause(mut self) -> io::Result<Progress> {
        self.end_piece().await?;
        Ok(self.now)
    }

    /// Makes all durable that has come, as the end of the content: only [`BlobWriter::finish`] may follow, at once then.
    ///
    /// # Errors
    /// It cannot be kept.
    pub async fn flush(mut self) -> io::Result<Self> {
        self.end_piece().await?;
        Ok(self)
    }

    /// Ends the content, which is durable then. Returns its BLAKE3.
    ///
    /// # Errors
    /// It cannot be kept.
    pub async fn finish(mut self) -> io::Result<[u8; 32]> {
        self.end_piece().await?;
        Ok(*self.now.hasher.finalize().as_bytes())
    }

    async fn end_piece(&mut self) -> io::Result<()> {
        let _promise = self.promise.take();
        match self.piece.take() {
            Some(mut piece) if std::mem::take(&mut self.is_new) => piece.shutdown().await,
            Some(_) | None => Ok(()),
        }
    }
}
