//! What was read of a log and is not known to be at the master, and where more comes from.
//!
//! A little of it is in memory. What waits for longer goes to the spool. Where that has no room for all of it, it loses what is
//! between the beginning and the end, and reading goes on nevertheless: every byte is counted, and places are remembered that
//! a later reading can begin at.
//!
//! When the master takes it, it gets the beginning. What is lacking behind that the engine has as a rule: it is read from there
//! again, from the first place that is still there, and nothing is cut but what is before that. Where the engine has dropped
//! it, or is without the container, it is known to the byte how much is lacking before what is here: so much is told to the
//! master as cut, and the rest goes on behind it. What is here stays until the master has it, whatever is read
//! again meanwhile. A master that has less than before is one that lacks something before what is here.
//!
//! Only what nobody has counted before it was dropped is not known: the log may lack a part then.

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
    /// Where what is in memory begins.
    begin: Offsets,
    /// Where it ends: behind the last byte that was read by the present reading.
    position: Offsets,
    /// Behind the last byte that was ever read.
    counted: Offsets,
    /// None until it is needed.
    reader: Option<Reader>,
    /// In memory.
    held: VecDeque<Chunk>,
    /// The last places that were passed, if it is not known yet what is before them.
    marks: VecDeque<LogMark>,
    end: Option<End>,
    /// There while something is read again that was counted before.
    back: Option<Back>,
    has_gap: bool,
    /// Whether the master has said how much it has.
    is_asked: bool,
    /// Whether the container is gone.
    is_gone: bool,
    /// Whether something could not be kept.
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

/// Something is read again.
struct Back {
    /// From there on.
    mark: LogMark,
    /// Who was counting, until it is sure that the engine has what is read again; and whether that had come to an end.
    reader: Option<Reader>,
    end: Option<End>,
    /// Whether the engine has it from there on.
    is_sure: bool,
    /// Whether it came to something that the engine does not have.
    is_torn: bool,
}

impl Intake {
    pub(in crate::worker) fn new(key: AttemptKey, runtime: Arc<dyn Runtime>, place: Place, spool: Spool) -> Self {
        let [durable, begin, position, counted] = [Offsets::default(); 4];
        Self {
            key,
            runtime,
            place,
            spool,
            durable,
            begin,
            position,
            counted,
            reader: None,
            held: VecDeque::new(),
            marks: VecDeque::new(),
            end: None,
            back: None,
            has_gap: false,
            is_asked: false,
            is_gone: false,
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
        // It may have more: it says so when it is asked.
        self.durable = self.place.mark.into();
        self.counted = self.durable.max(self.spool.end()).max(self.place.counted());
        (self.begin, self.position) = (self.counted, self.counted);
        self.end = self.spool.is_whole().then_some(End::Whole);
    }

    /// Whether the master has all that was read.
    pub(super) fn is_empty(&self) -> bool {
        self.held.is_empty() && self.spool.is_empty() && self.is_brought()
    }

    /// The same, as far as it is not kept here.
    pub(super) fn is_brought(&self) -> bool {
        self.durable.reach(self.counted)
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

    /// How much of what is in memory the master is not known to have.
    pub(super) fn unacknowledged(&self) -> u64 {
        self.position.beyond(self.durable.max(self.begin))
    }

    /// What there was of the log. Everything that is here is at the master.
    pub(super) fn all(&self) -> LogBytes {
        let lacks_end = self.has_gap || self.end == Some(End::Gone);
        LogBytes { lacks_end, ..self.counted.max(self.durable).into() }
    }

    /// The end of the part in the spool that goes on from what the master has, and the bytes of its file.
    pub(super) fn kept(&self) -> Option<(Offsets, u64)> {
        let part = self.spool.first().filter(|part| self.durable.reach(part.start))?;
        Some((part.end, part.length))
    }

    /// A little of that part.
    pub(super) async fn spooled(&mut self, at: u64) -> io::Result<Batch> {
        self.spool.read(at).await
    }

    /// That part cannot be read. It may have been brought by reading again: that begins anew, from what the master has.
    pub(super) async fn lose_kept(&mut self) {
        self.spool.lose_first().await;
        self.turn_back();
    }

    /// What is in memory.
    pub(super) fn held(&self) -> &VecDeque<Chunk> {
        &self.held
    }

    pub(super) fn spool(&self) -> &Spool {
        &self.spool
    }

    /// Whether more should be read while the master is away: into memory only a little.
    pub(super) fn takes_more(&self, spools: bool) -> bool {
        self.end.is_none() && (spools || self.unacknowledged() < WINDOW)
    }

    /// Waits for something new, holds it, and returns it; nothing at the end, and when the engine begins to answer or has
    /// failed to. Cancelled, it has lost nothing.
    pub(super) async fn fill(&mut self) -> Vec<Chunk> {
        if self.is_torn() {
            return Vec::new();
        }
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
                self.lose_container();
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
        let mark = self.back.as_ref().map_or_else(|| self.place.last_before(self.position), |back| back.mark);
        let pieces = self.runtime.logs(&self.key, mark).await?;
        self.reader = Some(Reader::new(pieces, mark, self.position));
        Ok(())
    }

    fn take(&mut self) -> Vec<Chunk> {
        let Some(reader) = &mut self.reader else { return Vec::new() };
        let chunks = reader.take_chunks();
        self.position = self.position.max(reader.position);
        self.has_gap |= std::mem::take(&mut reader.is_in_doubt);
        let (has_gap, marks) = (std::mem::take(&mut reader.has_gap), std::mem::take(&mut reader.marks));
        let is_new = self.position.reach(self.counted);
        if let Some(back) = &mut self.back {
            back.is_sure |= reader.has_read;
            if !is_new && (has_gap || reader.ended) {
                back.is_torn = true;
                self.place.lose(back.mark);
            } else if back.is_sure {
                back.reader = None;
            }
        }
        if is_new && has_gap {
            self.has_gap = true;
            // What is before it cannot be read again.
            self.marks.clear();
        }
        if is_new && reader.ended {
            self.end = Some(End::Whole);
        }
        self.counted = self.counted.max(self.position);
        self.marks.extend(marks);
        if !chunks.is_empty() {
            self.pauses.reset();
        }
        self.held.extend(chunks.iter().cloned());
        self.join();
        chunks
    }

    /// The engine has nothing more of it.
    fn lose_container(&mut self) {
        self.is_gone = true;
        let is_new = self.position.reach(self.counted);
        match &mut self.back {
            Some(back) if !is_new => back.is_torn = true,
            Some(back) => self.end = back.end.or(Some(End::Gone)),
            None => self.end = Some(End::Gone),
        }
        self.reader = None;
    }

    /// The master has said, for the first time in a session, how much it has.
    pub(super) async fn begin(&mut self, durable: Offsets) {
        if !durable.reach(self.durable) {
            tracing::warn!(task = %self.key, "The master has less of the log than before");
            if let Some(back) = &mut self.back {
                back.is_torn = true;
            }
            self.settle().await;
            // It may have had the first of what is in memory.
            self.begin = self.position;
            for (stream, offset, _) in self.held.iter().rev() {
                *self.begin.of(*stream) = *offset;
            }
        }
        self.is_asked = true;
        self.durable = durable;
        self.learn(durable);
        self.tidy().await;
    }

    /// The master has this much.
    pub(super) fn learn(&mut self, durable: Offsets) {
        self.durable = self.durable.max(durable);
        self.begin = self.begin.max(self.durable);
        self.position = self.position.max(self.durable);
        self.counted = self.counted.max(self.durable);
        if let Some(reader) = &mut self.reader {
            reader.start = reader.start.max(self.durable);
        }
        while self.held.front().is_some_and(|chunk| self.durable.has(chunk)) {
            self.held.pop_front();
        }
        self.join();
    }

    /// What the master has is not kept any longer.
    pub(super) async fn tidy(&mut self) {
        if !self.spool.is_empty() {
            self.spool.forget(self.durable).await;
            self.is_full &= !self.spool.is_empty();
        }
    }

    /// Where what is here goes on behind something that it lacks.
    fn gap_to(&self) -> Option<Offsets> {
        if self.durable.reach(self.begin) {
            return None;
        }
        let next = self.spool.first().map_or(self.begin, |part| part.start);
        (!self.durable.reach(next)).then_some(next)
    }

    /// Where what is here goes on behind something that is nowhere any more, which the master is to be told. None if nothing is
    /// lacking, and if it is read again, as the engine may have it.
    pub(super) async fn bridge(&mut self) -> Option<Offsets> {
        self.settle().await;
        if self.back.is_some() || self.gap_to().is_none() {
            return None;
        }
        // It stays here until it is at the master.
        self.put_by().await;
        let far = self.gap_to()?;
        let Some(mark) = self.place.back_to(self.durable, far).filter(|_| !self.is_gone) else { return Some(far) };
        tracing::info!(task = %self.key, "What is not kept here of the log is read again");
        let (reader, end) = (self.reader.take(), self.end.take());
        self.back = Some(Back { mark, reader, end, is_sure: false, is_torn: false });
        self.begin = self.durable.max(mark.into());
        self.position = self.begin;
        self.marks.clear();
        None
    }

    /// Where what is read again begins behind something that is nowhere any more, which the master is to be told first.
    pub(super) fn cut(&self) -> Option<Offsets> {
        let is_sure = self.back.as_ref().is_none_or(|back| back.is_sure);
        (is_sure && !self.durable.reach(self.begin)).then_some(self.begin)
    }

    /// Where reading again came to something that the engine does not have, it ends, and what it has brought is kept. Returns
    /// whether that was so.
    pub(super) async fn settle(&mut self) -> bool {
        if !self.is_torn() {
            return false;
        }
        self.put_by().await;
        self.turn_back();
        true
    }

    fn is_torn(&self) -> bool {
        self.back.as_ref().is_some_and(|back| back.is_torn)
    }

    /// Nothing is read again any longer; it is counted on.
    fn turn_back(&mut self) {
        let Some(back) = self.back.take() else { return };
        (self.reader, self.end) = (back.reader, back.end);
        if self.reader.is_none() && self.is_gone {
            self.end = self.end.or(Some(End::Gone));
        }
        (self.begin, self.position) = (self.counted, self.counted);
        self.held = VecDeque::new();
        self.marks.clear();
    }

    /// What was read again has come to where nothing is lacking any more: it goes on as any reading does. One that has not come
    /// so far itself, as the rest was kept here, would count a second time what the engine drops before it comes there.
    fn join(&mut self) {
        let is_whole = self.position.reach(self.counted) && self.spool.is_reached(self.durable);
        if let Some(back) = self.back.take_if(|back| is_whole && !back.is_torn) {
            self.end = self.end.or(back.end);
            let readers = [self.reader.take(), back.reader];
            self.reader = readers.into_iter().flatten().find(|reader| reader.position.reach(self.counted));
        }
    }

    /// A restart begins to read behind what the master has, or counts on behind what was read. Before a gap nothing can be
    /// read: behind one it begins as soon as all before it is kept.
    pub(super) async fn remember(&mut self) {
        let kept = if self.back.is_some() { self.durable } else { self.durable.max(self.spool.end()) };
        let mut is_new = self.place.has_gap != self.has_gap;
        while let Some(mark) = self.marks.front().copied().filter(|mark| kept.reach(*mark)) {
            self.marks.pop_front();
            self.place.pass(mark, self.durable);
            is_new = true;
        }
        if self.place.advance(self.durable) || is_new {
            self.place.has_gap = self.has_gap;
            self.place.remember().await;
        }
    }

    /// Moves what is in memory to the spool, as far as it has room. What it does not keep is counted.
    pub(super) async fn put_by(&mut self) {
        // Where something is lacking that was not counted, the next life shall look whether it is.
        let is_whole = self.end == Some(End::Whole) && !self.has_gap && !self.spool.is_whole();
        if self.held.is_empty() && !is_whole {
            self.remember().await;
            return;
        }
        // Behind the end of what was read again before stands what is kept already.
        let at = if self.back.is_some() { self.begin } else { self.begin.max(self.spool.end()) };
        // What is before it is to be told as cut first, and then it is brought from there.
        let is_apart = self.back.is_some() && !self.durable.reach(self.begin);
        self.held.retain(|chunk| !at.has(chunk));
        let kept = self.spool.append(at, self.held.make_contiguous(), is_whole).await;
        // Thousands may wait.
        self.held = VecDeque::new();
        self.begin = self.position;
        if let Some(reader) = &mut self.reader {
            reader.rest();
        }
        let has_failed = kept.is_err();
        if let Err(error) = kept
            && !std::mem::replace(&mut self.is_full, true)
        {
            tracing::warn!(task = %self.key, %error, "No more of the log is kept here; it is counted, and the engine may have it");
        }
        if has_failed || is_apart {
            // What is lacking then is read again later.
            self.turn_back();
        }
        self.remember().await;
    }

    /// The master does not want it.
    pub(super) async fn give_up(mut self) -> LogBytes {
        self.spool.clear().await;
        LogBytes { lacks_end: true, ..self.durable.into() }
    }
}

#[cfg(test)]
mod tests;
