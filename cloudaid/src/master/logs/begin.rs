//! Where to begin to read a log, for those who do not want all of it.

use std::collections::VecDeque;
use std::io;

use shared::link::LogStream;
use shared::time::WallTime;

use super::frame::Frames;
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
        let (start, end) = log.with_index(|index| (index.before_last(look), index.end()))?;
        if count == 0 || end.position == 0 {
            return Ok(end.offsets);
        }
        let mut lines = Starts::new(start.offsets, count);
        let mut frames = Frames::open(log.path(), start.position, end.position)?;
        while let Some(frame) = frames.next()? {
            if select.takes(frame.stream) {
                lines.push(frame.stream, frame.offset, &frames.intact_data(&frame)?);
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
    let (checkpoints, end) = log.with_index(|index| (index.checkpoints().to_vec(), index.end()))?;
    let mut failed = None;
    let is_early = |checkpoint: &Checkpoint| match first_time(log, checkpoint.position, end.position) {
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
    if end.position == 0 {
        return Ok(offsets);
    }
    let mut frames = Frames::open(log.path(), start.position, end.position)?;
    while let Some(frame) = frames.next()? {
        if frame.at_unix_ms() >= since.0 {
            break;
        }
        *offsets.of_mut(frame.stream) = frame.offset + u64::from(frame.len);
    }
    Ok(offsets)
}

/// When the frame at `position` arrived, if there is one.
fn first_time(log: &Log, position: u64, end: u64) -> io::Result<Option<i64>> {
    if position >= end {
        return Ok(None);
    }
    Ok(Frames::open(log.path(), position, end)?.next()?.map(|frame| frame.at_unix_ms()))
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
    is_whole: bool,
    is_empty: bool,
}

impl Starts {
    fn new(start: LogOffsets, count: usize) -> Self {
        let open = LogStream::ALL.map(|stream| {
            let start = start.of(stream);
            Open { stream, start, is_whole: start == 0, is_empty: true }
        });
        Self { last: VecDeque::new(), keep: count, whole: 0, open }
    }

    fn push(&mut self, stream: LogStream, offset: u64, data: &[u8]) {
        let mut at = offset;
        for part in data.split_inclusive(|byte| *byte == b'\n') {
            at += part.len() as u64;
            if let Some(open) = self.open.iter_mut().find(|open| open.stream == stream) {
                open.is_empty = false;
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
