//! What is to be appended, as records.

use std::collections::{HashMap, VecDeque};

use shared::id::AttemptKey;

use super::frame;
use super::index::Step;
use super::keep::{Keep, Size};
use super::pack::Packer;
use super::{LogOffsets, LogPiece, LogRefusal};

/// The pieces of one append.
pub(super) struct Batch {
    pack: Packer,
    offsets: LogOffsets,
    at_unix_ms: i64,
}

/// Its records.
pub(super) struct Records {
    bytes: Vec<u8>,
    /// Of `bytes` that were taken.
    taken: usize,
    /// Those that were not taken.
    steps: VecDeque<Step>,
}

/// Some of them.
pub(super) struct Taken<'a> {
    bytes: &'a [u8],
    steps: Vec<Step>,
}

/// The pieces of each run, runs in the order of their first piece.
pub(super) fn by_run(pieces: Vec<LogPiece>) -> Vec<(AttemptKey, Vec<LogPiece>)> {
    let mut places = HashMap::new();
    let mut groups: Vec<(AttemptKey, Vec<LogPiece>)> = Vec::new();
    for piece in pieces {
        let place = *places.entry(piece.key).or_insert(groups.len());
        match groups.get_mut(place) {
            Some((_, group)) => group.push(piece),
            None => groups.push((piece.key, vec![piece])),
        }
    }
    groups
}

impl Batch {
    /// What follows on these bytes.
    pub(super) fn new(offsets: LogOffsets, keep: Keep) -> Self {
        // A record is not cut in two when another file is begun.
        let file = usize::try_from(keep.of_file(false).data).unwrap_or(usize::MAX);
        let pack = Packer::new(frame::DATA_LIMIT.min(file).max(1));
        Self { pack, offsets, at_unix_ms: jiff::Timestamp::now().as_millisecond() }
    }

    /// Takes in what is new of a piece.
    pub(super) fn add(&mut self, piece: &LogPiece) -> Result<(), LogRefusal> {
        let end = self.offsets.of_mut(piece.stream);
        let Some(known) = end.checked_sub(piece.offset) else {
            return Err(LogRefusal::Gap { stream: piece.stream, offset: piece.offset, end: *end });
        };
        let known = usize::try_from(known).unwrap_or(usize::MAX).min(piece.data.len());
        let data = &piece.data[known..];
        self.pack.push(piece.stream, *end, self.at_unix_ms, data);
        *end += data.len() as u64;
        Ok(())
    }

    /// How much of each stream there is with all of it.
    pub(super) fn offsets(&self) -> LogOffsets {
        self.offsets
    }

    /// As it is to be written.
    pub(super) fn into_records(mut self) -> Records {
        self.pack.close();
        let (bytes, steps) = self.pack.into_records();
        Records { bytes, taken: 0, steps }
    }
}

impl Records {
    pub(super) fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Of the next one.
    pub(super) fn next_size(&self) -> Size {
        self.steps.front().map(Step::size).unwrap_or_default()
    }

    /// The next ones for which there is `room`, but at least one.
    pub(super) fn take(&mut self, room: Size) -> Taken<'_> {
        let (begin, mut steps, mut size) = (self.taken, Vec::new(), Size::default());
        while let Some(step) = self.steps.front().copied() {
            size = size.plus(step.size());
            if !steps.is_empty() && !size.is_within(room) {
                break;
            }
            self.taken += usize::try_from(step.disk).unwrap_or(usize::MAX);
            steps.push(step);
            self.steps.pop_front();
        }
        Taken { bytes: &self.bytes[begin..self.taken], steps }
    }
}

impl Taken<'_> {
    /// As they stand in the file.
    pub(super) fn bytes(&self) -> &[u8] {
        self.bytes
    }

    /// What each adds to the log.
    pub(super) fn steps(&self) -> &[Step] {
        &self.steps
    }
}
