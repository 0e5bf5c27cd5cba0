//! Where to begin to read a log, for those who do not want all of it.

use std::collections::VecDeque;
use std::io;

use shared::link::LogStream;
use shared::time::WallTime;

use super::frame::Frame;
use super::frames::{Extent, Next};
use super::index::Checkpoint;
use super::log::Log;
use super::{LogOffsets, LogSelect};

/// How much of the end of the file is read at first.
const FIRST_LOOK: u64 = 64 * 1024;
/// The most that is read; a line that is longer loses its beginning.
const LAST_LOOK: u64 = 64 * 1024 * 1024;

/// Where the last `count` lines of the selected streams begin, in the order in which lines end. The rest of each stream
/// from there on is these lines and nothing else.
pub(super) fn last_lines(log: &Log, select: LogSelect, count: usize) -> io::Result<LogOffsets> {
    let mut look = FIRST_LOOK;
    loop {
        let (start, extent) = log.look(|index| index.before_last(look))?;
        let end = extent.end();
        if count == 0 || end.position == 0 {
            return Ok(end.offsets);
        }
        let mut lines = Starts::new(start.offsets, count);
        let mut frames = extent.read_from(start.position);
        while let Some(next) = frames.next()? {
            match next {
                Next::Frame(frame) if select.takes(frame.stream) => {
                    lines.push(frame, &frames.data()?);
                }
                Next::Frame(_) => {}
                Next::Cut(to) => lines.cut(to),
            }
        }
        if lines.whole >= count || start.position == 0 || look >= LAST_LOOK {
            return Ok(lines.first_of_last(count, end.offsets));
        }
        look *= 4;
    }
}

/// The first bytes that arrived at `since` or later.
pub(super) fn since(log: &Log, since: WallTime) -> io::Result<LogOffsets> {
    let (checkpoints, extent) = log.look(|index| index.checkpoints().to_vec())?;
    let mut failed = None;
    let is_early = |checkpoint: &Checkpoint| match first_time(&extent, checkpoint.position) {
        Ok(time) => time.is_some_and(|time| time < since.0),
        Err(error) => {
            failed.get_or_insert(error);
            false
        }
    };
    let after = checkpoints.partition_point(is_early);
    if let Some(error) = failed {
        return Err(error);
    }
    let start = checkpoints[..after].last().copied().unwrap_or_default();
    let mut offsets = start.offsets;
    let mut frames = extent.read_from(start.position);
    while let Some(next) = frames.next()? {
        match next {
            Next::Frame(frame) if frame.at_unix_ms >= since.0 => break,
            Next::Frame(frame) => *offsets.of_mut(frame.stream) = frame.end(),
            // When it arrived is not known any more. What stands behind it says whether it is wanted.
            Next::Cut(_) => {}
        }
    }
    Ok(offsets)
}

/// When the first piece from `position` on arrived, if there is one.
fn first_time(extent: &Extent, position: u64) -> io::Result<Option<i64>> {
    let mut frames = extent.clone().read_from(position);
    while let Some(next) = frames.next()? {
        if let Next::Frame(frame) = next {
            return Ok(Some(frame.at_unix_ms));
        }
    }
    Ok(None)
}

/// Where the last lines of both streams begin, in the order in which they end.
struct Starts {
    last: VecDeque<(LogStream, u64)>,
    keep: usize,
    /// Lines that were seen from their first byte.
    whole: usize,
    open: [Open; 2],
}

/// A line that has not ended yet.
struct Open {
    stream: LogStream,
    start: u64,
    /// Up to where the stream was read.
    end: u64,
    is_whole: bool,
    is_empty: bool,
}

impl Starts {
    fn new(start: LogOffsets, count: usize) -> Self {
        let open = LogStream::ALL.map(|stream| {
            let start = start.of(stream);
            Open { stream, start, end: start, is_whole: start == 0, is_empty: true }
        });
        Self { last: VecDeque::new(), keep: count, whole: 0, open }
    }

    fn push(&mut self, frame: Frame, data: &[u8]) {
        let (stream, mut at) = (frame.stream, frame.offset);
        for part in data.split_inclusive(|byte| *byte == b'\n') {
            at += part.len() as u64;
            if let Some(open) = self.open.iter_mut().find(|open| open.stream == stream) {
                (open.end, open.is_empty) = (at, false);
            }
            if part.ends_with(b"\n") {
                self.close(stream, at);
            }
        }
    }

    fn close(&mut self, stream: LogStream, end: u64) {
        let Some(open) = self.open.iter_mut().find(|open| open.stream == stream) else { return };
        self.whole += usize::from(open.is_whole);
        self.last.push_back((stream, open.start));
        (open.start, open.is_whole, open.is_empty) = (end, true, true);
        if self.last.len() > self.keep {
            self.last.pop_front();
        }
    }

    /// What stood before these places is gone, and with it the ends of the lines that were open. A stream that goes on where it
    /// was lacks nothing.
    fn cut(&mut self, to: LogOffsets) {
        for stream in LogStream::ALL {
            let end = to.of(stream);
            let is_cut = |open: &Open| open.stream == stream && open.end < end;
            if self.open.iter().any(|open| is_cut(open) && !open.is_empty) {
                self.close(stream, end);
            }
            for open in self.open.iter_mut().filter(|open| is_cut(open)) {
                (open.start, open.end, open.is_whole) = (end, end, false);
            }
        }
    }

    fn first_of_last(mut self, count: usize, end: LogOffsets) -> LogOffsets {
        // What has no line end yet is a line too.
        for stream in LogStream::ALL {
            if self.open.iter().any(|open| open.stream == stream && !open.is_empty) {
                self.close(stream, end.of(stream));
            }
        }
        let skip = self.last.len().saturating_sub(count);
        let mut offsets = end;
        for (stream, start) in self.last.into_iter().skip(skip) {
            let offset = offsets.of_mut(stream);
            *offset = (*offset).min(start);
        }
        offsets
    }
}
