//! What is to be appended, as frames.

use std::collections::VecDeque;

use shared::link::LogStream;

use super::frame::{self, HEADER};
use super::keep::Keep;
use super::{LogOffsets, LogPiece, LogRefusal};

/// The frames of one append.
pub(super) struct Batch {
    bytes: Vec<u8>,
    /// Of `bytes` that were taken.
    taken: usize,
    /// Of what was not taken: streams and lengths of data.
    frames: VecDeque<(LogStream, u64)>,
    offsets: LogOffsets,
    at_unix_ms: i64,
    most: usize,
}

/// Some of them.
pub(super) struct Taken<'a> {
    bytes: &'a [u8],
    frames: Vec<(LogStream, u64)>,
}

impl Batch {
    /// What follows on these bytes.
    pub(super) fn new(offsets: LogOffsets, keep: Keep) -> Self {
        let at_unix_ms = jiff::Timestamp::now().as_millisecond();
        // A frame is not cut in two when another file is begun.
        let file = usize::try_from(keep.of_file(false)).unwrap_or(usize::MAX);
        let most = frame::DATA_LIMIT.min(file.saturating_sub(HEADER).max(1));
        Self { bytes: Vec::new(), taken: 0, frames: VecDeque::new(), offsets, at_unix_ms, most }
    }

    /// Takes in what is new of a piece.
    pub(super) fn add(&mut self, piece: &LogPiece) -> Result<(), LogRefusal> {
        let end = self.offsets.of_mut(piece.stream);
        let Some(known) = end.checked_sub(piece.offset) else {
            return Err(LogRefusal::Gap { stream: piece.stream, offset: piece.offset, end: *end });
        };
        let known = usize::try_from(known).unwrap_or(usize::MAX).min(piece.data.len());
        for data in piece.data[known..].chunks(self.most) {
            frame::encode(piece.stream, *end, self.at_unix_ms, data, &mut self.bytes);
            self.frames.push_back((piece.stream, data.len() as u64));
            *end += data.len() as u64;
        }
        Ok(())
    }

    /// How much of each stream there is with all of it.
    pub(super) fn offsets(&self) -> LogOffsets {
        self.offsets
    }

    pub(super) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Of the next frame in the file.
    pub(super) fn next_size(&self) -> u64 {
        self.frames.front().map_or(0, |(_, len)| HEADER as u64 + len)
    }

    /// The next frames, together at most `room` bytes, but at least one.
    pub(super) fn take(&mut self, room: u64) -> Taken<'_> {
        let (begin, mut frames) = (self.taken, Vec::new());
        while let Some((stream, len)) = self.frames.front().copied() {
            let end = self.taken + HEADER + usize::try_from(len).unwrap_or(usize::MAX);
            if !frames.is_empty() && (end - begin) as u64 > room {
                break;
            }
            self.taken = end;
            frames.push((stream, len));
            self.frames.pop_front();
        }
        Taken { bytes: &self.bytes[begin..self.taken], frames }
    }
}

impl Taken<'_> {
    /// As they stand in the file.
    pub(super) fn bytes(&self) -> &[u8] {
        self.bytes
    }

    /// Their streams and lengths.
    pub(super) fn sizes(&self) -> impl Iterator<Item = (LogStream, u64)> {
        self.frames.iter().copied()
    }
}
