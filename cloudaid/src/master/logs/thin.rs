//! What is left of the files that go from the middle of a log.
//!
//! Each stream keeps a part of its beginning and of its end, however much the other writes (see `keep.rs`). The first file and the
//! last ones may have none of it: when one stream comes late, or has become silent. So of a file that goes those bytes are
//! copied that are still lacking. One file holds them, in the place of all that have gone: first the beginnings, then a
//! start (see `frame.rs`) with what is missing up to there, then the ends. It begins with two starts, of where it stands
//! and of where what it is the rest of has ended.
//!
//! It is never written again: each time there is another one, and the files that it was made of go when that is durable. The
//! newest that is whole counts, so a crash costs nothing. Where nothing of a file stays, there is no other one, and what it says
//! is missing means what goes until the next file as well (see [`Index::join`]).

use std::fs::File;
use std::io::{self, Write};
use std::ops::RangeInclusive;
use std::path::PathBuf;

use rustix::io::Errno;
use shared::link::LogStream;

use super::disk::Disk;
use super::frame::{self, DATA_LIMIT, START};
use super::frames::{Extent, Next, damaged};
use super::index::{Checkpoint, Index, Span};
use super::keep::{Keep, Size};
use super::pack::Packer;
use super::{LogCut, LogOffsets, LogSelect};

/// A file that goes, and what is left of it and of those before it.
#[derive(Debug)]
pub(super) struct Remains {
    /// Which file of the log goes.
    number: usize,
    /// What there was of those before it, if there was something, and the file.
    sources: Vec<Span>,
    start: Checkpoint,
    end: Checkpoint,
    /// What is missing in between.
    cut: LogCut,
    /// Whether what there was of those before is not right any more.
    is_new: bool,
}

impl Remains {
    /// Of the file that is to go next, if there is one.
    pub(super) fn of(index: &Index, keep: Keep) -> Option<Self> {
        let number = index.surplus(keep)?;
        let (first, file) = (index.spans().first()?, index.spans().get(number)?);
        let before = index.spans()[1..number].first();
        let known = before.and_then(|span| Some((span, span.thin?)));
        let mut cut = LogCut { from: known.map_or(first.end.offsets, |(_, cut)| cut.from), to: file.end.offsets };
        let mut is_new = false;
        for stream in LogStream::ALL {
            let (begin, end) = (file.start().offsets.of(stream), file.end.offsets.of(stream));
            // Of the beginning: only if it goes on without a gap.
            let head = cut.from.of(stream);
            let lacking = keep.reserve.saturating_sub(head.saturating_sub(first.start().offsets.of(stream)));
            let new_head = if head == begin { head.saturating_add(lacking).min(end) } else { head };
            // Of the end: only what goes on in the files behind.
            let tail = match known {
                Some((span, cut)) if span.end.offsets.of(stream) == begin => cut.to.of(stream),
                _ => begin,
            };
            let behind: u64 = index.spans()[number + 1..].iter().map(|span| span.bytes(stream)).sum();
            let wanted = keep.reserve.saturating_sub(behind);
            let new_tail = end.saturating_sub(wanted).max(tail).max(new_head);
            is_new |= new_head > head || (begin < end && (new_tail < end || tail < begin));
            *cut.from.of_mut(stream) = new_head;
            *cut.to.of_mut(stream) = new_tail;
        }
        if cut.from == cut.to {
            // Nothing is missing: all of it is a beginning.
            cut = LogCut { from: file.end.offsets, to: file.end.offsets };
        }
        let start = before.map_or(first.end, Span::start);
        let sources = before.into_iter().chain([file]).cloned().collect();
        Some(Self { number, sources, start, end: file.end, cut, is_new })
    }

    /// Which file of the log goes.
    pub(super) fn only_file(&self) -> RangeInclusive<usize> {
        self.number..=self.number
    }

    /// The same, with the one that holds what is left of those before.
    pub(super) fn all_files(&self) -> RangeInclusive<usize> {
        1..=self.number
    }

    /// Where the file is that goes.
    pub(super) fn path(&self) -> PathBuf {
        self.sources.last().map(|span| span.part.path()).unwrap_or_default()
    }

    /// Makes the file that holds it; none if nothing is left of the file that goes.
    ///
    /// # Errors
    /// It cannot be made, or what it is made of cannot be read.
    pub(super) fn write(&self, disk: &Disk) -> io::Result<Option<Span>> {
        if !self.is_new {
            return Ok(None);
        }
        let Self { start, end, cut, .. } = *self;
        let (part, bytes) = disk.begin_thin(start, end, |file| {
            let heads = self.copy(start.offsets, cut.from, file)?;
            file.write_all(&frame::encode_start(Checkpoint { position: end.position, offsets: cut.to }))?;
            let tails = self.copy(cut.to, end.offsets, file)?;
            Ok(heads + START as u64 + tails)
        })?;
        let parts = [LogCut { from: start.offsets, to: cut.from }, LogCut { from: cut.to, to: end.offsets }];
        let data = parts.map(|part| LogSelect::Both.count(part.bytes())).iter().sum();
        Ok(Some(Span { part, end, size: Size { data, disk: bytes }, thin: Some(cut) }))
    }

    /// Copies what stands between these places, and returns the bytes that this takes.
    fn copy(&self, from: LogOffsets, to: LogOffsets, file: &mut File) -> io::Result<u64> {
        let position = self.sources.first().map_or(0, |span| span.start().position);
        let mut frames = Extent::of_spans(self.sources.clone()).read_from(position);
        let (mut pack, mut reached, mut bytes) = (Packer::new(DATA_LIMIT), from, 0);
        while reached != to
            && let Some(next) = frames.next().map_err(unreadable)?
        {
            let Next::Frame(frame) = next else { continue };
            let (begin, end) = (frame.offset.max(from.of(frame.stream)), frame.end().min(to.of(frame.stream)));
            if begin >= end {
                continue;
            }
            let known = reached.of_mut(frame.stream);
            if begin != *known {
                return Err(damaged());
            }
            *known = end;
            let place = |offset: u64| usize::try_from(offset - frame.offset).map_err(io::Error::other);
            pack.push(
                frame.stream,
                begin,
                frame.at_unix_ms,
                &frames.data().map_err(unreadable)?[place(begin)?..place(end)?],
            );
            if pack.bytes().len() >= DATA_LIMIT {
                bytes += flush(&mut pack, file)?;
            }
        }
        if reached != to {
            return Err(damaged());
        }
        Ok(bytes + flush(&mut pack, file)?)
    }
}

/// A place of the disk that cannot be read stays so, as what is damaged does.
fn unreadable(error: io::Error) -> io::Error {
    if Errno::from_io_error(&error) == Some(Errno::IO) { damaged() } else { error }
}

/// Writes what was packed, and returns how much that was.
fn flush(pack: &mut Packer, file: &mut File) -> io::Result<u64> {
    pack.close();
    file.write_all(pack.bytes())?;
    let bytes = pack.bytes().len() as u64;
    pack.clear();
    Ok(bytes)
}
