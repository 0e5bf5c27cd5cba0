//! Reads the files of a log when it is first used: what is in them, and where what is whole ends.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::Arc;

use bytes::BytesMut;

use super::disk::{parent, sync_directory};
use super::frame::{self, Found, FrameFile, Kind, Record};
use super::index::{Index, Span, Step};
use super::keep::Size;
use super::mixed::Mixed;
use super::part::Part;
use super::{LogCut, LogOffsets};

/// Takes in the first file, or a later one.
pub(super) fn file(path: &Path, is_first: bool, is_last: bool, index: &mut Index) -> io::Result<()> {
    let mut file = File::open(path)?;
    let size = file.metadata()?.len();
    let part = match frame::read_start(&mut file)? {
        Some(start) => Part::later(path.to_owned(), start),
        None if is_first => Part::head(path.to_owned()),
        None if is_last => {
            tracing::warn!(log = %path.display(), "removed a file of a log that a crash has left without a beginning");
            fs::remove_file(path)?;
            return sync_directory(parent(path));
        }
        None => {
            tracing::error!(log = %path.display(), "a file of a log is damaged: what stands in it is missing");
            return Ok(());
        }
    };
    let (start, base) = (part.start(), part.place(part.start().position));
    if start.position < index.end().position {
        // What was to be removed when the log was cleared, or cut.
        fs::remove_file(path)?;
        return Ok(());
    }
    index.begin(Arc::new(part));
    let mut frames = FrameFile::open(file, base, size.saturating_sub(base))?;
    let mut buffer = BytesMut::new();
    while let Some(Found::Record(record)) = frames.next()? {
        let Some(step) = step(&mut frames, &record, index.end().offsets, &mut buffer)? else { break };
        index.push(&step);
    }
    let torn = size.saturating_sub(base + index.end().position - start.position);
    if torn > 0 && !is_last {
        tracing::error!(log = %path.display(), bytes = torn, "a file of a log is damaged: its end is missing");
    }
    Ok(())
}

/// Takes in what is left of files that have gone, and says whether it did. What is not whole is removed: a crash has left it
/// before anything depended on it. So is what belongs to a log that was cleared.
pub(super) fn remains(path: &Path, index: &mut Index) -> io::Result<bool> {
    let whole = read_remains(path)?.filter(|span| span.start().position >= index.end().position);
    let Some(span) = whole else {
        tracing::warn!(log = %path.display(), "removed a file of a log that is not a part of it");
        fs::remove_file(path)?;
        return Ok(false);
    };
    index.adopt(span);
    Ok(true)
}

fn read_remains(path: &Path) -> io::Result<Option<Span>> {
    let mut file = File::open(path)?;
    let disk = file.metadata()?.len().saturating_sub(frame::THIN_START as u64);
    let Some(start) = frame::read_start(&mut file)? else { return Ok(None) };
    let Some(end) = frame::read_start_at(&mut file, frame::START)? else { return Ok(None) };
    let mut frames = FrameFile::open(file, frame::THIN_START as u64, disk)?;
    let (mut ends, mut cut, mut buffer) = (start.offsets, None, BytesMut::new());
    let mut size = Size::default();
    while let Some(found) = frames.next()? {
        size.disk += found.size();
        match found {
            Found::Start(to) => {
                cut = Some(LogCut { from: ends, to: to.offsets });
                ends = to.offsets;
            }
            Found::Record(record) => {
                let Some(step) = step(&mut frames, &record, ends, &mut buffer)? else { return Ok(None) };
                size.data += step.size().data;
                ends = ends.plus(step.data);
            }
        }
    }
    let is_whole = size.disk == disk && ends == end.offsets;
    let span = |cut| Span { part: Arc::new(Part::thin(path.to_owned(), start)), end, size, thin: Some(cut) };
    Ok(cut.filter(|_| is_whole).map(span))
}

/// What a record adds to what there is up to `ends`; none if it is not whole, or does not go on from there.
fn step(frames: &mut FrameFile, record: &Record, ends: LogOffsets, buffer: &mut BytesMut) -> io::Result<Option<Step>> {
    let Some(body) = frames.data(record, buffer)? else { return Ok(None) };
    let mut data = LogOffsets::default();
    let follows = match record.kind {
        Kind::One(stream) => {
            *data.of_mut(stream) = u64::from(record.len);
            record.offset == ends.of(stream)
        }
        Kind::Mixed => match Mixed::parse(record.offset, record.at_unix_ms(), &body) {
            Some(mixed) => {
                data = mixed.bytes();
                mixed.follows(ends)
            }
            None => false,
        },
    };
    Ok(follows.then_some(Step { disk: record.size(), data }))
}
