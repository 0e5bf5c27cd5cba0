//! The form of a log file: records, one after the other.
//!
//! | bytes | what |
//! |---|---|
//! | 1 | 0xC1: record, version 1 |
//! | 1 | stream: 1 stdout, 2 stderr; 3: several pieces of them, see `mixed.rs` |
//! | 8 | offset of the first byte in its stream; of several pieces, of that of stdout |
//! | 4 | length of the data |
//! | 8 | when it arrived, Unix milliseconds; of several pieces, the first |
//! | 8 | the first bytes of the BLAKE3 of all that and of the data |
//! | length | data |
//!
//! Earlier versions made a record of each piece, and knew of none of several.
//!
//! A file that is not the beginning of its log begins with where it stands in it:
//!
//! | bytes | what |
//! |---|---|
//! | 1 | 0xC2: start, version 1 |
//! | 8 | bytes of records before it |
//! | 8 | bytes of stdout before it |
//! | 8 | bytes of stderr before it |
//! | 8 | the first bytes of the BLAKE3 of all that |
//!
//! One that holds what is left of others has several of these, see `thin.rs`. Numbers are big endian.

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
/// The most data of one record; larger pieces become several. Bounds what each reader has to hold.
pub(super) const DATA_LIMIT: usize = 64 * 1024;
/// The most data of a record that is read: they were larger once.
const READABLE: usize = 1024 * 1024;
/// How much is read ahead.
const READ_AHEAD: usize = 16 * 1024;

/// A piece of what was written to one stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) stream: LogStream,
    /// Where in the stream its first byte stands.
    pub(super) offset: u64,
    pub(super) len: u32,
    /// When it arrived, Unix milliseconds.
    pub(super) at_unix_ms: i64,
}

impl Frame {
    /// Behind its last byte.
    pub(super) fn end(&self) -> u64 {
        self.offset + u64::from(self.len)
    }
}

/// Whose data a record holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// One piece of this stream.
    One(LogStream),
    /// Several pieces.
    Mixed,
}

/// A header that makes sense; whether its data are right is known only with them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) kind: Kind,
    pub(super) offset: u64,
    pub(super) len: u32,
    header: [u8; HEADER],
}

impl Record {
    fn parse(header: [u8; HEADER]) -> Option<Self> {
        let kind = match (header[0], header[1]) {
            (MAGIC, 1) => Kind::One(LogStream::Stdout),
            (MAGIC, 2) => Kind::One(LogStream::Stderr),
            (MAGIC, 3) => Kind::Mixed,
            _ => return None,
        };
        let offset = u64::from_be_bytes(header[2..10].try_into().ok()?);
        let len = u32::from_be_bytes(header[10..14].try_into().ok()?);
        (len as usize <= READABLE).then_some(Self { kind, offset, len, header })
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

/// Writes the header of a record into the first [`HEADER`] bytes of `record`. What follows are its data.
pub(super) fn seal(kind: Kind, offset: u64, at_unix_ms: i64, record: &mut [u8]) {
    let (header, data) = record.split_at_mut(HEADER);
    header[0] = MAGIC;
    header[1] = match kind {
        Kind::One(LogStream::Stdout) => 1,
        Kind::One(LogStream::Stderr) => 2,
        Kind::Mixed => 3,
    };
    header[2..10].copy_from_slice(&offset.to_be_bytes());
    header[10..14].copy_from_slice(&u32::try_from(data.len()).unwrap_or(u32::MAX).to_be_bytes());
    header[14..CHECKED].copy_from_slice(&at_unix_ms.to_be_bytes());
    let sum = checksum(&header[..CHECKED], data);
    header[CHECKED..].copy_from_slice(&sum);
}

fn checksum(header: &[u8], data: &[u8]) -> [u8; CHECKSUM] {
    let digest = blake3::Hasher::new().update(header).update(data).finalize();
    let mut sum = [0; CHECKSUM];
    sum.copy_from_slice(&digest.as_bytes()[..CHECKSUM]);
    sum
}

/// Bytes of a start.
pub(super) const START: usize = 25 + CHECKSUM;
/// Bytes of what a file begins with that holds what is left of others: where it begins, and where it ends.
pub(super) const THIN_START: usize = 2 * START;
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
    read_start_at(file, 0)
}

/// The same, said at this place of the file.
pub(super) fn read_start_at(file: &mut File, place: usize) -> io::Result<Option<Checkpoint>> {
    let mut header = Vec::with_capacity(START);
    file.seek(SeekFrom::Start(place as u64))?;
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

/// What stands next in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// A record.
    Record(Record),
    /// What follows stands there.
    Start(Checkpoint),
}

impl Found {
    /// Bytes in the file.
    pub(super) fn size(&self) -> u64 {
        match self {
            Self::Record(record) => record.size(),
            Self::Start(_) => START as u64,
        }
    }
}

/// Reads the records of one file, from one place up to another.
#[derive(Debug)]
pub(super) struct FrameFile {
    file: BufReader<File>,
    /// Bytes of records that are left.
    left: u64,
    /// Data of the last header that was not read.
    unread: u64,
}

impl FrameFile {
    /// The next `length` bytes of records from `position` of the file on, the start of a record.
    pub(super) fn open(mut file: File, position: u64, length: u64) -> io::Result<Self> {
        file.seek(SeekFrom::Start(position))?;
        Ok(Self { file: BufReader::with_capacity(READ_AHEAD, file), left: length, unread: 0 })
    }

    /// The next header; none at the end, and where what follows is nothing whole.
    pub(super) fn next(&mut self) -> io::Result<Option<Found>> {
        if self.unread > 0 {
            self.file.seek_relative(self.unread.cast_signed())?;
            self.unread = 0;
        }
        if self.left < HEADER as u64 {
            return Ok(None);
        }
        let mut header = [0; HEADER];
        self.file.read_exact(&mut header)?;
        let found = match header[0] {
            START_MAGIC => self.start(&header)?.map(Found::Start),
            _ => Record::parse(header).map(Found::Record),
        };
        let Some(found) = found.filter(|found| found.size() <= self.left) else { return Ok(None) };
        self.left -= found.size();
        if let Found::Record(record) = &found {
            self.unread = u64::from(record.len);
        }
        Ok(Some(found))
    }

    /// A start is a little longer than a header.
    fn start(&mut self, header: &[u8; HEADER]) -> io::Result<Option<Checkpoint>> {
        if self.left < START as u64 {
            return Ok(None);
        }
        let mut start = [0; START];
        start[..HEADER].copy_from_slice(header);
        self.file.read_exact(&mut start[HEADER..])?;
        Ok(parse_start(&start))
    }

    /// The data of the record that [`Self::next`] has just returned, put into `buffer` and taken out of it again; none if they
    /// are not what was written.
    pub(super) fn data(&mut self, record: &Record, buffer: &mut BytesMut) -> io::Result<Option<Bytes>> {
        buffer.clear();
        buffer.resize(record.len as usize, 0);
        self.file.read_exact(buffer)?;
        self.unread = 0;
        Ok(record.matches(buffer).then(|| buffer.split().freeze()))
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
