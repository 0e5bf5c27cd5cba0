//! Reads a range of a log.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::frames::{Frames, Next};
use super::log::Log;
use super::{LogCut, LogSelect, blocking};

/// The selected bytes from one place up to another, as they are when it is made: what is cut out of the log meanwhile stays
/// until they are read.
#[derive(Debug)]
pub struct LogRange {
    reader: Option<Reader>,
    /// Bytes that are still to come.
    left: u64,
    cuts: Vec<LogCut>,
}

impl LogRange {
    pub(super) fn start(log: Arc<Log>, select: LogSelect, offset: u64, limit: u64) -> io::Result<Self> {
        let (start, extent) = log.look(|index| index.last_where(|offsets| select.count(offsets) <= offset))?;
        let size = select.count(extent.end().offsets);
        let mut there = size.saturating_sub(offset);
        let mut cuts = Vec::new();
        for (from, to) in extent.cuts() {
            let (begin, end) = (select.count(from).max(offset), select.count(to));
            if begin < end {
                there = there.saturating_sub(end - begin);
                cuts.push(LogCut { from, to });
            }
        }
        let frames = extent.read_from(start.position);
        let reader =
            Reader { frames, select, offset, begin: select.count(start.offsets), ready: VecDeque::new(), _log: log };
        Ok(Self { reader: Some(reader), left: there.min(limit), cuts })
    }

    /// How many bytes are still to come.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.left
    }

    /// Whether all was read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.left == 0
    }

    /// What is missing behind the beginning of the range.
    #[must_use]
    pub fn cuts(&self) -> &[LogCut] {
        &self.cuts
    }

    /// The next bytes, at most `limit` and about a MiB; none at the end.
    ///
    /// # Errors
    /// The log cannot be read or is damaged.
    pub async fn next(&mut self, limit: usize) -> io::Result<Bytes> {
        let limit = usize::try_from(self.left).unwrap_or(usize::MAX).min(limit);
        let Some(mut reader) = self.reader.take().filter(|_| limit > 0) else { return Ok(Bytes::new()) };
        let (reader, data) = blocking(move || {
            let data = reader.take(limit)?;
            Ok((reader, data))
        })
        .await?;
        if data.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= data.len() as u64;
        self.reader = Some(reader);
        Ok(data)
    }
}

#[derive(Debug)]
struct Reader {
    frames: Frames,
    select: LogSelect,
    /// What stands before is not wanted.
    offset: u64,
    /// Where the next piece begins among the selected bytes.
    begin: u64,
    /// Read and not taken.
    ready: VecDeque<Bytes>,
    /// There is only one at a time for its files.
    _log: Arc<Log>,
}

impl Reader {
    /// `limit` bytes; less only at the end.
    fn take(&mut self, limit: usize) -> io::Result<Bytes> {
        let mut out = BytesMut::new();
        while out.len() < limit {
            let Some(mut data) = self.next()? else { break };
            let rest = data.split_off(data.len().min(limit - out.len()));
            if !rest.is_empty() {
                self.ready.push_front(rest);
            }
            if out.is_empty() && (data.len() == limit || !self.ready.is_empty()) {
                return Ok(data);
            }
            out.extend_from_slice(&data);
        }
        Ok(out.freeze())
    }

    fn next(&mut self) -> io::Result<Option<Bytes>> {
        if let Some(data) = self.ready.pop_front() {
            return Ok(Some(data));
        }
        while let Some(next) = self.frames.next()? {
            let frame = match next {
                Next::Cut(to) => {
                    self.begin = self.select.count(to);
                    continue;
                }
                Next::Frame(frame) if !self.select.takes(frame.stream) => continue,
                Next::Frame(frame) => frame,
            };
            let begin = self.begin;
            self.begin += u64::from(frame.len);
            if self.begin > self.offset {
                let mut data = self.frames.data()?;
                let skip = usize::try_from(self.offset.saturating_sub(begin)).unwrap_or(data.len());
                return Ok(Some(data.split_off(skip)));
            }
        }
        Ok(None)
    }
}
