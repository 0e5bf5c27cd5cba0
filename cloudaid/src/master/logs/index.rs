//! Where in a file which bytes of a stream stand: a few places per log, so that any offset is found without reading
//! from the start; and in which files.

use std::sync::Arc;

use super::LogOffsets;
use super::frame::{Frame, HEADER};
use super::keep::Keep;
use super::part::Part;

/// Bytes of the file between two checkpoints at first.
const FIRST_STRIDE: u64 = 64 * 1024;
/// Checkpoints per log; when there are more, every other one goes and the stride doubles. So an index never takes more
/// than 24 KiB, whatever the size of its log.
const CHECKPOINTS: usize = 1024;
/// Files per log. Only one that is cut all the time by its worker comes to so many.
const SPANS: usize = 1024;

/// The start of a frame, and how much of each stream stands before it. Positions count all frames that were ever written,
/// those that were cut out too, and the bytes that never came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Checkpoint {
    pub(super) position: u64,
    pub(super) offsets: LogOffsets,
}

/// A file, and where it ends. If the next one begins later, what was between them is gone.
#[derive(Debug, Clone)]
pub(super) struct Span {
    pub(super) part: Arc<Part>,
    pub(super) end: Checkpoint,
}

impl Span {
    fn length(&self) -> u64 {
        self.end.position - self.part.start().position
    }
}

/// The index of one log.
#[derive(Debug)]
pub(super) struct Index {
    /// In their order.
    spans: Vec<Span>,
    /// Ascending; the first is the start of the log.
    checkpoints: Vec<Checkpoint>,
    stride: u64,
    end: Checkpoint,
}

impl Default for Index {
    fn default() -> Self {
        let checkpoints = vec![Checkpoint::default()];
        Self { spans: Vec::new(), checkpoints, stride: FIRST_STRIDE, end: Checkpoint::default() }
    }
}

impl Index {
    /// Ascending; the first is the start of the log.
    pub(super) fn checkpoints(&self) -> &[Checkpoint] {
        &self.checkpoints
    }

    /// Bytes of frames that are there.
    pub(super) fn stored(&self) -> u64 {
        self.spans.iter().map(Span::length).sum()
    }

    /// The files, in their order.
    pub(super) fn spans(&self) -> &[Span] {
        &self.spans
    }

    /// The file that is written.
    pub(super) fn last(&self) -> Option<&Arc<Part>> {
        self.spans.last().map(|span| &span.part)
    }

    /// How much more the file that is written may hold; none: a new one is needed.
    pub(super) fn room(&self, keep: Keep) -> Option<u64> {
        let last = self.spans.last()?;
        let limit = keep.of_file(self.spans.len() == 1);
        limit.checked_sub(last.length())
    }

    /// Goes on in another file. What is missing before it is gone.
    pub(super) fn begin(&mut self, part: Arc<Part>) {
        self.end = part.start();
        self.spans.push(Span { part, end: self.end });
    }

    /// Takes the oldest files after the first out until what is left is within bounds. Returns them.
    pub(super) fn trim(&mut self, keep: Keep) -> Vec<Span> {
        let mut length: u64 = self.spans.iter().skip(1).map(Span::length).sum();
        let mut cut = Vec::new();
        // The last is the one that is written.
        while (length > keep.tail || self.spans.len() > SPANS) && self.spans.len() > 2 {
            let span = self.spans.remove(1);
            length -= span.length();
            cut.push(span);
        }
        if let (Some(first), Some(last)) = (cut.first(), cut.last()) {
            let gone = first.part.start().position..last.end.position;
            self.checkpoints.retain(|checkpoint| !gone.contains(&checkpoint.position));
        }
        cut
    }

    /// The end of the last frame.
    pub(super) fn end(&self) -> Checkpoint {
        self.end
    }

    /// Takes in the frame that stands at the end.
    pub(super) fn push(&mut self, frame: &Frame) {
        self.push_sized(frame.stream, u64::from(frame.len));
    }

    /// As [`Self::push`], for a frame with `len` bytes of data.
    pub(super) fn push_sized(&mut self, stream: shared::link::LogStream, len: u64) {
        self.end.position += HEADER as u64 + len;
        *self.end.offsets.of_mut(stream) += len;
        if let Some(span) = self.spans.last_mut() {
            span.end = self.end;
        }
        let last = self.checkpoints.last().map_or(0, |last| last.position);
        if self.end.position - last < self.stride {
            return;
        }
        self.checkpoints.push(self.end);
        if self.checkpoints.len() > CHECKPOINTS {
            let mut keep = false;
            self.checkpoints.retain(|_| {
                keep = !keep;
                keep
            });
            self.stride *= 2;
        }
    }

    /// The last known place before which nothing is wanted. `before` is true up to some place and false from there.
    pub(super) fn last_where(&self, before: impl Fn(LogOffsets) -> bool) -> Checkpoint {
        self.last_place(|place| before(place.offsets))
    }

    /// The last known place with at least `bytes` of the log behind it; the start if there are fewer.
    pub(super) fn before_last(&self, bytes: u64) -> Checkpoint {
        let wanted = self.end.position.saturating_sub(bytes);
        self.last_place(|place| place.position <= wanted)
    }

    fn last_place(&self, before: impl Fn(&Checkpoint) -> bool) -> Checkpoint {
        let checkpoint = self.checkpoints[..self.checkpoints.partition_point(&before)].last().copied();
        let after = self.spans.partition_point(|span| before(&span.part.start()));
        let start = self.spans[..after].last().map(|span| span.part.start());
        checkpoint.into_iter().chain(start).max_by_key(|place| place.position).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use shared::link::LogStream::{Stderr, Stdout};

    use super::*;

    #[test]
    fn finds_the_place_and_stays_small() {
        let mut index = Index::default();
        for number in 0..100_000u64 {
            index.push_sized(if number % 10 == 0 { Stderr } else { Stdout }, 10_000);
        }
        assert!(index.checkpoints.len() <= CHECKPOINTS);
        assert_eq!(index.end().offsets, LogOffsets { stdout: 900_000_000, stderr: 100_000_000 });
        for wanted in [0, 1, 77_777, 450_000_000, 899_999_999] {
            let found = index.last_where(|offsets| offsets.stdout <= wanted);
            assert!(found.offsets.stdout <= wanted && wanted - found.offsets.stdout <= 2 * index.stride);
            assert_eq!(found.position, (found.offsets.stdout + found.offsets.stderr) / 10_000 * 10_030);
        }
        assert_eq!(index.before_last(u64::MAX), Checkpoint::default());
        assert!(index.end().position - index.before_last(1).position <= 2 * index.stride);
    }
}
