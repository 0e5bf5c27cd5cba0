//! What was read of a log while the master could not take it: a file of the run, there only for as long as it is needed.
//!
//! ```text
//! head    "CLAIL\0\x01\n", bytes of stdout and of stderr that the master has (u64 each), checksum u32
//! frames  length u32, checksum u32, then so many bytes: kind u8, place in its stream u64, what was written
//! ```
//!
//! All numbers are little-endian. A tail that was torn is cut, and read again from the engine. When it is full no more is
//! read: the engine's own files hold the rest, and so they do when the disk has too little room.
//!
//! Nothing is synced. What was written outlives this process; a host that crashes also takes what the engine has not
//! synced of its files, which it never does.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::BytesMut;
use shared::link::{CHUNK_LIMIT, LogStream};

use super::offsets::{Chunk, Offsets};
use super::room::{Room, Share};
use crate::worker::checksum::checksum;
use crate::worker::health;
use crate::worker::inputs::blocking;

/// The first bytes of the file; the last but one counts versions.
const MAGIC: &[u8; 8] = b"CLAIL\0\x01\n";
/// Bytes before the first frame: where reading begins.
pub(super) const HEAD: u64 = 28;
const FRAME_HEAD: usize = 8;
const BODY_HEAD: usize = 9;
/// No frame is longer: what says so is none.
const FRAME_LIMIT: usize = FRAME_HEAD + BODY_HEAD + CHUNK_LIMIT;
/// Bytes of disk for one run.
const LIMIT: u64 = 64 << 20;

/// The kinds of frames.
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
/// The log has ended, and nothing of it is lacking.
const END: u8 = 3;

/// Keeps a part of the log of one run.
#[derive(Debug)]
pub(in crate::worker) struct Spool {
    path: PathBuf,
    /// As many bytes as the file has.
    share: Share,
    limit: u64,
    start: Offsets,
    end: Offsets,
    is_whole: bool,
}

/// A part of what is kept.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Batch {
    pub(super) chunks: Vec<Chunk>,
    /// Where the next one begins; at the end where this one does.
    pub(super) next: u64,
    is_whole: bool,
}

impl Spool {
    /// The one in this file, which need not be there.
    pub(in crate::worker) fn at(path: PathBuf, room: Arc<Room>) -> Self {
        let (start, end) = Default::default();
        Self { path, share: Share::of(room), limit: LIMIT, start, end, is_whole: false }
    }

    /// Finds what an earlier life has left.
    pub(super) async fn recall(&mut self) {
        let path = self.path.clone();
        match blocking(move || find(&path)).await {
            Ok(Some(Found { start, end, is_whole, length })) => {
                self.share.have(length);
                (self.start, self.end, self.is_whole) = (start, end, is_whole);
            }
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(path = %self.path.display(), %error, "What was kept of a log for the master cannot be read; it is read again, if its container is there");
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.share.bytes() == 0
    }

    /// What the master had when the first of it was written. Everything between here and the end is there.
    pub(super) fn start(&self) -> Offsets {
        self.start
    }

    pub(super) fn end(&self) -> Offsets {
        self.end
    }

    /// Whether the log ends here, and nothing is lacking before.
    pub(super) fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// Bytes of the file.
    pub(super) fn length(&self) -> u64 {
        self.share.bytes()
    }

    /// Adds all of the chunks, which go on where it ends, or at `durable` if it is empty; or nothing. With `is_whole` they
    /// are the last.
    pub(super) async fn append(&mut self, durable: Offsets, chunks: &[Chunk], is_whole: bool) -> io::Result<()> {
        let (mut start, mut end) = (self.start, self.end);
        let mut bytes = Vec::new();
        if self.is_empty() {
            (start, end) = (durable, durable);
            bytes.extend_from_slice(&head(durable));
        }
        for chunk in chunks {
            let (stream, offset, data) = chunk;
            encode(kind(*stream), *offset, data, &mut bytes)?;
            end.pass(chunk);
        }
        if is_whole {
            encode(END, 0, &[], &mut bytes)?;
        }
        let (at, more) = (self.share.bytes(), bytes.len() as u64);
        if at + more > self.limit || !self.share.take(more) {
            return Err(no_room("as much is kept for the master as may be"));
        }
        let path = self.path.clone();
        if let Err(error) = blocking(move || write(&path, at, &bytes)).await {
            self.share.give_back(more);
            return Err(error);
        }
        (self.start, self.end) = (start, end);
        self.is_whole |= is_whole;
        Ok(())
    }

    /// Reads a little from this place of the file on.
    pub(super) async fn read(&self, at: u64) -> io::Result<Batch> {
        let path = self.path.clone();
        blocking(move || read(&File::open(path)?, at)).await
    }

    /// What begins behind `start` is numbered as if it began there: what was before it is nowhere any more, so that nothing
    /// is whole.
    pub(super) async fn renumber(&mut self, start: Offsets) -> io::Result<()> {
        let (path, from, to) = (self.path.clone(), self.start, self.start.min(start));
        let length = blocking(move || renumber(&path, from, to)).await?;
        // Small frames were put together, never the other way round.
        self.share.give_back(self.share.bytes().saturating_sub(length));
        self.end.stdout -= from.stdout - to.stdout;
        self.end.stderr -= from.stderr - to.stderr;
        (self.start, self.is_whole) = (to, false);
        Ok(())
    }

    /// Nothing of it is needed any more.
    pub(super) async fn remove(&mut self) {
        let path = self.path.clone();
        match blocking(move || fs::remove_file(path)).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(path = %self.path.display(), %error, "What was kept of a log cannot be removed");
            }
            Ok(()) | Err(_) => {}
        }
        self.share.give_back(self.share.bytes());
        (self.start, self.end, self.is_whole) = Default::default();
    }
}

/// What a file holds.
struct Found {
    start: Offsets,
    end: Offsets,
    is_whole: bool,
    length: u64,
}

/// Reads all of it, and cuts off what is torn. What has no head is none.
fn find(path: &Path) -> io::Result<Option<Found>> {
    let file = match File::options().read(true).write(true).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let Some(start) = read_head(&file)? else {
        fs::remove_file(path)?;
        return Ok(None);
    };
    let mut found = Found { start, end: start, is_whole: false, length: HEAD };
    loop {
        let batch = read(&file, found.length)?;
        if batch.next == found.length {
            break;
        }
        batch.chunks.iter().for_each(|chunk| found.end.pass(chunk));
        found.is_whole |= batch.is_whole;
        found.length = batch.next;
    }
    file.set_len(found.length)?;
    Ok(Some(found))
}

fn head(Offsets { stdout, stderr }: Offsets) -> Vec<u8> {
    let mut head = MAGIC.to_vec();
    head.extend_from_slice(&stdout.to_le_bytes());
    head.extend_from_slice(&stderr.to_le_bytes());
    let checksum = checksum(&head);
    head.extend_from_slice(&checksum);
    head
}

fn read_head(mut file: &File) -> io::Result<Option<Offsets>> {
    let mut there = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    file.take(HEAD).read_to_end(&mut there)?;
    let offsets = there.strip_prefix(MAGIC).and_then(|rest| {
        let (stdout, rest) = rest.split_first_chunk::<8>()?;
        let (stderr, _) = rest.split_first_chunk::<8>()?;
        Some(Offsets { stdout: u64::from_le_bytes(*stdout), stderr: u64::from_le_bytes(*stderr) })
    });
    Ok(offsets.filter(|offsets| head(*offsets) == there))
}

fn kind(stream: LogStream) -> u8 {
    match stream {
        LogStream::Stdout => STDOUT,
        LogStream::Stderr => STDERR,
    }
}

fn encode(kind: u8, offset: u64, data: &[u8], bytes: &mut Vec<u8>) -> io::Result<()> {
    let length = u32::try_from(BODY_HEAD + data.len()).map_err(io::Error::other)?;
    let body = bytes.len() + FRAME_HEAD;
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(&[0; 4]);
    bytes.push(kind);
    bytes.extend_from_slice(&offset.to_le_bytes());
    bytes.extend_from_slice(data);
    let checksum = checksum(&bytes[body..]);
    bytes[body - checksum.len()..body].copy_from_slice(&checksum);
    Ok(())
}

/// The kind of the first frame, its place and its bytes, and what is behind it; none where none is whole.
fn decode(frames: &[u8]) -> Option<(u8, u64, &[u8], &[u8])> {
    let (length, rest) = frames.split_first_chunk::<4>()?;
    let (expected, rest) = rest.split_first_chunk::<4>()?;
    let (body, behind) = rest.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
    let (kind, rest) = body.split_first()?;
    let (offset, data) = rest.split_first_chunk::<8>()?;
    (checksum(body) == *expected).then_some((*kind, u64::from_le_bytes(*offset), data, behind))
}

/// The whole frames in a piece of the file. Small ones that go on from each other become one chunk.
fn read(mut file: &File, at: u64) -> io::Result<Batch> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(at))?;
    file.take(FRAME_LIMIT as u64).read_to_end(&mut bytes)?;
    let (mut rest, mut is_whole) = (&bytes[..], false);
    let mut chunks: Vec<(LogStream, u64, BytesMut)> = Vec::new();
    while let Some((kind, offset, data, behind)) = decode(rest) {
        let stream = match kind {
            STDOUT => Some(LogStream::Stdout),
            STDERR => Some(LogStream::Stderr),
            END => None,
            // Of a later version, which says more than can be told here.
            _ => break,
        };
        match (stream, chunks.last_mut()) {
            (None, _) => is_whole = true,
            (Some(stream), Some((of, begin, before)))
                if stream == *of
                    && offset == *begin + before.len() as u64
                    && before.len() + data.len() <= CHUNK_LIMIT =>
            {
                before.extend_from_slice(data);
            }
            (Some(stream), _) => chunks.push((stream, offset, BytesMut::from(data))),
        }
        rest = behind;
    }
    let next = at + (bytes.len() - rest.len()) as u64;
    let chunks = chunks.into_iter().map(|(stream, offset, data)| (stream, offset, data.freeze())).collect();
    Ok(Batch { chunks, next, is_whole })
}

/// Writes a file in the place of one that begins at `from`, which begins at `to`, and returns its length.
fn renumber(path: &Path, mut from: Offsets, mut to: Offsets) -> io::Result<u64> {
    let old = File::open(path)?;
    let new = path.with_extension("new");
    let mut file = File::create(&new)?;
    file.write_all(&head(to))?;
    let (mut at, mut length) = (HEAD, HEAD);
    loop {
        let batch = read(&old, at)?;
        if batch.next == at {
            break;
        }
        at = batch.next;
        let mut bytes = Vec::new();
        for (stream, offset, data) in batch.chunks {
            let (from, to) = (*from.of(stream), *to.of(stream));
            // The first may begin with what the master had.
            let known = usize::try_from(from.saturating_sub(offset)).unwrap_or(usize::MAX).min(data.len());
            encode(kind(stream), offset.max(from) - from + to, &data[known..], &mut bytes)?;
        }
        file.write_all(&bytes)?;
        length += bytes.len() as u64;
    }
    fs::rename(new, path)?;
    Ok(length)
}

/// At the end of the file, or into a new one at 0.
fn write(path: &Path, at: u64, bytes: &[u8]) -> io::Result<()> {
    let directory = path.parent().unwrap_or(path);
    if at == 0 {
        fs::create_dir_all(directory)?;
    }
    if health::is_full(directory) {
        return Err(no_room("the disk has too little room"));
    }
    let file = File::options().write(true).create(at == 0).truncate(at == 0).open(path)?;
    let written = file.write_all_at(bytes, at);
    if written.is_err() {
        // What stays is written over, or found out by its checksum.
        let _ = file.set_len(at);
    }
    written
}

fn no_room(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::StorageFull, why)
}

#[cfg(test)]
mod tests;
