//! Reads a log from file to file.

use std::io;

use bytes::{Bytes, BytesMut};

use super::frame::{Found, Frame, FrameFile, Kind, Record};
use super::index::{Checkpoint, Index, Place, Span};
use super::mixed::Mixed;
use super::{LogCut, LogOffsets};

/// What stands next in a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// A piece.
    Frame(Frame),
    /// What stood before these places is gone, if it was not read.
    Cut(LogOffsets),
}

/// What of a log is there at one moment. Its files stay for as long as it is held.
#[derive(Debug, Clone)]
pub(super) struct Extent {
    spans: Vec<Span>,
    end: Checkpoint,
    /// At its start.
    place: Place,
}

impl Extent {
    pub(super) fn of(index: &Index) -> Self {
        Self { spans: index.spans().to_vec(), end: index.end(), place: index.place_at(0) }
    }

    /// Only these files, at least one.
    pub(super) fn of_spans(spans: Vec<Span>) -> Self {
        let end = spans.last().map(|span| span.end).unwrap_or_default();
        Self { spans, end, place: Index::default().place_at(0) }
    }

    /// Where it ends.
    pub(super) fn end(&self) -> Checkpoint {
        self.end
    }

    /// What is missing: from where, and to where.
    pub(super) fn cuts(&self) -> impl Iterator<Item = (LogOffsets, LogOffsets)> {
        let ends = std::iter::once(Checkpoint::default()).chain(self.spans.iter().map(|span| span.end));
        ends.zip(&self.spans).flat_map(|(end, span)| {
            let start = span.start();
            let before = (end.position < start.position).then_some((end.offsets, start.offsets));
            before.into_iter().chain(missing(span).map(|cut| (cut.from, cut.to)))
        })
    }

    /// Reads on from `position`, the start of a record.
    pub(super) fn read_from(self, position: u64) -> Frames {
        let place = Place { position, ..self.place };
        self.read_into(place, BytesMut::new())
    }

    /// Reads on from a place, with the memory that was given back by an earlier reader.
    pub(super) fn read_into(self, place: Place, buffer: BytesMut) -> Frames {
        Frames { extent: self, place, open: None, mixed: Mixed::default(), current: None, buffer }
    }
}

/// What is missing within a file.
fn missing(span: &Span) -> Option<LogCut> {
    span.thin.filter(|cut| cut.from != cut.to)
}

/// Reads pieces up to the end.
#[derive(Debug)]
pub(super) struct Frames {
    extent: Extent,
    /// Behind the last record that was read.
    place: Place,
    /// The file that is read now.
    open: Option<Open>,
    /// What is left of the last record.
    mixed: Mixed,
    /// The data of the piece that was returned last.
    current: Option<Current>,
    /// Used again for each record whose data nobody holds any more.
    buffer: BytesMut,
}

#[derive(Debug)]
struct Open {
    file: FrameFile,
    span: Span,
}

#[derive(Debug)]
enum Current {
    /// Have been read.
    Read(Bytes),
    /// Stand next in the file.
    Unread(Record),
}

impl Frames {
    /// What comes next; none at the end.
    ///
    /// # Errors
    /// A file cannot be read or is damaged.
    pub(super) fn next(&mut self) -> io::Result<Option<Next>> {
        loop {
            if let Some((frame, data)) = self.mixed.next() {
                self.current = Some(Current::Read(data));
                return Ok(Some(Next::Frame(frame)));
            }
            let next = match self.open.take() {
                Some(open) => self.read(open)?,
                None if self.extent.spans.is_empty() => return Ok(None),
                None => self.open_next()?,
            };
            if next.is_some() {
                return Ok(next);
            }
        }
    }

    /// What stands next in the file, which stays open until its end.
    fn read(&mut self, mut open: Open) -> io::Result<Option<Next>> {
        let Some(found) = open.file.next()? else {
            let position = self.place.position;
            let read = if open.span.thin.is_some() { self.place.inside } else { position - open.span.start().position };
            if read < open.span.size.disk {
                return Err(damaged());
            }
            let end = open.span.end;
            self.pass(end.position);
            // Who has read a part of it earlier may not know yet of all that is missing by now.
            return Ok(open.span.thin.map(|_| Next::Cut(end.offsets)));
        };
        match open.span.thin {
            Some(_) => self.place.inside += found.size(),
            None => self.place.position += found.size(),
        }
        let next = match found {
            Found::Record(record) => match record.kind {
                Kind::One(stream) => {
                    let (offset, len, at_unix_ms) = (record.offset, record.len, record.at_unix_ms());
                    self.current = Some(Current::Unread(record));
                    Some(Next::Frame(Frame { stream, offset, len, at_unix_ms }))
                }
                Kind::Mixed => {
                    let data = open.file.data(&record, &mut self.buffer)?.ok_or_else(damaged)?;
                    self.mixed = Mixed::parse(record.offset, record.at_unix_ms(), &data).ok_or_else(damaged)?;
                    None
                }
            },
            // It may be that more is missing by now than the file says.
            Found::Start(_) if open.span.thin.is_some() => missing(&open.span).map(|cut| Next::Cut(cut.to)),
            Found::Start(_) => return Err(damaged()),
        };
        self.open = Some(open);
        Ok(next)
    }

    /// Opens the file that comes next, or says what is missing instead.
    fn open_next(&mut self) -> io::Result<Option<Next>> {
        let position = self.place.position;
        // What was passed need not be kept any longer.
        self.extent.spans.retain(|span| span.end.position > position || span.start().position > position);
        let Some(span) = self.extent.spans.first().cloned() else { return Ok(None) };
        let (start, end) = (span.start(), span.end);
        if start.position > position {
            self.pass(start.position);
            return Ok(Some(Next::Cut(start.offsets)));
        }
        let inside = match span.thin {
            // All of it was read, and more is missing behind it by now.
            Some(_) if position > start.position => {
                self.pass(end.position);
                return Ok(Some(Next::Cut(end.offsets)));
            }
            Some(_) => self.place.inside,
            None => position - start.position,
        };
        match span.part.read(inside, span.size.disk)? {
            Some(file) => {
                self.open = Some(Open { file, span });
                Ok(None)
            }
            // It was taken away, with all that stood in it.
            None => {
                self.pass(end.position);
                Ok(Some(Next::Cut(end.offsets)))
            }
        }
    }

    fn pass(&mut self, position: u64) {
        (self.place.position, self.place.inside) = (position, 0);
    }

    /// The data of the piece that [`Self::next`] has just returned.
    ///
    /// # Errors
    /// They are not what was written.
    pub(super) fn data(&mut self) -> io::Result<Bytes> {
        match (self.current.take(), &mut self.open) {
            (Some(Current::Read(data)), _) => Ok(data),
            (Some(Current::Unread(record)), Some(open)) => {
                open.file.data(&record, &mut self.buffer)?.ok_or_else(damaged)
            }
            _ => Err(damaged()),
        }
    }

    /// Whether the last record was read whole. Only then may reading go on elsewhere.
    pub(super) fn is_between_records(&self) -> bool {
        self.mixed.is_empty()
    }

    /// Where the next record begins, and the memory for the next reader.
    pub(super) fn finish(self) -> (Place, BytesMut) {
        (self.place, self.buffer)
    }
}

/// The error of a file that does not hold what it should.
pub(super) fn damaged() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the log file is damaged")
}
