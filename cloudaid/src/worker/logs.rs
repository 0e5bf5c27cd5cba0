//! Bringing to the master what containers write: one stream per session for all runs, acknowledged by offset.
//!
//! A run's log is read again whenever pushing (re)starts, and what the master already has is skipped, so nothing needs to be
//! kept here but, of a log of hundreds of MiB, a place in it: the engine drops the start of one that becomes too long. A
//! run that writes nothing costs no message at all.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use cloudaid_core::agent::LogBytes;
use futures_util::{FutureExt, StreamExt};
use shared::id::AttemptKey;
use shared::link::{CHUNK_LIMIT, LogStream};
use shared::proto;
use shared::proto::log_frame::Content;
use tokio::sync::watch;

use crate::pause::Pauses;
use crate::runtime::{LogMark, LogPiece, LogPieces, Runtime, RuntimeError};
use lane::{Lane, Route};

pub(super) use lane::Lanes;
pub(super) use place::Place;

mod lane;
mod place;

/// Bytes of one run that may be on their way without acknowledgement.
const WINDOW: u64 = 1 << 20;

/// Pushes the log of one run.
#[derive(Debug)]
pub(super) struct Pump {
    pub(super) key: AttemptKey,
    pub(super) runtime: Arc<dyn Runtime>,
    pub(super) lanes: Arc<Lanes>,
    pub(super) place: Place,
    /// Whether there is something that waits for the master.
    pub(super) waits: watch::Sender<bool>,
}

/// Why pushing stopped before the end.
#[derive(Debug)]
enum Broken {
    /// Start over by offsets.
    Link,
    /// The master cannot keep it now: start over after a while.
    Later(String),
    /// Read it again.
    Engine(RuntimeError),
    /// There is nothing more to be had, or the master does not want it.
    GiveUp(String),
}

impl Pump {
    /// Returns when all that was and will be written is at the master, or cannot be brought there.
    pub(super) async fn drain(mut self) -> LogBytes {
        let mut pauses = Pauses::default();
        self.place.recall().await;
        let mut durable = Offsets::from(self.place.mark);
        loop {
            let before = durable;
            match self.push(&mut durable).await {
                Ok(all) => return all,
                Err(Broken::GiveUp(reason)) => {
                    self.waits.send_replace(false);
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
            self.waits.send_replace(true);
            if durable != before {
                pauses.reset();
            }
            tokio::time::sleep(pauses.next()).await;
        }
    }

    /// One try from the last place on to the end. `durable` is what the master is known to have.
    async fn push(&mut self, durable: &mut Offsets) -> Result<LogBytes, Broken> {
        let mark = self.place.mark;
        let mut pieces = self.runtime.logs(&self.key, mark).await.map_err(Broken::Engine)?;
        let Some(first) = pieces.next().await else { return Ok((*durable).into()) };
        let first = first.map_err(Broken::Engine)?;

        self.waits.send_replace(true);
        let lane = self.lanes.open().await.ok_or(Broken::Link)?;
        let mut route = lane.register(self.key).ok_or(Broken::Link)?;
        self.send(&lane, Content::Open(proto::LogOpen {})).await?;
        *durable = taken(route.next().await)?;
        let mut reader = Reader::new(pieces, mark, *durable);
        reader.take(first);
        self.relay(&lane, &mut route, reader, durable).await
    }

    async fn relay(
        &mut self,
        lane: &Lane,
        route: &mut Route,
        mut reader: Reader,
        durable: &mut Offsets,
    ) -> Result<LogBytes, Broken> {
        loop {
            if let Some(mark) = reader.mark.take_if(|mark| durable.reach(*mark)) {
                self.place.remember(mark).await;
            }
            for (stream, offset, data) in reader.take_chunks() {
                let chunk = proto::LogChunk { stream: proto::LogStream::from(stream).into(), offset, data };
                self.send(lane, Content::Chunk(chunk)).await?;
            }
            let unacknowledged = reader.position.beyond(*durable);
            self.waits.send_if_modified(|waits| {
                let now = unacknowledged >= WINDOW || *waits && unacknowledged >= WINDOW / 2;
                std::mem::replace(waits, now) != now
            });
            if reader.ended && unacknowledged == 0 {
                let all = reader.position.max(*durable);
                return Ok(LogBytes { lacks_end: reader.has_gap, ..all.into() });
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

    /// Whether everything before the mark is before here.
    fn reach(self, mark: LogMark) -> bool {
        let Self { stdout, stderr } = Self::from(mark);
        self.stdout >= stdout && self.stderr >= stderr
    }

    /// Bytes from `earlier` to here.
    fn beyond(self, earlier: Self) -> u64 {
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
    has_gap: bool,
    /// The last one that was passed.
    mark: Option<LogMark>,
}

impl Reader {
    /// `pieces` begin at `mark`.
    fn new(pieces: LogPieces, mark: LogMark, start: Offsets) -> Self {
        Self {
            pieces,
            start,
            position: mark.into(),
            stdout: BytesMut::new(),
            stderr: BytesMut::new(),
            ended: false,
            has_gap: false,
            mark: None,
        }
    }

    /// Waits for something, then takes what is there besides: a slow writer is sent at once, a fast one in large chunks.
    async fn fill(&mut self) -> Result<(), RuntimeError> {
        let mut next = self.pieces.next().await;
        loop {
            match next {
                None => self.ended = true,
                Some(piece) => self.take(piece?),
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

    fn take(&mut self, piece: LogPiece) {
        match piece {
            LogPiece::Data(stream, data) => self.add(stream, &data),
            LogPiece::Mark(mark) => self.mark = Some(mark),
            LogPiece::Gap => {
                self.has_gap = true;
                // What the master has is before it.
                self.position = self.position.max(self.start);
            }
        }
    }

    fn add(&mut self, stream: LogStream, data: &[u8]) {
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
        let pieces = pieces.into_iter().map(|(stream, data)| Ok(LogPiece::Data(stream, data)));
        Reader::new(Box::pin(stream::iter(pieces)), LogMark::default(), start)
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
    async fn reading_goes_on_at_a_mark_and_a_gap_is_said() {
        let mark = LogMark { at: 5, bytes: [3, 1], cut: [false; 2] };
        let data = LogPiece::Data(LogStream::Stdout, Bytes::from("def"));
        let later = LogMark { at: 9, bytes: [6, 1], cut: [false; 2] };
        let pieces = vec![Ok(data.clone()), Ok(LogPiece::Mark(later)), Ok(LogPiece::Gap)];
        let mut reader = Reader::new(Box::pin(stream::iter(pieces)), mark, Offsets { stdout: 4, stderr: 1 });
        reader.fill().await.expect("read");
        assert_eq!(reader.take_chunks(), [(LogStream::Stdout, 4, Bytes::from("ef"))]);
        assert_eq!(
            (reader.has_gap, reader.mark, reader.position),
            (true, Some(later), Offsets { stdout: 6, stderr: 1 })
        );
        assert!(!Offsets { stdout: 6, stderr: 0 }.reach(later) && reader.position.reach(later));
        // What comes behind one is new, whatever is there already.
        let pieces = vec![Ok(LogPiece::Gap), Ok(data)];
        let mut reader = Reader::new(Box::pin(stream::iter(pieces)), mark, Offsets { stdout: 50, stderr: 1 });
        reader.fill().await.expect("read");
        assert_eq!(reader.take_chunks(), [(LogStream::Stdout, 50, Bytes::from("def"))]);
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
