//! Reading a log of the engine from a place on.

use bytes::BytesMut;
use futures_util::{FutureExt, StreamExt};
use shared::link::{CHUNK_LIMIT, LogStream};

use super::offsets::{Chunk, Offsets};
use crate::runtime::{LogMark, LogPiece, LogPieces, RuntimeError};

/// Reads a log and makes chunks of it.
pub(super) struct Reader {
    pieces: LogPieces,
    /// What is below was there before and is left out.
    pub(super) start: Offsets,
    /// Behind the last byte read.
    pub(super) position: Offsets,
    /// Read and not yet taken; each ends at `position`.
    stdout: BytesMut,
    stderr: BytesMut,
    /// Whether anything was read.
    pub(super) has_read: bool,
    pub(super) ended: bool,
    /// Whether something before what is read next was dropped before it was read. Nothing behind that is read with what is
    /// before.
    pub(super) has_gap: bool,
    /// Whether something may be missing, nobody knows where.
    pub(super) is_in_doubt: bool,
    /// Those that were passed behind the last gap, as they are counted here.
    pub(super) marks: Vec<LogMark>,
    /// What is not counted by who reads the engine's log: it was before a gap.
    before: Offsets,
}

impl Reader {
    /// `pieces` begin at `mark`.
    pub(super) fn new(pieces: LogPieces, mark: LogMark, start: Offsets) -> Self {
        Self {
            pieces,
            start,
            position: mark.into(),
            stdout: BytesMut::new(),
            stderr: BytesMut::new(),
            has_read: false,
            ended: false,
            has_gap: false,
            is_in_doubt: false,
            marks: Vec::new(),
            before: Offsets::default(),
        }
    }

    /// Waits for something, then takes what is there besides: a slow writer is sent at once, a fast one in large chunks.
    pub(super) async fn fill(&mut self) -> Result<(), RuntimeError> {
        let mut next = self.pieces.next().await;
        loop {
            match next {
                None => self.ended = true,
                Some(piece) => self.take(piece?),
            }
            if self.ended || self.has_gap || self.stdout.len() + self.stderr.len() >= CHUNK_LIMIT {
                return Ok(());
            }
            match self.pieces.next().now_or_never() {
                Some(more) => next = more,
                None => return Ok(()),
            }
        }
    }

    fn take(&mut self, piece: LogPiece) {
        match piece {
            LogPiece::Data(stream, data) => self.add(stream, &data),
            LogPiece::Mark(mark) if mark == LogMark::default() => self.marks.push(mark),
            LogPiece::Mark(mark) => {
                let bytes = [mark.bytes[0] + self.before.stdout, mark.bytes[1] + self.before.stderr];
                self.marks.push(LogMark { bytes, ..mark });
            }
            LogPiece::Doubt => self.is_in_doubt = true,
            LogPiece::Gap => {
                self.has_gap = true;
                self.marks.clear();
                // What the master has is before it.
                let position = self.position.max(self.start);
                self.before.stdout += position.stdout - self.position.stdout;
                self.before.stderr += position.stderr - self.position.stderr;
                self.position = position;
            }
        }
    }

    fn add(&mut self, stream: LogStream, data: &[u8]) {
        let (start, position) = (*self.start.of(stream), self.position.of(stream));
        let skip = usize::try_from(start.saturating_sub(*position)).unwrap_or(usize::MAX).min(data.len());
        *position += data.len() as u64;
        self.has_read = true;
        let buffer = match stream {
            LogStream::Stdout => &mut self.stdout,
            LogStream::Stderr => &mut self.stderr,
        };
        buffer.extend_from_slice(&data[skip..]);
    }

    /// What was read, in pieces that a message can carry, each with its offset.
    pub(super) fn take_chunks(&mut self) -> Vec<Chunk> {
        let mut chunks = Vec::new();
        for stream in LogStream::ALL {
            let mut data = match stream {
                LogStream::Stdout => self.stdout.split().freeze(),
                LogStream::Stderr => self.stderr.split().freeze(),
            };
            let mut offset = *self.position.of(stream) - data.len() as u64;
            while !data.is_empty() {
                let chunk = data.split_to(data.len().min(CHUNK_LIMIT));
                let length = chunk.len() as u64;
                chunks.push((stream, offset, chunk));
                offset += length;
            }
        }
        chunks
    }

    /// Keeps no memory for what may come. Everything was taken.
    pub(super) fn rest(&mut self) {
        (self.stdout, self.stderr) = (BytesMut::new(), BytesMut::new());
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures_util::stream;

    use super::*;

    fn reader(pieces: Vec<(LogStream, Bytes)>, start: Offsets) -> Reader {
        let pieces = pieces.into_iter().map(|(stream, data)| Ok(LogPiece::Data(stream, data)));
        Reader::new(Box::pin(stream::iter(pieces)), LogMark::default(), start)
    }

    #[tokio::test]
    async fn what_is_ready_goes_together_and_streams_stay_apart() {
        let pieces = vec![
            (LogStream::Stdout, Bytes::from("ab")),
            (LogStream::Stderr, Bytes::from("x")),
            (LogStream::Stdout, Bytes::from("cd")),
        ];
        let mut reader = reader(pieces, Offsets::default());
        reader.fill().await.expect("read");
        let chunks = reader.take_chunks();
        assert_eq!(chunks, [(LogStream::Stdout, 0, Bytes::from("abcd")), (LogStream::Stderr, 0, Bytes::from("x"))]);
        assert!(reader.ended && reader.take_chunks().is_empty());
    }

    #[tokio::test]
    async fn what_the_master_has_is_skipped_to_the_byte() {
        let pieces = vec![(LogStream::Stdout, Bytes::from("abc")), (LogStream::Stdout, Bytes::from("def"))];
        for (durable, rest) in [(0, "abcdef"), (2, "cdef"), (3, "def"), (4, "ef"), (6, ""), (99, "")] {
            let mut reader = reader(pieces.clone(), Offsets { stdout: durable, stderr: 7 });
            reader.fill().await.expect("read");
            let chunks = reader.take_chunks();
            let text: Vec<u8> = chunks.iter().flat_map(|(_, _, data)| data.to_vec()).collect();
            assert_eq!(text, rest.as_bytes(), "from {durable}");
            assert!(chunks.iter().all(|(_, offset, _)| *offset == durable), "from {durable}");
            assert_eq!(reader.position, Offsets { stdout: 6, stderr: 0 });
        }
    }

    #[tokio::test]
    async fn reading_goes_on_at_a_mark_and_a_gap_is_said() {
        let mark = LogMark { at: 5, bytes: [3, 1], ..LogMark::default() };
        let data = LogPiece::Data(LogStream::Stdout, Bytes::from("def"));
        let later = LogMark { at: 9, bytes: [6, 1], ..LogMark::default() };
        let pieces = vec![Ok(data.clone()), Ok(LogPiece::Mark(later)), Ok(LogPiece::Gap)];
        let mut reader = Reader::new(Box::pin(stream::iter(pieces)), mark, Offsets { stdout: 4, stderr: 1 });
        reader.fill().await.expect("read");
        assert_eq!(reader.take_chunks(), [(LogStream::Stdout, 4, Bytes::from("ef"))]);
        assert_eq!(
            (reader.has_gap, reader.position, reader.ended),
            (true, Offsets { stdout: 6, stderr: 1 }, false),
            "what is behind it is read next"
        );
        assert_eq!(reader.marks, [], "nothing that is before it can be read again");
        assert!(!Offsets { stdout: 6, stderr: 0 }.reach(later) && reader.position.reach(later));
        // What comes behind one is new, whatever is there already, and is counted on from there, places too.
        let last = LogMark { at: 12, ..later };
        let pieces = vec![Ok(LogPiece::Gap), Ok(data), Ok(LogPiece::Mark(later)), Ok(LogPiece::Mark(last))];
        let mut reader = Reader::new(Box::pin(stream::iter(pieces)), mark, Offsets { stdout: 50, stderr: 1 });
        reader.fill().await.expect("read");
        assert!(std::mem::take(&mut reader.has_gap) && reader.take_chunks().is_empty());
        reader.fill().await.expect("read");
        assert_eq!(reader.take_chunks(), [(LogStream::Stdout, 50, Bytes::from("def"))]);
        assert_eq!(reader.marks, [later, last].map(|mark| LogMark { bytes: [53, 1], ..mark }));
    }

    #[tokio::test]
    async fn large_pieces_are_cut_to_what_a_message_carries() {
        let large = Bytes::from(vec![7; CHUNK_LIMIT * 2 + 1]);
        let mut reader = reader(vec![(LogStream::Stderr, large)], Offsets::default());
        reader.fill().await.expect("read");
        let chunks = reader.take_chunks();
        let shape: Vec<_> = chunks.iter().map(|(_, offset, data)| (*offset, data.len())).collect();
        let limit = CHUNK_LIMIT as u64;
        assert_eq!(shape, [(0, CHUNK_LIMIT), (limit, CHUNK_LIMIT), (2 * limit, 1)]);
    }
}
