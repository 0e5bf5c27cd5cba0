//! Reads a range of a log.

use std::io;

use bytes::{Bytes, BytesMut};

use super::LogSelect;
use super::frame::Frames;
use super::log::Log;

/// The selected bytes from `offset`, at most `limit`.
pub(super) fn range(log: &Log, select: LogSelect, offset: u64, limit: usize) -> io::Result<Bytes> {
    let (start, end) = log.with_index(|index| {
        let start = index.last_where(|offsets| select.count(offsets) <= offset);
        (start, index.end())
    })?;
    let mut out = BytesMut::new();
    if select.count(end.offsets) <= offset {
        return Ok(out.freeze());
    }
    let mut frames = Frames::open(log.path(), start.position, end.position)?;
    let mut begin = select.count(start.offsets);
    while out.len() < limit {
        let Some(frame) = frames.next()? else { break };
        if !select.takes(frame.stream) {
            continue;
        }
        let after = begin + u64::from(frame.len);
        if after > offset {
            let data = frames.intact_data(&frame)?;
            let skip = usize::try_from(offset.saturating_sub(begin)).unwrap_or(data.len());
            let wanted = &data[skip..];
            out.extend_from_slice(&wanted[..wanted.len().min(limit - out.len())]);
        }
        begin = after;
    }
    Ok(out.freeze())
}
