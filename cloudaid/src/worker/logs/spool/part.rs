//! One file of a spool: a part of the log without anything lacking in it.
//!
//! ```text
//! head    "CLAIL\0\x01\n", bytes of stdout and of stderr that were before it (u64 each), checksum u32
//! frames  length u32, checksum u32, then so many bytes: kind u8, place in its stream u64, what was written
//! ```
//!
//! All numbers are little-endian. A tail that was torn is cut.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use bytes::BytesMut;
use shared::link::{CHUNK_LIMIT, LogStream};

use super::super::offsets::{Chunk, Offsets};
use crate::worker::checksum::checksum;
use crate::worker::health;

/// The first bytes of the file; the last but one counts versions.
const MAGIC: &[u8; 8] = b"CLAIL\0\x01\n";
/// Bytes before the first frame: where reading begins.
pub(in crate::worker::logs) const HEAD: u64 = 28;
const FRAME_HEAD: usize = 8;
const BODY_HEAD: usize = 9;
/// No frame is longer: what says so is none.
pub(super) const FRAME_LIMIT: usize = FRAME_HEAD + BODY_HEAD + CHUNK_LIMIT;

/// The kinds of frames.
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
/// The log has ended, and nothing of it is lacking that is not known to be.
const END: u8 = 3;

/// A file.
#[derive(Debug)]
pub(in crate::worker::logs) struct Part {
    pub(super) path: PathBuf,
    /// Parts are told apart by it: a later one has a higher number.
    pub(super) number: u64,
    /// What was before it: at the master when it was begun, or not kept.
    pub(in crate::worker::logs) start: Offsets,
    /// Everything between its start and here is in it.
    pub(in crate::worker::logs) end: Offsets,
    /// Whether the log ends here.
    pub(super) is_whole: bool,
    /// Bytes of the file.
    pub(in crate::worker::logs) length: u64,
}

/// A piece of what is kept.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::worker::logs) struct Batch {
    pub(in crate::worker::logs) chunks: Vec<Chunk>,
    /// Where the next one begins; at the end where this one does.
    pub(in crate::worker::logs) next: u64,
    is_whole: bool,
}

impl Part {
    /// One that is to be made there.
    pub(super) fn new(path: PathBuf, number: u64, start: Offsets) -> Self {
        Self { path, number, start, end: start, is_whole: false, length: 0 }
    }

    /// Whether it says no more than up to where everything was read.
    pub(super) fn is_empty(&self) -> bool {
        self.length <= HEAD
    }

    /// Reads all of the file, and cuts off what is torn, which is said. What has no head is none.
    pub(super) fn find(path: PathBuf, number: u64) -> io::Result<Option<Self>> {
        let file = File::options().read(true).write(true).open(&path)?;
        let Some(start) = read_head(&file)? else {
            fs::remove_file(path)?;
            return Ok(None);
        };
        let mut found = Self { length: HEAD, ..Self::new(path, number, start) };
        loop {
            let batch = read(&file, found.length)?;
            if batch.next == found.length {
                break;
            }
            batch.chunks.iter().for_each(|chunk| found.end.pass(chunk));
            found.is_whole |= batch.is_whole;
            found.length = batch.next;
        }
        let torn = file.metadata()?.len().saturating_sub(found.length);
        if torn > 0 {
            tracing::warn!(path = %found.path.display(), torn, "The end of what was kept of a log for the master cannot be read (a crash may have torn it) and is cut off; it is read again, if its container is there");
            file.set_len(found.length)?;
        }
        Ok(Some(found))
    }
}

/// The first bytes of one that begins there.
pub(super) fn head(Offsets { stdout, stderr }: Offsets) -> Vec<u8> {
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

/// Frames of all of them; with `is_whole` they are the last.
pub(super) fn frames(chunks: &[Chunk], is_whole: bool) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    for (stream, offset, data) in chunks {
        let kind = match stream {
            LogStream::Stdout => STDOUT,
            LogStream::Stderr => STDERR,
        };
        encode(kind, *offset, data, &mut bytes)?;
    }
    if is_whole {
        encode(END, 0, &[], &mut bytes)?;
    }
    Ok(bytes)
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
pub(super) fn read(mut file: &File, at: u64) -> io::Result<Batch> {
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

/// At the end of the file, or into a new one at 0, if the disk has room for what may be done without.
pub(super) fn write(path: &Path, at: u64, bytes: &[u8]) -> io::Result<()> {
    if health::is_full(path.parent().unwrap_or(path)) {
        return Err(no_room("the disk has too little room"));
    }
    put(path, at, bytes)
}

/// The same, whatever room there is.
pub(super) fn put(path: &Path, at: u64, bytes: &[u8]) -> io::Result<()> {
    if at == 0 {
        fs::create_dir_all(path.parent().unwrap_or(path))?;
    }
    let file = File::options().write(true).create(at == 0).truncate(at == 0).open(path)?;
    let written = file.write_all_at(bytes, at);
    if written.is_err() {
        // What stays is written over, or found out by its checksum.
        let _ = file.set_len(at);
    }
    written
}

pub(super) fn no_room(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::StorageFull, why)
}
