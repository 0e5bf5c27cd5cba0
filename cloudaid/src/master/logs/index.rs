//! Where in a file which bytes of a stream stand: a few places per log, so that any offset is found without reading
//! from the start.

use super::LogOffsets;
use super::frame::Frame;

/// Bytes of the file between two checkpoints at first.
const FIRST_STRIDE: u64 = 64 * 1024;
/// Checkpoints per log; when there are more, every other one goes and the stride doubles. So an index never takes more
/// than 24 KiB, whatever the size of its log.
const CHECKPOINTS: usize = 1024;

/// The start of a frame, and how much of each stream stands before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Checkpoint {
    pub(super) position: u64,
    pub(super) offsets: LogOffsets,
}

/// The index of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Index {
    /// Ascending; the first is the start of the file.
    checkpoints: Vec<Checkpoint>,
    stride: u64,
    end: Checkpoint,
}

impl Default for Index {
    fn default() -> Self {
        Self { checkpoints: vec![Checkpoint::default()], stride: FIRST_STRIDE, end: Checkpoint::default() }
    }
}

impl Index {
    /// Ascending; the first is the start of the file.
    pub(super) fn checkpoints(&self) -> &[Checkpoint] {
        &self.checkpoints
    }

    /// The end of the last frame.
    pub(super) fn end(&self) -> Checkpoint {
        self.end
    }

    /// Takes in the frame that stands at the end.
    pub(super) fn push(&mut self, frame: &Frame) {
        self.push_sized(frame.size(), frame.stream, u64::from(frame.len));
    }

    /// As [`Self::push`], for a frame of `size` bytes with `len` bytes of data.
    pub(super) fn push_sized(&mut self, size: u64, stream: shared::link::LogStream, len: u64) {
        self.end.position += size;
        *self.end.offsets.of_mut(stream) += len;
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

    /// The last checkpoint before which nothing is wanted. `before` is true up to some place and false from there.
    pub(super) fn last_where(&self, before: impl Fn(LogOffsets) -> bool) -> Checkpoint {
        let after = self.checkpoints.partition_point(|checkpoint| before(checkpoint.offsets));
        self.checkpoints[..after].last().copied().unwrap_or_default()
    }

    /// The last checkpoint with at least `bytes` of the file behind it; the start if there are fewer.
    pub(super) fn before_last(&self, bytes: u64) -> Checkpoint {
        let wanted = self.end.position.saturating_sub(bytes);
        let after = self.checkpoints.partition_point(|checkpoint| checkpoint.position <= wanted);
        self.checkpoints[..after].last().copied().unwrap_or_default()
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
            index.push_sized(10_030, if number % 10 == 0 { Stderr } else { Stdout }, 10_000);
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
