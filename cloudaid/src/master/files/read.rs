//! Reading a content, piece after piece.

use std::io::{self, Seek, SeekFrom};
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use cloudaid_core::record::FileRecord;
use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use object_store::path::Path as ObjectPath;
use object_store::{GetOptions, GetRange, GetResultPayload, ObjectStore};
use shared::id::BlobId;
use tokio::io::AsyncReadExt;
use tokio_util::io::ReaderStream;

use super::blob::{PIECE, Place};
use super::{blocking, failed};

/// How much of a file is read at a time.
const READ_AHEAD: usize = 64 * 1024;

/// Bytes as they are read.
pub type ByteStream = Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>;

/// A content, and where it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// With what it stands.
    pub place: Place,
    /// Its name there; none: it is one object, named by its BLAKE3.
    pub blob: Option<BlobId>,
    /// Of all of it.
    pub blake3: [u8; 32],
    /// In bytes.
    pub size: u64,
    /// Where it begins in what it shares with others; none: it has its blob to itself.
    pub start: Option<u64>,
}

/// A part of a piece.
pub(super) struct Piece {
    pub(super) path: ObjectPath,
    /// Of the whole piece; none: others are in it too.
    size: Option<u64>,
    /// Of its bytes, these.
    range: Range<u64>,
}

impl Content {
    /// That of an output file.
    pub(super) fn of(place: Place, file: &FileRecord) -> Self {
        Self { place, blob: file.blob, blake3: file.blake3, size: file.size, start: file.start }
    }

    /// One that has its blob to itself.
    pub(super) fn whole(place: Place, blob: BlobId, size: u64) -> Self {
        Self { place, blob: Some(blob), blake3: [0; 32], size, start: None }
    }

    /// The pieces that hold these bytes.
    pub(super) fn pieces(&self, range: Range<u64>) -> impl Iterator<Item = Piece> + Send + 'static {
        let (content, length) = (self.clone(), if self.blob.is_some() { PIECE } else { u64::MAX });
        let (before, is_empty) = (self.start.unwrap_or(0), range.is_empty());
        let range = before + range.start..before + range.end;
        let numbers = if is_empty { 0..0 } else { range.start / length..(range.end - 1) / length + 1 };
        numbers.map(move |number| {
            let start = number * length;
            let size = (before + content.size - start).min(length);
            Piece {
                path: content.path(number),
                size: content.start.is_none().then_some(size),
                range: range.start.saturating_sub(start)..(range.end - start).min(size),
            }
        })
    }

    fn path(&self, number: u64) -> ObjectPath {
        match self.blob {
            Some(blob) => self.place.piece(blob, number),
            None => self.place.folder().join(hex::encode(self.blake3).as_str()),
        }
    }
}

/// The first piece is looked at before this returns.
pub(super) async fn open(objects: Arc<dyn ObjectStore>, content: Content, range: Range<u64>) -> io::Result<ByteStream> {
    let mut pieces = content.pieces(range);
    let first = match pieces.next() {
        Some(piece) => Some(open_piece(&*objects, piece).await?),
        None => None,
    };
    let rest = stream::iter(pieces).then(move |piece| {
        let objects = Arc::clone(&objects);
        async move { open_piece(&*objects, piece).await }
    });
    Ok(stream::iter(first.map(Ok)).chain(rest).try_flatten().boxed())
}

async fn open_piece(objects: &dyn ObjectStore, piece: Piece) -> io::Result<ByteStream> {
    let range = GetRange::Bounded(piece.range.clone());
    let got = objects.get_opts(&piece.path, GetOptions { range: Some(range), ..GetOptions::default() }).await;
    let got = got.map_err(failed)?;
    let written = piece.size.unwrap_or(piece.range.end);
    if got.meta.size < written || piece.size.is_some_and(|size| got.meta.size != size) {
        let message = format!("{} has {} bytes, {written} were written", piece.path, got.meta.size);
        return Err(io::Error::new(io::ErrorKind::InvalidData, message));
    }
    match got.payload {
        GetResultPayload::File(mut file, _) => {
            let start = piece.range.start;
            let file = blocking(move || file.seek(SeekFrom::Start(start)).map(|_| file)).await?;
            let mut file = tokio::fs::File::from_std(file);
            // By itself it would hold 2 MiB for each reader.
            file.set_max_buf_size(READ_AHEAD);
            Ok(ReaderStream::with_capacity(file.take(piece.range.end - start), READ_AHEAD).boxed())
        }
        GetResultPayload::Stream(stream) => Ok(stream.map_err(failed).boxed()),
    }
}

#[cfg(test)]
mod tests {
    use shared::id::{ElementId, TaskId};
    use ulid::Ulid;

    use super::*;

    fn content(size: u64, blob: Option<u128>) -> Content {
        let place = Place::Run(ElementId { task: TaskId(Ulid(1)), index: 2 }, 3);
        Content { place, blob: blob.map(|blob| BlobId(Ulid(blob))), blake3: [0xab; 32], size, start: None }
    }

    #[test]
    fn bytes_are_found_in_their_pieces() {
        let large = content(2 * PIECE + 5, Some(7));
        let of = |range| large.pieces(range).map(|piece| (piece.size.expect("whole"), piece.range)).collect::<Vec<_>>();
        assert_eq!(of(0..2 * PIECE + 5), [(PIECE, 0..PIECE), (PIECE, 0..PIECE), (5, 0..5)]);
        assert_eq!(of(PIECE - 1..PIECE + 1), [(PIECE, PIECE - 1..PIECE), (PIECE, 0..1)]);
        assert_eq!(of(2 * PIECE + 4..2 * PIECE + 5), [(5, 4..5)]);
        assert_eq!(of(3..3), []);
        let last = large.pieces(2 * PIECE..2 * PIECE + 1).next().expect("a piece").path;
        assert!(last.as_ref().starts_with("task-") && last.as_ref().ends_with("/2-3/00000000000000000000000007.2"));
    }

    #[test]
    fn small_contents_are_found_among_others() {
        let small = Content { start: Some(PIECE - 2), ..content(5, Some(7)) };
        let of = |range| small.pieces(range).map(|piece| (piece.size, piece.range)).collect::<Vec<_>>();
        assert_eq!(of(0..5), [(None, PIECE - 2..PIECE), (None, 0..3)]);
        assert_eq!(of(1..2), [(None, PIECE - 1..PIECE)]);
        assert_eq!(of(2..4), [(None, 0..2)]);
        assert_eq!(of(2..2), []);
    }

    #[test]
    fn what_has_no_name_of_its_own_is_one_object() {
        let old = content(5 * PIECE, None);
        let pieces: Vec<_> = old.pieces(PIECE..3 * PIECE).collect();
        assert_eq!((pieces.len(), pieces[0].range.clone()), (1, PIECE..3 * PIECE));
        assert!(pieces[0].path.as_ref().ends_with(&"ab".repeat(32)));
    }
}
