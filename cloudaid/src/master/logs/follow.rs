//! Follows a log: what is there, then what comes.

use std::io;
use std::sync::Arc;

use bytes::BytesMut;
use shared::time::WallTime;
use tokio::sync::watch;

use super::frame::DATA_LIMIT;
use super::frames::Next;
use super::index::Place;
use super::log::{Growth, Log};
use super::{LogChunk, LogCut, LogItem, LogOffsets, blocking};

/// Bytes of one batch, at least one record. Each follower holds as much.
const BATCH: usize = 64 * 1024;

/// A place in a log that moves on as it is read. A slow reader holds up nobody: what is kept stands in the files, and what is
/// cut before it was read is said to be.
#[derive(Debug)]
pub struct LogChunks {
    log: Arc<Log>,
    place: Place,
    /// What stands before was given, or asked not to be.
    reached: LogOffsets,
    growth: watch::Receiver<Growth>,
    buffer: BytesMut,
}

impl LogChunks {
    pub(super) fn start(log: Arc<Log>, from: LogOffsets) -> io::Result<Self> {
        let place = log.with_index(|index| index.place_before(from))?;
        let growth = log.subscribe();
        Ok(Self { log, place, reached: from, growth, buffer: BytesMut::new() })
    }

    /// What comes next, about 64 KiB; nothing if all that is durable was read. Whoever drops it before they ask again needs no
    /// more memory however much there is.
    ///
    /// # Errors
    /// The log cannot be read or is damaged.
    pub async fn next_batch(&mut self) -> io::Result<Vec<LogItem>> {
        let end = self.growth.borrow_and_update().end;
        // What was not asked for gives nothing; that is not the end.
        while self.place.position < end {
            let (log, place, reached) = (self.log.clone(), self.place, self.reached);
            let buffer = std::mem::take(&mut self.buffer);
            let batch = blocking(move || read_batch(&log, place, reached, buffer)).await?;
            (self.place, self.reached, self.buffer) = (batch.place, batch.reached, batch.buffer);
            if !batch.items.is_empty() {
                return Ok(batch.items);
            }
        }
        // There may be nothing more for days.
        self.buffer = BytesMut::new();
        Ok(Vec::new())
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

/// What was read, where reading stopped, and the memory for the next.
struct Batch {
    items: Vec<LogItem>,
    place: Place,
    reached: LogOffsets,
    buffer: BytesMut,
}

/// What follows on a place.
fn read_batch(log: &Log, place: Place, mut reached: LogOffsets, mut buffer: BytesMut) -> io::Result<Batch> {
    let (place, extent) = log.look(|index| index.resume(place, reached))?;
    buffer.reserve(BATCH + DATA_LIMIT);
    let mut frames = extent.read_into(place, buffer);
    let (mut items, mut size) = (Vec::new(), 0);
    while size < BATCH || !frames.is_between_records() {
        match frames.next()? {
            None => break,
            Some(Next::Cut(to)) => {
                let cut = LogCut { from: reached, to: to.max(reached) };
                if cut.bytes() != LogOffsets::default() {
                    items.push(LogItem::Cut(cut));
                }
                reached = cut.to;
            }
            Some(Next::Frame(frame)) => {
                let known = reached.of(frame.stream).saturating_sub(frame.offset);
                if known >= u64::from(frame.len) {
                    continue;
                }
                let skip = usize::try_from(known).unwrap_or(usize::MAX);
                let data = frames.data()?.slice(skip..);
                size += data.len();
                *reached.of_mut(frame.stream) = frame.end();
                let (stream, offset, at) = (frame.stream, frame.offset + known, WallTime(frame.at_unix_ms));
                items.push(LogItem::Chunk(LogChunk { stream, offset, at, data }));
            }
        }
    }
    let (place, buffer) = frames.finish();
    Ok(Batch { items, place, reached, buffer })
}
