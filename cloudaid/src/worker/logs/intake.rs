//! What was read of a log and is not known to be at the master, and where more comes from.
//!
//! A little of it is in memory. What waits for longer goes to the spool, and nothing of it has to be read again; what does
//! not fit stays with the engine, and is read from there when the master takes it.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use cloudaid_core::agent::LogBytes;
use shared::id::AttemptKey;

use super::WINDOW;
use super::offsets::{Chunk, Offsets};
use super::place::Place;
use super::reader::Reader;
use super::spool::{Batch, Spool};
use crate::pause::Pauses;
use crate::runtime::{LogMark, Runtime, RuntimeError};

/// Takes in the log of one run.
pub(in crate::worker) struct Intake {
    key: AttemptKey,
    runtime: Arc<dyn Runtime>,
    place: Place,
    spool: Spool,
    /// What the master is known to have.
    durable: Offsets,
    /// Behind the last byte that is here, or at the master.
    position: Offsets,
    /// None until it is needed, and where more could not be kept.
    reader: Option<Reader>,
    /// In memory; it goes on where the spool ends.
    held: VecDeque<Chunk>,
    /// The last place that was passed, if reading does not begin there yet.
    mark: Option<LogMark>,
    end: Option<End>,
    has_gap: bool,
    /// Whether more could not be kept.
    is_full: bool,
    /// Before the engine is asked again, if it has failed.
    pause: Option<Duration>,
    pauses: Pauses,
}

/// Why nothing more comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// All was read.
    Whole,
    /// The container is gone.
    Gone,
}

impl Intake {
    pub(in crate::worker) fn new(key: AttemptKey, runtime: Arc<dyn Runtime>, place: Place, spool: Spool) -> Self {
        let (durable, position) = Default::default();
        Self {
            key,
            runtime,
            place,
            spool,
            durable,
            position,
            reader: None,
            held: VecDeque::new(),
            mark: None,
            end: None,
            has_gap: false,
            is_full: false,
            pause: None,
            pauses: Pauses::default(),
        }
    }

    /// What an earlier life has left.
    pub(super) async fn recall(&mut self) {
        self.place.recall().await;
        self.spool.recall().await;
        self.durable = Offsets::from(self.place.mark).max(self.spool.start());
        self.position = self.durable.max(self.spool.end());
        self.end = self.spool.is_whole().then_some(End::Whole);
    }

    /// Whether the master has all that is here.
    pub(super) fn is_empty(&self) -> bool {
        self.held.is_empty() && self.spool.is_empty()
    }

    pub(super) fn has_ended(&self) -> bool {
        self.end.is_some()
    }

    /// Whether the engine cannot be asked now.
    pub(super) fn is_troubled(&self) -> bool {
        self.pause.is_some()
    }

    pub(super) fn durable(&self) -> Offsets {
        self.durable
    }

    /// How much of what is here the master is not known to have.
    pub(super) fn unacknowledged(&self) -> u64 {
        self.position.beyond(self.durable)
    }

    /// What there was of the log. Everything that is here is at the master.
    pub(super) fn all(&self) -> LogBytes {
        let lacks_end = self.has_gap || self.end == Some(End::Gone);
        LogBytes { lacks_end, ..self.position.max(self.durable).into() }
    }

    /// A little of what is in the spool.
    pub(super) async fn spooled(&mut self, at: u64) -> io::Result<Batch> {
        self.spool.read(at).await
    }

    /// What is in memory.
    pub(super) fn held(&self) -> &VecDeque<Chunk> {
        &self.held
    }

    pub(super) fn spool(&self) -> &Spool {
        &self.spool
    }

    /// Whether more should be read while the master is away: into memory only a little, into the spool what fits.
    pub(super) fn takes_more(&self, spools: bool) -> bool {
        let in_memory = self.position.beyond(self.durable.max(self.spool.end()));
        self.end.is_none() && !self.is_full && (spools || in_memory < WINDOW)
    }

    /// Waits for something new, holds it, and returns it; nothing at the end, and when the engine begins to answer or has
    /// failed to. Cancelled, it has lost nothing.
    pub(super) async fn fill(&mut self) -> Vec<Chunk> {
        if let Some(pause) = self.pause {
            tokio::time::sleep(pause).await;
        }
        let read = self.read().await;
        let chunks = self.take();
        self.pause = None;
        match read {
            Ok(()) => {}
            Err(RuntimeError::NotFound) => {
                tracing::warn!(task = %self.key, "The container is gone, and with it what was not read of its log");
                self.end = Some(End::Gone);
            }
            Err(error) => {
                tracing::warn!(task = %self.key, %error, "The log cannot be read now");
                self.pause = Some(self.pauses.next());
                self.reader = None;
            }
        }
        if self.has_ended() {
            self.reader = None;
        }
        chunks
    }

    async fn read(&mut self) -> Result<(), RuntimeError> {
        if let Some(reader) = &mut self.reader {
            return reader.fill().await;
        }
        let mark = self.place.mark;
        let pieces = self.runtime.logs(&self.key, mark).await?;
        self.reader = Some(Reader::new(pieces, mark, self.position));
        Ok(())
    }

    fn take(&mut self) -> Vec<Chunk> {
        let Some(reader) = &mut self.reader else { return Vec::new() };
        let chunks = reader.take_chunks();
        self.position = self.position.max(reader.position);
        self.has_gap |= reader.has_gap;
        self.mark = reader.mark.take().or(self.mark);
        if reader.ended {
            self.end = Some(End::Whole);
        }
        if !chunks.is_empty() {
            self.pauses.reset();
        }
        self.held.extend(chunks.iter().cloned());
        chunks
    }

    /// The master has said, for the first time in a session, how much it has.
    pub(super) async fn begin(&mut self, durable: Offsets) {
        if !durable.reach(self.durable) {
            tracing::warn!(task = %self.key, "The master has less of the log than before; it is read again");
            if !durable.reach(self.place.mark) {
                self.place.mark = LogMark::default();
            }
            self.start_over(durable).await;
        }
        self.learn(durable);
    }

    /// The master has this much.
    pub(super) fn learn(&mut self, durable: Offsets) {
        self.durable = self.durable.max(durable);
        self.position = self.position.max(self.durable);
        if let Some(reader) = &mut self.reader {
            reader.start = reader.start.max(self.durable);
        }
        while self.held.front().is_some_and(|chunk| self.durable.has(chunk)) {
            self.held.pop_front();
        }
    }

    /// A restart begins to read behind what the master has.
    pub(super) async fn remember(&mut self) {
        let durable = self.durable;
        if let Some(mark) = self.mark.take_if(|mark| durable.reach(*mark)) {
            self.place.remember(mark).await;
        }
    }

    /// Moves what is in memory to the spool. What does not fit is read again, if it still can be, when the master takes
    /// it: the engine has it.
    pub(super) async fn put_by(&mut self) {
        // Where something is lacking, the next life shall look whether it is.
        let is_whole = self.end == Some(End::Whole) && !self.has_gap && !self.spool.is_whole();
        if self.held.is_empty() && !is_whole {
            return;
        }
        let kept = self.spool.append(self.durable, self.held.make_contiguous(), is_whole).await;
        match kept {
            Ok(()) => {
                // Thousands may wait.
                self.held = VecDeque::new();
                if let Some(reader) = &mut self.reader {
                    reader.rest();
                }
            }
            Err(error) => {
                tracing::warn!(task = %self.key, %error, "No more of the log is kept here; the rest waits at the engine");
                self.is_full = true;
                if self.end != Some(End::Gone) {
                    self.forget_from(self.durable.max(self.spool.end()));
                }
            }
        }
    }

    /// Everything from there on is read again.
    fn forget_from(&mut self, position: Offsets) {
        self.held = VecDeque::new();
        (self.reader, self.end) = (None, None);
        self.position = position;
    }

    /// The master has all that was in the spool.
    pub(super) async fn unspooled(&mut self) {
        if !self.spool.is_empty() {
            self.spool.remove().await;
        }
        self.is_full = false;
    }

    /// Nothing that is here is of use: everything that the master does not have is read again.
    pub(super) async fn start_over(&mut self, durable: Offsets) {
        self.durable = durable;
        self.unspooled().await;
        self.forget_from(durable);
    }

    /// The master does not want it.
    pub(super) async fn give_up(mut self) -> LogBytes {
        self.unspooled().await;
        LogBytes { lacks_end: true, ..self.durable.into() }
    }
}
