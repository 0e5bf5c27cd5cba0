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
//! Numbers are big endian.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use bytes::Bytes;
use shared::link::LogStream;

const MAGIC: u8 = 0xC1;
/// Bytes before the data.
pub(super) const HEADER: usize = CHECKED + CHECKSUM;
/// Bytes of the header that the checksum covers.
const CHECKED: usize = 22;
const CHECKSUM: usize = 8;
/// The most data of one frame; larger pieces become several. Bounds what one read has to hold.
pub(super) const DATA_LIMIT: usize = 1024 * 1024;
/// How much is read ahead.
const READ_AHEAD: usize = 64 * 1024;

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
        (len as usize <= DATA_LIMIT).then_some(Self { stream, offset, len, header })
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

/// Reads frames from one place of a file up to another.
pub(super) struct Frames {
    file: BufReader<File>,
    position: u64,
    end: u64,
    /// Data of the last header that was not read.
    unread: u64,
}

impl Frames {
    /// From `position`, the start of a frame, to `end`.
    pub(super) fn open(path: &Path, position: u64, end: u64) -> io::Result<Self> {
        Self::of(File::open(path)?, position, end)
    }

    pub(super) fn of(mut file: File, position: u64, end: u64) -> io::Result<Self> {
        file.seek(SeekFrom::Start(position))?;
        Ok(Self { file: BufReader::with_capacity(READ_AHEAD, file), position, end, unread: 0 })
    }

    /// The next header; none at the end, and where what follows is no whole frame.
    pub(super) fn next(&mut self) -> io::Result<Option<Frame>> {
        if self.unread > 0 {
            self.file.seek_relative(self.unread.cast_signed())?;
            self.unread = 0;
        }
        if self.end.saturating_sub(self.position) < HEADER as u64 {
            return Ok(None);
        }
        let mut header = [0; HEADER];
        self.file.read_exact(&mut header)?;
        let fits = |frame: &Frame| frame.size() <= self.end - self.position;
        let Some(frame) = Frame::parse(header).filter(fits) else { return Ok(None) };
        self.position += frame.size();
        self.unread = u64::from(frame.len);
        Ok(Some(frame))
    }

    /// The data of the frame that [`Self::next`] has just returned; none if they are not what was written.
    pub(super) fn data(&mut self, frame: &Frame) -> io::Result<Option<Bytes>> {
        let mut data = vec![0; frame.len as usize];
        self.file.read_exact(&mut data)?;
        self.unread = 0;
        Ok(frame.matches(&data).then(|| data.into()))
    }

    /// As [`Self::data`] where damage is an error.
    pub(super) fn intact_data(&mut self, frame: &Frame) -> io::Result<Bytes> {
        let damaged = || io::Error::new(io::ErrorKind::InvalidData, "the log file is damaged");
        self.data(frame)?.ok_or_else(damaged)
    }

    /// Where the next frame begins.
    pub(super) fn position(&self) -> u64 {
        self.position
    }
}
