//! Puts pieces into records: small ones that come together into one.

use std::collections::VecDeque;

use shared::link::LogStream;

use super::LogOffsets;
use super::frame::{self, HEADER, Kind};
use super::index::Step;
use super::mixed::{self, RUN_MOST, Run, TRAILER};

/// Makes records, one after the other.
#[derive(Debug)]
pub(super) struct Packer {
    /// The most data of one record.
    most: usize,
    /// Records; at the end the data of one that is still open, behind room for its header.
    bytes: Vec<u8>,
    /// Of those that are closed.
    steps: VecDeque<Step>,
    /// Where the open one begins.
    begin: usize,
    /// What it holds.
    runs: Vec<Run>,
    /// Where its first byte of each stream stands.
    starts: LogOffsets,
    held: LogOffsets,
}

impl Packer {
    /// With at most so much data in a record.
    pub(super) fn new(most: usize) -> Self {
        let (starts, held) = (LogOffsets::default(), LogOffsets::default());
        Self { most, bytes: Vec::new(), steps: VecDeque::new(), begin: 0, runs: Vec::new(), starts, held }
    }

    /// Takes in a piece. It goes on where the last piece of its stream has ended since [`Self::close`], if there was one.
    pub(super) fn push(&mut self, stream: LogStream, mut offset: u64, at_unix_ms: i64, data: &[u8]) {
        for data in data.chunks(self.most) {
            let run = Run { stream, len: data.len(), at_unix_ms };
            if !self.has_room(&run) {
                self.close();
            }
            if self.runs.is_empty() {
                self.begin = self.bytes.len();
                self.bytes.resize(self.begin + HEADER, 0);
            }
            self.bytes.extend_from_slice(data);
            let len = data.len() as u64;
            let held = self.held.of_mut(stream);
            if *held == 0 {
                *self.starts.of_mut(stream) = offset;
            }
            *held += len;
            offset += len;
            match self.runs.last_mut() {
                Some(last) if goes_on(last, &run) => last.len += run.len,
                _ => self.runs.push(run),
            }
        }
    }

    /// Whether the open record may hold this too.
    fn has_room(&self, run: &Run) -> bool {
        let Some(last) = self.runs.last() else { return true };
        let runs = self.runs.len() + usize::from(!goes_on(last, run));
        let said = if runs > 1 { runs * RUN_MOST + TRAILER } else { 0 };
        self.bytes.len() - self.begin - HEADER + run.len + said <= self.most
    }

    /// Ends the open record.
    pub(super) fn close(&mut self) {
        let Some(first) = self.runs.first().copied() else { return };
        let (kind, offset) = match self.runs.len() {
            1 => (Kind::One(first.stream), self.starts.of(first.stream)),
            _ => {
                mixed::encode(&self.runs, self.starts.stderr, &mut self.bytes);
                (Kind::Mixed, self.starts.stdout)
            }
        };
        let record = &mut self.bytes[self.begin..];
        frame::seal(kind, offset, first.at_unix_ms, record);
        self.steps.push_back(Step { disk: record.len() as u64, data: self.held });
        self.runs.clear();
        (self.starts, self.held) = (LogOffsets::default(), LogOffsets::default());
    }

    /// The records that are closed, and what each adds to a log.
    pub(super) fn into_records(self) -> (Vec<u8>, VecDeque<Step>) {
        (self.bytes, self.steps)
    }

    /// The bytes of all records. The last must be closed.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Forgets the records. The last must be closed.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.steps.clear();
    }
}

/// Whether it is the same piece, for all that is kept of it.
fn goes_on(last: &Run, run: &Run) -> bool {
    (last.stream, last.at_unix_ms) == (run.stream, run.at_unix_ms)
}
