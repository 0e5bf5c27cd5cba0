//! Follows a log: what is there, then what comes.

use std::io;
use std::sync::Arc;

use shared::time::WallTime;
use tokio::sync::watch;

use super::frame::Frames;
use super::log::{Growth, Log};
use super::{LogChunk, LogOffsets, blocking};

/// Bytes of one batch, at least one frame.
const BATCH: usize = 256 * 1024;

/// A place in a log that moves on as it is read. A slow reader holds up nobody: all of it stands in the file.
#[derive(Debug)]
pub struct LogChunks {
    log: Arc<Log>,
    position: u64,
    /// What stands before `from` was asked not to be sent.
    from: LogOffsets,
    growth: watch::Receiver<Growth>,
}

impl LogChunks {
    pub(super) fn start(log: Arc<Log>, from: LogOffsets) -> io::Result<Self> {
        let start = log.with_index(|index| {
            index.last_where(|offsets| offsets.stdout <= from.stdout && offsets.stderr <= from.stderr)
        })?;
        let growth = log.subscribe();
        Ok(Self { log, position: start.position, from, growth })
    }

    /// The next chunks, about 256 KiB; none if all that is durable was read.
    ///
    /// # Errors
    /// The file cannot be read or is damaged.
    pub async fn next_batch(&mut self) -> io::Result<Vec<LogChunk>> {
        let end = self.growth.borrow_and_update().end;
        let mut chunks = Vec::new();
        // Frames that were not asked for give nothing; that is not the end.
        while chunks.is_empty() && self.position < end {
            let (log, position, from) = (self.log.clone(), self.position, self.from);
            (chunks, self.position) = blocking(move || read_batch(&log, position, end, from)).await?;
        }
        Ok(chunks)
    }

    /// Waits until there is more than the last [`Self::next_batch`] saw, or the log was sealed.
    pub async fn changed(&mut self) {
        // The log lives as long as `self`, so its sender does.
        let _ = self.growth.changed().await;
    }

    /// Whether nothing more will come.
    #[must_use]
    pub fn is_sealed(&self) -> bool {
        self.growth.borrow().sealed
    }
}

/// The chunks between two places, and where reading stopped.
fn read_batch(log: &Log, position: u64, end: u64, from: LogOffsets) -> io::Result<(Vec<LogChunk>, u64)> {
    let mut frames = Frames::open(log.path(), position, end)?;
    let (mut chunks, mut size) = (Vec::new(), 0);
    while size < BATCH {
        let Some(frame) = frames.next()? else { break };
        let known = from.of(frame.stream).saturating_sub(frame.offset);
        if known >= u64::from(frame.len) {
            continue;
        }
        let skip = usize::try_from(known).unwrap_or(usize::MAX);
        let data = frames.intact_data(&frame)?.slice(skip..);
        size += data.len();
        let at = WallTime(frame.at_unix_ms());
        chunks.push(LogChunk { stream: frame.stream, offset: frame.offset + known, at, data });
    }
    let reached = frames.position();
    if chunks.is_empty() && reached < end {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the log file is damaged"));
    }
    Ok((chunks, reached))
}
