//! The data of a record that holds several pieces: lines that came together, or what is left of many.
//!
//! | bytes | what |
//! |---|---|
//! | | what was written, in order of arrival |
//! | | for each piece: its length times four, plus 2 if it arrived at another time than the one before it, plus 1 if it is of stderr; then, after such a 2, how many milliseconds later |
//! | 8 | offset of the first byte of stderr in its stream |
//! | 4 | bytes of all that is said for each piece |
//!
//! What is said for each are numbers of seven bits to a byte, the lowest first, of which all but the last have the highest bit
//! set. A time may be earlier than the one before it: later by n is 2n, earlier by n is 2n - 1.

use bytes::Bytes;
use shared::link::LogStream;

use super::LogOffsets;
use super::frame::Frame;

/// Bytes of the two numbers at the end.
pub(super) const TRAILER: usize = 12;
/// The most bytes that are said for one piece.
pub(super) const RUN_MOST: usize = 3 + 10;

const OF_STDERR: u64 = 1;
const AT_ANOTHER_TIME: u64 = 2;
/// Bits of the length's number that the others take.
const FLAGS: u32 = 2;

/// A piece of what is put into a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) stream: LogStream,
    pub(super) len: usize,
    pub(super) at_unix_ms: i64,
}

/// Appends to their data what is to be said of these pieces. The first of stderr, if there is one, stands at `stderr`.
pub(super) fn encode(runs: &[Run], stderr: u64, out: &mut Vec<u8>) {
    let begin = out.len();
    let mut at = runs.first().map_or(0, |run| run.at_unix_ms);
    for run in runs {
        let mut number = (run.len as u64) << FLAGS;
        if run.stream == LogStream::Stderr {
            number |= OF_STDERR;
        }
        if run.at_unix_ms == at {
            push(number, out);
            continue;
        }
        push(number | AT_ANOTHER_TIME, out);
        let later = run.at_unix_ms.wrapping_sub(at);
        push(((later << 1) ^ (later >> 63)).cast_unsigned(), out);
        at = run.at_unix_ms;
    }
    let said = u32::try_from(out.len() - begin).unwrap_or(u32::MAX);
    out.extend(stderr.to_be_bytes());
    out.extend(said.to_be_bytes());
}

/// The pieces of such a record, one after the other.
#[derive(Debug, Clone, Default)]
pub(super) struct Mixed {
    data: Bytes,
    said: Bytes,
    offsets: LogOffsets,
    at_unix_ms: i64,
}

impl Mixed {
    /// Of a record whose first piece of stdout stands at `stdout`, and whose first piece arrived at this time; none if it makes
    /// no sense.
    pub(super) fn parse(stdout: u64, at_unix_ms: i64, body: &Bytes) -> Option<Self> {
        let trailer = body.len().checked_sub(TRAILER)?;
        let (stderr, said) = body[trailer..].split_at(8);
        let stderr = u64::from_be_bytes(stderr.try_into().ok()?);
        let begin = trailer.checked_sub(u32::from_be_bytes(said.try_into().ok()?) as usize)?;
        let (data, said) = (body.slice(..begin), body.slice(begin..trailer));
        let mixed = Self { data, said, offsets: LogOffsets { stdout, stderr }, at_unix_ms };
        mixed.is_whole().then_some(mixed)
    }

    /// Whether all data are of a piece, and there is one.
    fn is_whole(&self) -> bool {
        let mut rest = self.clone();
        while rest.next().is_some() {}
        !self.is_empty() && rest.data.is_empty() && rest.is_empty()
    }

    /// Whether nothing is left.
    pub(super) fn is_empty(&self) -> bool {
        self.said.is_empty()
    }

    /// How much of each stream is left.
    pub(super) fn bytes(&self) -> LogOffsets {
        let mut bytes = LogOffsets::default();
        for (frame, _) in self.clone() {
            *bytes.of_mut(frame.stream) += u64::from(frame.len);
        }
        bytes
    }

    /// Whether what is left goes on where the streams end.
    pub(super) fn follows(&self, ends: LogOffsets) -> bool {
        let bytes = self.bytes();
        LogStream::ALL.into_iter().all(|stream| bytes.of(stream) == 0 || self.offsets.of(stream) == ends.of(stream))
    }
}

impl Iterator for Mixed {
    type Item = (Frame, Bytes);

    fn next(&mut self) -> Option<Self::Item> {
        let mut said = &self.said[..];
        let number = take(&mut said)?;
        let at_unix_ms = if number & AT_ANOTHER_TIME == 0 {
            self.at_unix_ms
        } else {
            let later = take(&mut said)?;
            self.at_unix_ms.wrapping_add((later >> 1).cast_signed() ^ -(later & 1).cast_signed())
        };
        let len = u32::try_from(number >> FLAGS).ok().filter(|len| *len as usize <= self.data.len())?;
        let stream = if number & OF_STDERR == 0 { LogStream::Stdout } else { LogStream::Stderr };
        let left = said.len();
        let _passed = self.said.split_to(self.said.len() - left);
        self.at_unix_ms = at_unix_ms;
        let end = self.offsets.of_mut(stream);
        let offset = *end;
        *end = offset.checked_add(u64::from(len))?;
        Some((Frame { stream, offset, len, at_unix_ms }, self.data.split_to(len as usize)))
    }
}

fn push(mut number: u64, out: &mut Vec<u8>) {
    while number > 0x7F {
        out.push((number & 0x7F) as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn take(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..u64::BITS).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7F) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use LogStream::{Stderr, Stdout};

    use super::*;

    fn run(stream: LogStream, len: usize, at_unix_ms: i64) -> Run {
        Run { stream, len, at_unix_ms }
    }

    #[test]
    fn pieces_come_out_as_they_were_put_in() {
        let runs = [
            run(Stdout, 3, 1_000),
            run(Stderr, 31, 1_000),
            run(Stderr, 32, 1_001),
            run(Stdout, 60_000, 999),
            run(Stdout, 1, i64::MAX),
            run(Stderr, 2, i64::MIN),
        ];
        let written: Vec<u8> = (0..60_069u32).map(|at| at as u8).collect();
        let mut body = written.clone();
        encode(&runs, 500, &mut body);
        assert!(body.len() <= written.len() + runs.len() * RUN_MOST + TRAILER, "{}", body.len());
        let body = Bytes::from(body);
        let mixed = Mixed::parse(70, 1_000, &body).expect("it is whole");
        assert_eq!(mixed.bytes(), LogOffsets { stdout: 60_004, stderr: 65 });
        assert!(mixed.follows(LogOffsets { stdout: 70, stderr: 500 }));
        assert!(!mixed.follows(LogOffsets { stdout: 70, stderr: 501 }));
        let (mut ends, mut read) = (LogOffsets { stdout: 70, stderr: 500 }, Vec::new());
        for ((frame, data), run) in mixed.clone().zip(runs) {
            assert_eq!((frame.stream, frame.len as usize, frame.at_unix_ms), (run.stream, run.len, run.at_unix_ms));
            assert_eq!(frame.offset, ends.of(frame.stream));
            *ends.of_mut(frame.stream) = frame.end();
            read.extend_from_slice(&data);
        }
        assert_eq!((mixed.count(), read), (runs.len(), written));
    }

    #[test]
    fn what_is_not_whole_is_nothing() {
        let mut body = b"abc".to_vec();
        encode(&[run(Stdout, 1, 5), run(Stderr, 2, 5)], 0, &mut body);
        assert!(Mixed::parse(0, 5, &Bytes::from(body.clone())).is_some());
        for cut in 0..body.len() {
            assert!(Mixed::parse(0, 5, &Bytes::copy_from_slice(&body[..cut])).is_none(), "{cut}");
        }
        // More data than the pieces have, and fewer.
        for (at, changed) in [(3, 0), (3, 3 << FLAGS)] {
            let mut body = body.clone();
            body[at] = changed;
            assert!(Mixed::parse(0, 5, &Bytes::from(body)).is_none(), "{changed}");
        }
    }

    #[test]
    fn short_lines_cost_a_byte_each() {
        let runs: Vec<_> = (0..64).map(|at| run(if at % 2 == 0 { Stdout } else { Stderr }, 10, 7)).collect();
        let mut body = vec![b'x'; 640];
        encode(&runs, 0, &mut body);
        assert_eq!(body.len(), 640 + 64 + TRAILER);
    }
}
