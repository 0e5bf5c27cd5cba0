//! Places in a log.

use bytes::Bytes;
use cloudaid_core::agent::LogBytes;
use shared::link::LogStream;

use crate::runtime::LogMark;

/// What was written to a stream, with the place of its first byte in it.
pub(super) type Chunk = (LogStream, u64, Bytes);

/// A place in each stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Offsets {
    pub(super) stdout: u64,
    pub(super) stderr: u64,
}

impl Offsets {
    pub(super) fn of(&mut self, stream: LogStream) -> &mut u64 {
        match stream {
            LogStream::Stdout => &mut self.stdout,
            LogStream::Stderr => &mut self.stderr,
        }
    }

    pub(super) fn max(self, other: Self) -> Self {
        Self { stdout: self.stdout.max(other.stdout), stderr: self.stderr.max(other.stderr) }
    }

    /// Whether everything before the other place is before here.
    pub(super) fn reach(self, place: impl Into<Self>) -> bool {
        let Self { stdout, stderr } = place.into();
        self.stdout >= stdout && self.stderr >= stderr
    }

    /// Whether all of the chunk is before here.
    pub(super) fn has(mut self, (stream, offset, data): &Chunk) -> bool {
        *self.of(*stream) >= offset + data.len() as u64
    }

    /// Goes behind the chunk, which begins here or before.
    pub(super) fn pass(&mut self, (stream, offset, data): &Chunk) {
        let place = self.of(*stream);
        *place = (*place).max(offset + data.len() as u64);
    }

    /// Bytes from `earlier` to here.
    pub(super) fn beyond(self, earlier: Self) -> u64 {
        self.stdout.saturating_sub(earlier.stdout) + self.stderr.saturating_sub(earlier.stderr)
    }
}

impl From<LogMark> for Offsets {
    fn from(LogMark { bytes: [stdout, stderr], .. }: LogMark) -> Self {
        Self { stdout, stderr }
    }
}

impl From<Offsets> for LogBytes {
    fn from(offsets: Offsets) -> Self {
        Self { stdout: offsets.stdout, stderr: offsets.stderr, lacks_end: false }
    }
}
