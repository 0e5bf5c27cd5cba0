//! The frames of `/ws/tasks/{id}/logs`, and where a follower stands in the log.

use bytes::{Buf, Bytes};
use shared::link::LogStream;
use shared::time::WallTime;
use shared::view::LogEvent;

/// Bytes of the log of one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Chunk {
    /// Which of the two streams.
    pub(crate) stream: LogStream,
    /// Of the first byte.
    pub(crate) offset: u64,
    /// When they reached the master, if that was asked for.
    pub(crate) time: Option<WallTime>,
    /// The bytes as the container wrote them.
    pub(crate) data: Bytes,
}

/// Reads a binary frame: stream, offset, with `times` the time, bytes.
pub(crate) fn parse_chunk(mut frame: Bytes, times: bool) -> Result<Chunk, String> {
    if frame.len() < if times { 17 } else { 9 } {
        return Err(format!("a log frame of {} bytes", frame.len()));
    }
    let stream = match frame.get_u8() {
        1 => LogStream::Stdout,
        2 => LogStream::Stderr,
        other => return Err(format!("a log frame of stream {other}")),
    };
    let offset = frame.get_u64();
    let time = times.then(|| WallTime(frame.get_i64()));
    Ok(Chunk { stream, offset, time, data: frame })
}

/// Reads a text frame. An event of a kind that a newer server has is nothing to us.
pub(crate) fn parse_event(text: &str) -> Result<Option<LogEvent>, String> {
    const KINDS: [&str; 5] = ["attempt", "cut", "state", "end", "error"];
    match serde_json::from_str(text) {
        Ok(event) => Ok(Some(event)),
        Err(error) => {
            let value: serde_json::Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
            match value.get("type").and_then(serde_json::Value::as_str) {
                Some(kind) if !KINDS.contains(&kind) => Ok(None),
                _ => Err(error.to_string()),
            }
        }
    }
}

/// What of the log has been seen, so that after a reconnect nothing is lost and nothing comes twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct LogCursor {
    /// The run whose log this is; none before the server has named it.
    pub(crate) attempt: Option<u32>,
    /// The next byte of stdout.
    pub(crate) stdout: u64,
    /// The next byte of stderr.
    pub(crate) stderr: u64,
}

/// The new part of a chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fresh {
    /// Bytes before it that the server does not have.
    pub(crate) gap: u64,
    /// May be empty.
    pub(crate) data: Bytes,
}

impl LogCursor {
    /// The server goes on with the log of this run, from these offsets. Returns whether it is another run than before.
    pub(crate) fn begin(&mut self, attempt: u32, stdout: u64, stderr: u64) -> bool {
        if self.attempt == Some(attempt) {
            return false;
        }
        *self = Self { attempt: Some(attempt), stdout, stderr };
        true
    }

    /// The log goes on at these offsets. Returns how many bytes of each stream were left out.
    pub(crate) fn skip(&mut self, stdout: u64, stderr: u64) -> (u64, u64) {
        let left_out = (stdout.saturating_sub(self.stdout), stderr.saturating_sub(self.stderr));
        (self.stdout, self.stderr) = (self.stdout.max(stdout), self.stderr.max(stderr));
        left_out
    }

    /// Cuts off what was seen before, and moves on.
    pub(crate) fn take(&mut self, chunk: Chunk) -> Fresh {
        let next = match chunk.stream {
            LogStream::Stdout => &mut self.stdout,
            LogStream::Stderr => &mut self.stderr,
        };
        let gap = chunk.offset.saturating_sub(*next);
        let seen = next.saturating_sub(chunk.offset);
        let mut data = chunk.data;
        data.advance(usize::try_from(seen).map_or(data.len(), |seen| seen.min(data.len())));
        *next = next.saturating_add(gap).saturating_add(data.len() as u64);
        Fresh { gap, data }
    }
}

#[cfg(test)]
mod tests {
    use shared::task::TaskState;

    use super::*;

    fn chunk(stream: LogStream, offset: u64, data: &'static str) -> Chunk {
        Chunk { stream, offset, time: None, data: Bytes::from_static(data.as_bytes()) }
    }

    #[test]
    fn binary_frames_are_stream_offset_and_bytes() {
        let frame = Bytes::from_static(b"\x02\0\0\0\0\0\0\x01\x02abc");
        assert_eq!(parse_chunk(frame, false), Ok(chunk(LogStream::Stderr, 258, "abc")));
        let empty = Bytes::from_static(b"\x01\0\0\0\0\0\0\0\0");
        assert_eq!(parse_chunk(empty, false), Ok(chunk(LogStream::Stdout, 0, "")));
        let timed = Bytes::from_static(b"\x02\0\0\0\0\0\0\x01\x02\0\0\0\0\0\0\0\x07abc");
        let expected = Chunk { time: Some(WallTime(7)), ..chunk(LogStream::Stderr, 258, "abc") };
        assert_eq!(parse_chunk(timed, true), Ok(expected));
    }

    #[test]
    fn broken_binary_frames_are_refused() {
        for frame in [&b""[..], b"\x01", b"\x01\0\0\0\0\0\0\0", b"\x03\0\0\0\0\0\0\0\0a", b"\0\0\0\0\0\0\0\0\0"] {
            assert!(parse_chunk(Bytes::from_static(frame), false).is_err(), "{frame:?}");
            assert!(parse_chunk(Bytes::from_static(frame), true).is_err(), "{frame:?}");
        }
    }

    #[test]
    fn text_frames_are_events_and_unknown_kinds_are_skipped() {
        let state = parse_event(r#"{"type":"state","state":"running"}"#);
        assert_eq!(state, Ok(Some(LogEvent::State { state: TaskState::Running })));
        assert_eq!(parse_event(r#"{"type":"weather","sun":true}"#), Ok(None));
        for bad in ["", "{}", "[]", r#"{"type":"state","state":"dozing"}"#, r#"{"type":"end"}"#] {
            assert!(parse_event(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_was_seen_is_not_taken_again() {
        let mut cursor = LogCursor::default();
        assert!(cursor.begin(1, 0, 0));
        assert_eq!(cursor.take(chunk(LogStream::Stdout, 0, "abc")).data, "abc");
        assert_eq!(cursor.take(chunk(LogStream::Stdout, 1, "bcde")).data, "de");
        assert_eq!(cursor.take(chunk(LogStream::Stdout, 0, "ab")).data, "");
        assert_eq!(cursor.take(chunk(LogStream::Stderr, 0, "x")).data, "x");
        assert_eq!(cursor, LogCursor { attempt: Some(1), stdout: 5, stderr: 1 });
    }

    #[test]
    fn a_gap_is_counted_and_skipped() {
        let mut cursor = LogCursor::default();
        let fresh = cursor.take(chunk(LogStream::Stdout, 10, "ab"));
        assert_eq!((fresh.gap, cursor.stdout), (10, 12));
    }

    #[test]
    fn what_was_cut_out_is_counted_once() {
        let mut cursor = LogCursor { attempt: Some(1), stdout: 5, stderr: 1 };
        assert_eq!(cursor.skip(15, 1), (10, 0));
        assert_eq!(cursor.skip(12, 4), (0, 3));
        assert_eq!(cursor, LogCursor { attempt: Some(1), stdout: 15, stderr: 4 });
    }

    #[test]
    fn another_run_begins_where_the_server_says() {
        let mut cursor = LogCursor { attempt: Some(1), stdout: 5, stderr: 1 };
        assert!(!cursor.begin(1, 0, 0));
        assert_eq!(cursor.stdout, 5);
        assert!(cursor.begin(2, 30, 0));
        assert_eq!(cursor, LogCursor { attempt: Some(2), stdout: 30, stderr: 0 });
    }
}
