//! Bringing to the master what containers write: one stream per session for all runs, acknowledged by offset.
//!
//! A run's log is read from its first byte whenever pushing (re)starts, and what the master already has is skipped, so
//! nothing needs to be kept here. A run that writes nothing costs no message at all.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use cloudaid_core::agent::LogBytes;
use futures_util::{FutureExt, StreamExt};
use shared::id::AttemptKey;
use shared::link::{CHUNK_LIMIT, LogStream};
use shared::proto;
use shared::proto::log_frame::Content;

use crate::pause::Pauses;
use crate::runtime::{LogPieces, Runtime, RuntimeError};
use lane::{Lane, Route};

pub(super) use lane::Lanes;

mod lane;

/// Bytes of one run that may be on their way without acknowledgement.
const WINDOW: u64 = 1 << 20;

/// Pushes the log of one run.
#[derive(Debug)]
pub(super) struct Pump {
    pub(super) key: AttemptKey,
    pub(super) runtime: Arc<dyn Runtime>,
    pub(super) lanes: Arc<Lanes>,
}

/// Why pushing stopped before the end.
#[derive(Debug)]
enum Broken {
    /// Start over by offsets.
    Link,
    /// The master cannot keep it now: start over after a while.
    Later(String),
    /// Read it again from the start.
    Engine(RuntimeError),
    /// There is nothing more to be had, or the master does not want it.
    GiveUp(String),
}

impl Pump {
    /// Returns when all that was and will be written is at the master, or cannot be brought there.
    pub(super) async fn drain(self) -> LogBytes {
        let mut pauses = Pauses::default();
        let mut durable = Offsets::default();
        loop {
            let before = durable;
            match self.push(&mut durable).await {
                Ok(all) => return all.into(),
                Err(Broken::GiveUp(reason)) => {
                    tracing::warn!(task = %self.key, reason, "The rest of the log is given up");
                    return LogBytes { lacks_end: true, ..durable.into() };
                }
                Err(Broken::Engine(RuntimeError::NotFound)) => {
                    tracing::warn!(task = %self.key, "The container is gone, and with it what was not read of its log");
                    return LogBytes { lacks_end: true, ..durable.into() };
                }
                Err(Broken::Engine(error)) => tracing::warn!(task = %self.key, %error, "The log cannot be read now"),
                Err(Broken::Later(reason)) => {
                    tracing::warn!(task = %self.key, reason, "The master cannot keep the log now; it waits here");
                }
                Err(Broken::Link) => tracing::debug!(task = %self.key, "The log waits for the master"),
            }
            if durable != before {
                pauses.reset();
            }
            tokio::time::sleep(pauses.next()).await;
        }
    }

    /// One try from the first byte to the last. `durable` is what the master is known to have.
    async fn push(&self, durable: &mut Offsets) -> Result<Offsets, Broken> {
        let mut pieces = self.runtime.logs(&self.key).await.map_err(Broken::Engine)?;
        let Some(first) = pieces.next().await else { return Ok(*durable) };
        let first = first.map_err(Broken::Engine)?;

        let lane = self.lanes.open().await.ok_or(Broken::Link)?;
        let mut route = lane.register(self.key).ok_or(Broken::Link)?;
        self.send(&lane, Content::Open(proto::LogOpen {})).await?;
        *durable = taken(route.next().await)?;
        let mut reader = Reader::new(pieces, *durable);
        reader.add(first);
        self.relay(&lane, &mut route, reader, durable).await
    }

    async fn relay(
        &self,
        lane: &Lane,
        route: &mut Route,
        mut reader: Reader,
        durable: &mut Offsets,
    ) -> Result<Offsets, Broken> {
        loop {
            for (stream, offset, data) in reader.take_chunks() {
                let chunk = proto::LogChunk { stream: proto::LogStream::from(stream).into(), offset, data };
                self.send(lane, Content::Chunk(chunk)).await?;
            }
            let unacknowledged = reader.position.beyond(*durable);
            if reader.ended && unacknowledged == 0 {
                return Ok(reader.position.max(*durable));
            }
            tokio::select! {
                ack = route.next() => *durable = durable.max(taken(ack)?),
                read = reader.fill(), if !reader.ended && unacknowledged < WINDOW => read.map_err(Broken::Engine)?,
            }
        }
    }

    async fn send(&self, lane: &Lane, content: Content) -> Result<(), Broken> {
        let frame = proto::LogFrame { attempt: Some(self.key.into()), content: Some(content) };
        lane.send(frame).await.map_err(|lane::Closed| Broken::Link)
    }
}

fn taken(ack: Option<proto::LogAck>) -> Result<Offsets, Broken> {
    let ack = ack.ok_or(Broken::Link)?;
    if ack.refused.is_empty() {
        return Ok(Offsets { stdout: ack.stdout_offset, stderr: ack.stderr_offset });
    }
    let reason = ack.refused.chars().take(500).collect::<String>().escape_debug().to_string();
    Err(if ack.later { Broken::Later(reason) } else { Broken::GiveUp(reason) })
}

/// A place in each stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Offsets {
    stdout: u64,
    stderr: u64,
}

impl Offsets {
    fn of(&mut self, stream: LogStream) -> &mut u64 {
        match stream {
            LogStream::Stdout => &mut self.stdout,
            LogStream::Stderr => &mut self.stderr,
        }
    }

    fn max(self, other: Self) -> Self {
        Self { stdout: self.stdout.max(other.stdout), stderr: self.stderr.max(other.stderr) }
    }

    /// Bytes from `earlier` to here.
    fn beyond(self, earlier: Self) -> u64 {
        self.stdout.saturating_sub(earlier.stdout) + self.stderr.saturating_sub(earlier.stderr)
    }
}

impl From<Offsets> for LogBytes {
    fn from(offsets: Offsets) -> Self {
        Self { stdout: offsets.stdout, stderr: offsets.stderr, lacks_end: false }
    }
}

/// Reads a log and makes chunks of it.
struct Reader {
    pieces: LogPieces,
    /// What is below was there before and is left out.
    start: Offsets,
    /// Behind the last byte read.
    position: Offsets,
    /// Read and not yet taken; each ends at `position`.
    stdout: BytesMut,
    stderr: BytesMut,
    ended: bool,
}

impl Reader {
    fn new(pieces: LogPieces, start: Offsets) -> Self {
        let position = Offsets::default();
        Self { pieces, start, position, stdout: BytesMut::new(), stderr: BytesMut::new(), ended: false }
    }

    /// Waits for something, then takes what is there besides: a slow writer is sent at once, a fast one in large chunks.
    async fn fill(&mut self) -> Result<(), RuntimeError> {
        let mut next = self.pieces.next().await;
        loop {
            match next {
                None => self.ended = true,
                Some(piece) => self.add(piece?),
            }
            if self.ended || self.stdout.len() + self.stderr.len() >= CHUNK_LIMIT {
                return Ok(());
            }
            match self.pieces.next().now_or_never() {
                Some(more) => next = more,
                None => return Ok(()),
            }
        }
    }

    fn add(&mut self, (stream, data): (LogStream, Bytes)) {
        let (start, position) = (*self.start.of(stream), self.position.of(stream));
        let skip = usize::try_from(start.saturating_sub(*position)).unwrap_or(usize::MAX).min(data.len());
        *position += data.len() as u64;
        let buffer = match stream {
            LogStream::Stdout => &mut self.stdout,
            LogStream::Stderr => &mut self.stderr,
        };
        buffer.extend_from_slice(&data[skip..]);
    }

    /// What was read, in pieces that a message can carry, each with its offset.
    fn take_chunks(&mut self) -> Vec<(LogStream, u64, Bytes)> {
        let mut chunks = Vec::new();
        for stream in LogStream::ALL {
            let mut data = match stream {
                LogStream::Stdout => self.stdout.split().freeze(),
                LogStream::Stderr => self.stderr.split().freeze(),
            };
            let mut offset = *self.position.of(stream) - data.len() as u64;
            while !data.is_empty() {
                let chunk = data.split_to(data.len().min(CHUNK_LIMIT));
                let length = chunk.len() as u64;
                chunks.push((stream, offset, chunk));
                offset += length;
            }
        }
        chunks
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;

    fn reader(pieces: Vec<(LogStream, Bytes)>, start: Offsets) -> Reader {
        Reader::new(Box::pin(stream::iter(pieces.into_iter().map(Ok))), start)
    }

    #[tokio::test]
    async fn what_is_ready_goes_together_and_streams_stay_apart() {
        let pieces = vec![
            (LogStream::Stdout, Bytes::from("ab")),
            (LogStream::Stderr, Bytes::from("x")),
            (LogStream::Stdout, Bytes::from("cd")),
        ];
        let mut reader = reader(pieces, Offsets::default());
        reader.fill().await.expect("read");
        let chunks = reader.take_chunks();
        assert_eq!(chunks, [(LogStream::Stdout, 0, Bytes::from("abcd")), (LogStream::Stderr, 0, Bytes::from("x"))]);
        assert!(reader.ended && reader.take_chunks().is_empty());
    }

    #[tokio::test]
    async fn what_the_master_has_is_skipped_to_the_byte() {
        let pieces = vec![(LogStream::Stdout, Bytes::from("abc")), (LogStream::Stdout, Bytes::from("def"))];
        for (durable, rest) in [(0, "abcdef"), (2, "cdef"), (3, "def"), (4, "ef"), (6, ""), (99, "")] {
            let mut reader = reader(pieces.clone(), Offsets { stdout: durable, stderr: 7 });
            reader.fill().await.expect("read");
            let chunks = reader.take_chunks();
            let text: Vec<u8> = chunks.iter().flat_map(|(_, _, data)| data.to_vec()).collect();
            assert_eq!(text, rest.as_bytes(), "from {durable}");
            assert!(chunks.iter().all(|(_, offset, _)| *offset == durable), "from {durable}");
            assert_eq!(reader.position, Offsets { stdout: 6, stderr: 0 });
        }
    }

    #[tokio::test]
    async fn large_pieces_are_cut_to_what_a_message_carries() {
        let large = Bytes::from(vec![7; CHUNK_LIMIT * 2 + 1]);
        let mut reader = reader(vec![(LogStream::Stderr, large)], Offsets::default());
        reader.fill().await.expect("read");
        let chunks = reader.take_chunks();
        let shape: Vec<_> = chunks.iter().map(|(_, offset, data)| (*offset, data.len())).collect();
        let limit = CHUNK_LIMIT as u64;
        assert_eq!(shape, [(0, CHUNK_LIMIT), (limit, CHUNK_LIMIT), (2 * limit, 1)]);
    }
}
