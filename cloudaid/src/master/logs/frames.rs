//! Reads a log from file to file.

use std::io;

use bytes::{Bytes, BytesMut};

use super::LogOffsets;
use super::frame::{Frame, FrameFile};
use super::index::{Checkpoint, Index, Span};

/// What stands next in a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// A piece.
    Frame(Frame),
    /// What stood before these places is gone.
    Cut(LogOffsets),
}

/// What of a log is there at one moment. Its files stay for as long as it is held.
#[derive(Debug, Clone)]
pub(super) struct Extent {
    spans: Vec<Span>,
    end: Checkpoint,
}

impl Extent {
    pub(super) fn of(index: &Index) -> Self {
        Self { spans: index.spans().to_vec(), end: index.end() }
    }

    /// Where it ends.
    pub(super) fn end(&self) -> Checkpoint {
        self.end
    }

    /// What is missing: from where, and to where.
    pub(super) fn cuts(&self) -> impl Iterator<Item = (LogOffsets, LogOffsets)> {
        let ends = std::iter::once(Checkpoint::default()).chain(self.spans.iter().map(|span| span.end));
        let starts = self.spans.iter().map(|span| span.part.start());
        ends.zip(starts)
            .filter(|(end, start)| end.position < start.position)
            .map(|(end, start)| (end.offsets, start.offsets))
    }

    /// Reads on from `position`, the start of a frame.
    pub(super) fn read_from(self, position: u64) -> Frames {
        self.read_into(position, BytesMut::new())
    }

    /// As [`Self::read_from`], with the memory that was given back by an earlier reader.
    pub(super) fn read_into(self, position: u64, buffer: BytesMut) -> Frames {
        Frames { extent: self, position, file: None, buffer }
    }
}

/// Reads frames up to the end.
#[derive(Debug)]
pub(super) struct Frames {
    extent: Extent,
    position: u64,
    /// Read now, and where it ends.
    file: Option<(FrameFile, Checkpoint)>,
    /// Used again for each frame whose data nobody holds any more.
    buffer: BytesMut,
}

impl Frames {
    /// What comes next; none at the end.
    ///
    /// # Errors
    /// A file cannot be read or is damaged.
    pub(super) fn next(&mut self) -> io::Result<Option<Next>> {
        loop {
            if let Some((file, end)) = &mut self.file {
                if let Some(frame) = file.next()? {
                    self.position += frame.size();
                    return Ok(Some(Next::Frame(frame)));
                }
                if self.position < end.position {
                    return Err(damaged());
                }
                self.file = None;
            }
            let position = self.position;
            // What was passed need not be kept any longer.
            self.extent.spans.retain(|span| span.end.position > position || span.part.start().position > position);
            let Some(span) = self.extent.spans.first() else { return Ok(None) };
            let start = span.part.start();
            if start.position > position {
                self.position = start.position;
                return Ok(Some(Next::Cut(start.offsets)));
            }
            let end = span.end;
            match span.part.read(position, end.position)? {
                Some(file) => self.file = Some((file, end)),
                // It was taken away, with all that stood in it.
                None => {
                    self.position = end.position;
                    return Ok(Some(Next::Cut(end.offsets)));
                }
            }
        }
    }

    /// The data of the frame that [`Self::next`] has just returned.
    ///
    /// # Errors
    /// They are not what was written.
    pub(super) fn data(&mut self, frame: &Frame) -> io::Result<Bytes> {
        let (file, _) = self.file.as_mut().ok_or_else(damaged)?;
        file.data(frame, &mut self.buffer)?.ok_or_else(damaged)
    }

    /// Where the next frame begins, and the memory for the next reader.
    pub(super) fn finish(self) -> (u64, BytesMut) {
        (self.position, self.buffer)
    }
}

fn damaged() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the log file is damaged")
}
