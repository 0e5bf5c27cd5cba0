//! The form of a log file: frames, one after the other.
//!
//! | bytes | what |
//! |---|---|
//! | 1 | 0xC1: frame, version 1 |
//! | 1 | stream: 1 stdout, 2 stderr |
//! | 8 | offset of the first byte in its stream |
//! | 4 | length of the data |
//! | 8 | when it arrived, Unix milliseconds |
//! | 8 | the first bytes of the BLAKE3 of all that and of the data |
//! | length | data |
//!
//! A file that is not the beginning of its log begins with where it stands in it:
//!
//! | bytes | what |
//! |---|---|
//! | 1 | 0xC2: start, version 1 |
//! | 8 | bytes of frames before it |
//! | 8 | bytes of stdout before it |
//! | 8 | bytes of stderr before it |
//! | 8 | the first bytes of the BLAKE3 of all that |
//!
//! Numbers are big endian.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};

use bytes::{Bytes, BytesMut};
use shared::link::LogStream;

use super::LogOffsets;
use super::index::Checkpoint;

const MAGIC: u8 = 0xC1;
/// Bytes before the data.
pub(super) const HEADER: usize = CHECKED + CHECKSUM;
/// Bytes of the header that the checksum covers.
const CHECKED: usize = 22;
const CHECKSUM: usize = 8;
/// The most data of one frame; larger pieces become several. Bounds what each reader has to hold.
pub(super) const DATA_LIMIT: usize = 64 * 1024;
/// The most data of a frame that is read: frames were larger once.
const READABLE: usize = 1024 * 1024;
/// How much is read ahead.
const READ_AHEAD: usize = 16 * 1024;

/// A header that makes sense; whether its data are right is known only with them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) stream: LogStream,
    pub(super) offset: u64,
    pub(super) len: u32,
    header: [u8; HEADER],
}

impl Frame {
    fn parse(header: [u8; HEADER]) -> Option<Self> {
        let stream = match (header[0], header[1]) {
            (MAGIC, 1) => LogStream::Stdout,
            (MAGIC, 2) => LogStream::Stderr,
            _ => return None,
        };
        let offset = u64::from_be_bytes(header[2..10].try_into().ok()?);
        let len = u32::from_be_bytes(header[10..14].try_into().ok()?);
        (len as usize <= READABLE).then_some(Self { stream, offset, len, header })
    }

    /// When it arrived, Unix milliseconds.
    pub(super) fn at_unix_ms(&self) -> i64 {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&self.header[14..CHECKED]);
        i64::from_be_bytes(bytes)
    }

    /// Bytes in the file.
    pub(super) fn size(&self) -> u64 {
        HEADER as u64 + u64::from(self.len)
    }

    fn matches(&self, data: &[u8]) -> bool {
        checksum(&self.header[..CHECKED], data) == self.header[CHECKED..]
    }
}

/// Appends a frame to `out`. `data` is at most [`DATA_LIMIT`].
pub(super) fn encode(stream: LogStream, offset: u64, at_unix_ms: i64, data: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    out.push(MAGIC);
    out.push(match stream {
        LogStream::Stdout => 1,
        LogStream::Stderr => 2,
    });
    out.extend(offset.to_be_bytes());
    out.extend(u32::try_from(data.len()).unwrap_or(u32::MAX).to_be_bytes());
    out.extend(at_unix_ms.to_be_bytes());
    let sum = checksum(&out[start..], data);
    out.extend(sum);
    out.extend(data);
}

fn checksum(header: &[u8], data: &[u8]) -> [u8; CHECKSUM] {
    let digest = blake3::Hasher::new().update(header).update(data).finalize();
    let mut sum = [0; CHECKSUM];
    sum.copy_from_slice(&digest.as_bytes()[..CHECKSUM]);
    sum
}

/// Bytes of a start.
pub(super) const START: usize = 25 + CHECKSUM;
const START_MAGIC: u8 = 0xC2;

/// What a file begins with that stands at `start` in its log.
pub(super) fn encode_start(start: Checkpoint) -> [u8; START] {
    let mut out = [0; START];
    out[0] = START_MAGIC;
    out[1..9].copy_from_slice(&start.position.to_be_bytes());
    out[9..17].copy_from_slice(&start.offsets.stdout.to_be_bytes());
    out[17..25].copy_from_slice(&start.offsets.stderr.to_be_bytes());
    let sum = checksum(&out[..25], &[]);
    out[25..].copy_from_slice(&sum);
    out
}

/// Where a file says that it stands in its log; none if it does not say so, or not in whole.
pub(super) fn read_start(file: &mut File) -> io::Result<Option<Checkpoint>> {
    let mut header = Vec::with_capacity(START);
    file.seek(SeekFrom::Start(0))?;
    file.take(START as u64).read_to_end(&mut header)?;
    Ok(parse_start(&header))
}

fn parse_start(header: &[u8]) -> Option<Checkpoint> {
    let (said, sum) = header.split_at_checked(25)?;
    if said[0] != START_MAGIC || sum != checksum(said, &[]) {
        return None;
    }
    let number = |at: usize| said[at..at + 8].try_into().map(u64::from_be_bytes).ok();
    Some(Checkpoint { position: number(1)?, offsets: LogOffsets { stdout: number(9)?, stderr: number(17)? } })
}

/// Reads the frames of one file, from one place up to another.
#[derive(Debug)]
pub(super) struct FrameFile {
    file: BufReader<File>,
    /// Bytes of frames that are left.
    left: u64,
    /// Data of the last header that was not read.
    unread: u64,
}

impl FrameFile {
    /// The next `length` bytes of frames from `position` of the file on, the start of a frame.
    pub(super) fn open(mut file: File, position: u64, length: u64) -> io::Result<Self> {
        file.seek(SeekFrom::Start(position))?;
        Ok(Self { file: BufReader::with_capacity(READ_AHEAD, file), left: length, unread: 0 })
    }

    /// The next header; none at the end, and where what follows is no whole frame.
    pub(super) fn next(&mut self) -> io::Result<Option<Frame>> {
        if self.unread > 0 {
            self.file.seek_relative(self.unread.cast_signed())?;
            self.unread = 0;
        }
        if self.left < HEADER as u64 {
            return Ok(None);
        }
        let mut header = [0; HEADER];
        self.file.read_exact(&mut header)?;
        let Some(frame) = Frame::parse(header).filter(|frame| frame.size() <= self.left) else { return Ok(None) };
        self.left -= frame.size();
        self.unread = u64::from(frame.len);
        Ok(Some(frame))
    }

    /// The data of the frame that [`Self::next`] has just returned, put into `buffer` and taken out of it again; none if they
    /// are not what was written.
    pub(super) fn data(&mut self, frame: &Frame, buffer: &mut BytesMut) -> io::Result<Option<Bytes>> {
        buffer.clear();
        buffer.resize(frame.len as usize, 0);
        self.file.read_exact(buffer)?;
        self.unread = 0;
        Ok(frame.matches(buffer).then(|| buffer.split().freeze()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_is_whole_or_none() {
        let start = Checkpoint { position: 7_000, offsets: LogOffsets { stdout: 5_000, stderr: 1_000 } };
        let bytes = encode_start(start);
        assert_eq!(parse_start(&bytes), Some(start));
        for cut in 0..bytes.len() {
            assert_eq!(parse_start(&bytes[..cut]), None, "{cut}");
            let mut changed = bytes;
            changed[cut] ^= 1;
            assert_eq!(parse_start(&changed), None, "{cut}");
        }
    }
}
