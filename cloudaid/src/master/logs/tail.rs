//! Finds the last lines of a log.

use std::collections::VecDeque;
use std::io;

use shared::link::LogStream;

use super::frame::Frame;
use super::frames::{Extent, Next};
use super::index::Checkpoint;
use super::log::Log;
use super::{LogOffsets, LogSelect};

/// How much of the end of the file is read at first.
const FIRST_LOOK: u64 = 64 * 1024;
/// The most that is read to find the lines.
const LAST_LOOK: u64 = 4 * 1024 * 1024;

/// The last `count` lines, without their line ends.
pub(super) fn lines(log: &Log, select: LogSelect, count: usize) -> io::Result<Vec<(LogStream, Vec<u8>)>> {
    let mut look = FIRST_LOOK;
    loop {
        let (start, extent) = log.look(|index| index.before_last(look))?;
        if count == 0 {
            return Ok(Vec::new());
        }
        let lines = collect(extent, select, start, count)?;
        let is_enough = lines.whole >= count || start.position == 0 || look >= LAST_LOOK;
        if is_enough {
            return Ok(lines.into_last(count));
        }
        look *= 4;
    }
}

fn collect(extent: Extent, select: LogSelect, start: Checkpoint, count: usize) -> io::Result<Lines> {
    let mut lines = Lines::new(start.offsets, count);
    let mut frames = extent.read_from(start.position);
    while let Some(next) = frames.next()? {
        match next {
            Next::Frame(frame) if select.takes(frame.stream) => lines.push(frame, &frames.data()?),
            Next::Frame(_) => {}
            Next::Cut(to) => lines.cut(to),
        }
    }
    lines.end();
    Ok(lines)
}

/// Cuts chunks of both streams into lines, in the order in which the lines end.
struct Lines {
    /// The last ones, and whether each is there from its first byte.
    last: VecDeque<(LogStream, Vec<u8>, bool)>,
    keep: usize,
    /// Lines that were there from their first byte, kept or not.
    whole: usize,
    open: [OpenLine; 2],
}

struct OpenLine {
    stream: LogStream,
    data: Vec<u8>,
    is_whole: bool,
    /// Up to where the stream was read.
    end: u64,
}

impl Lines {
    fn new(start: LogOffsets, count: usize) -> Self {
        let open = LogStream::ALL.map(|stream| {
            let end = start.of(stream);
            OpenLine { stream, data: Vec::new(), is_whole: end == 0, end }
        });
        // Two more than asked for: one beginning of each stream may be dropped.
        Self { last: VecDeque::new(), keep: count.saturating_add(2), whole: 0, open }
    }

    fn push(&mut self, frame: Frame, data: &[u8]) {
        let stream = frame.stream;
        for open in self.open.iter_mut().filter(|open| open.stream == stream) {
            open.end = frame.end();
        }
        for part in data.split_inclusive(|byte| *byte == b'\n') {
            let ends = part.ends_with(b"\n");
            let part = if ends { &part[..part.len() - 1] } else { part };
            for open in self.open.iter_mut().filter(|open| open.stream == stream) {
                open.data.extend_from_slice(part);
            }
            if ends {
                self.close(stream);
            }
        }
    }

    fn close(&mut self, stream: LogStream) {
        for open in self.open.iter_mut().filter(|open| open.stream == stream) {
            self.whole += usize::from(open.is_whole);
            self.last.push_back((stream, std::mem::take(&mut open.data), open.is_whole));
            open.is_whole = true;
        }
        if self.last.len() > self.keep {
            self.last.pop_front();
        }
    }

    /// What stood before these places is gone, and with it the ends of the lines that were open. A stream that goes on where it
    /// was lacks nothing.
    fn cut(&mut self, to: LogOffsets) {
        for stream in LogStream::ALL {
            let is_cut = |open: &OpenLine| open.stream == stream && open.end < to.of(stream);
            if self.open.iter().any(|open| is_cut(open) && !open.data.is_empty()) {
                self.close(stream);
            }
            for open in self.open.iter_mut().filter(|open| is_cut(open)) {
                (open.is_whole, open.end) = (false, to.of(stream));
            }
        }
    }

    /// What has no line end yet is a line too.
    fn end(&mut self) {
        for stream in LogStream::ALL {
            if self.open.iter().any(|open| open.stream == stream && !open.data.is_empty()) {
                self.close(stream);
            }
        }
    }

    fn into_last(self, count: usize) -> Vec<(LogStream, Vec<u8>)> {
        let only_whole = self.whole >= count;
        let kept = self.last.into_iter().filter(|(_, _, is_whole)| *is_whole || !only_whole);
        let lines: Vec<_> = kept.map(|(stream, line, _)| (stream, line)).collect();
        let skip = lines.len().saturating_sub(count);
        lines.into_iter().skip(skip).collect()
    }
}
