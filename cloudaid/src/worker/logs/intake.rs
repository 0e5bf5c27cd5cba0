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
    /// Whether the master has said how much it has.
    is_asked: bool,
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
            is_asked: false,
            is_full: false,
            pause: None,
            pauses: Pauses::default(),
        }
    }

    /// What an earlier life has left.
    pub(super) async fn recall(&mut self) {
        self.place.recall().await;
        self.spool.recall().await;
        self.has_gap = self.place.has_gap;
        self.durable = Offsets::from(self.place.mark).max(self.spool.start());
        self.position = self.durable.max(self.spool.end());
        self.end = self.spool.is_whole().then_some(End::Whole);
    }

    /// Whether the master has all that is here, and nothing waits at the engine for it.
    pub(super) fn is_empty(&self) -> bool {
        self.held.is_empty() && self.spool.is_empty() && !self.is_full
    }

    pub(super) fn has_ended(&self) -> bool {
        self.end.is_some()
    }

    /// Whether only the master knows how much there was: an earlier life may have brought it all.
    pub(super) fn is_unknown(&self) -> bool {
        self.end == Some(End::Gone) && !self.is_asked
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
        // Where it began is all that tells what is not there any more.
        self.remember().await;
        let mark = self.place.mark;
        let pieces = self.runtime.logs(&self.key, mark).await?;
        self.reader = Some(Reader::new(pieces, mark, self.position));
        Ok(())
    }

    fn take(&mut self) -> Vec<Chunk> {
        let Some(reader) = &mut self.reader else { return Vec::new() };
        let chunks = reader.take_chunks();
        self.position = self.position.max(reader.position);
        if std::mem::take(&mut reader.has_gap) {
            self.has_gap = true;
            // It counts what is not there.
            self.mark = None;
        }
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

    /// The master has said, for the first time in a session, how much it has. Returns whether it can go on from there now.
    pub(super) async fn begin(&mut self, durable: Offsets) -> bool {
        if !durable.reach(self.durable) && !self.lower(durable).await {
            return false;
        }
        self.is_asked = true;
        self.learn(durable);
        true
    }

    /// The master has less than before, as one has that was restored from a copy.
    async fn lower(&mut self, durable: Offsets) -> bool {
        if self.goes_on_from(durable) {
            self.durable = durable;
            return true;
        }
        self.remember().await;
        self.rewind(durable);
        let mark = self.place.mark;
        let pieces = self.runtime.logs(&self.key, mark).await;
        match pieces {
            Ok(pieces) => {
                tracing::warn!(task = %self.key, "The master has less of the log than before; it is read again");
                self.start_over(durable).await;
                self.reader = Some(Reader::new(pieces, mark, durable));
                true
            }
            Err(RuntimeError::NotFound) => {
                tracing::warn!(task = %self.key, "The master has less of the log than before, and its container is gone: a part is lost");
                self.close_up(durable).await
            }
            Err(error) => {
                tracing::warn!(task = %self.key, %error, "The log cannot be read now");
                false
            }
        }
    }

    /// Whether everything from there on is here.
    fn goes_on_from(&self, durable: Offsets) -> bool {
        let mut end = durable.max(self.spool.end());
        let mut has_all = self.spool.is_empty() || durable.reach(self.spool.start());
        for chunk in &self.held {
            has_all &= chunk.1 <= *end.of(chunk.0);
            end.pass(chunk);
        }
        has_all && end.reach(self.position)
    }

    /// What is here goes on from there, though something is lacking between. Returns whether that is done.
    async fn close_up(&mut self, durable: Offsets) -> bool {
        if !self.spool.is_empty()
            && !durable.reach(self.spool.start())
            && let Err(error) = self.spool.renumber(durable).await
        {
            tracing::warn!(task = %self.key, %error, "What was kept of the log cannot be brought to the master now");
            return false;
        }
        let mut end = durable.max(self.spool.end());
        for chunk in &mut self.held {
            chunk.1 = chunk.1.min(*end.of(chunk.0));
            end.pass(chunk);
        }
        (self.durable, self.position) = (durable, end);
        (self.reader, self.mark, self.has_gap) = (None, None, true);
        self.end = self.end.or(Some(End::Gone));
        let start = self.place.start;
        self.note(start).await;
        true
    }

    /// Reading begins where it can for what is behind `durable`.
    fn rewind(&mut self, durable: Offsets) {
        let Place { mark, start, .. } = &mut self.place;
        if !durable.reach(*mark) {
            *mark = *start;
        }
        if !durable.reach(*mark) {
            // What was before it is nowhere any more.
            let Offsets { stdout, stderr } = durable.min((*mark).into());
            mark.bytes = [stdout, stderr];
            *start = *mark;
            self.has_gap = true;
        }
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

    /// A restart begins to read behind what the master has. Before a gap nothing can be read: behind one it begins as soon as
    /// all before it is kept.
    pub(super) async fn remember(&mut self) {
        let (durable, kept) = (self.durable, self.durable.max(self.spool.end()));
        if let Some(mark) = self.mark.take_if(|mark| durable.reach(*mark) || mark.first && kept.reach(*mark)) {
            self.note(mark).await;
        }
    }

    async fn note(&mut self, mark: LogMark) {
        self.place.has_gap = self.has_gap;
        self.place.remember(mark).await;
    }

    /// Moves what is in memory to the spool. What does not fit is read again, if it still can be, when the master takes
    /// it: the engine has it.
    pub(super) async fn put_by(&mut self) {
        // Where something is lacking, the next life shall look whether it is.
        let is_whole = self.end == Some(End::Whole) && !self.has_gap && !self.spool.is_whole();
        if self.held.is_empty() && !is_whole {
            self.remember().await;
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
        self.remember().await;
    }

    /// Everything from there on is read again.
    fn forget_from(&mut self, position: Offsets) {
        self.held = VecDeque::new();
        // By then there may be a gap, which such a place does not know of; what the first was tells it.
        self.mark = self.mark.filter(|mark| mark.first);
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
        self.rewind(durable);
        self.unspooled().await;
        self.forget_from(durable);
    }

    /// The master does not want it.
    pub(super) async fn give_up(mut self) -> LogBytes {
        self.unspooled().await;
        LogBytes { lacks_end: true, ..self.durable.into() }
    }
}

#[cfg(test)]
mod tests;
