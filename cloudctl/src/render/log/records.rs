//! Lines of a log as items, for scripts.

use std::collections::BTreeMap;

use serde::Serialize;
use shared::link::LogStream;
use shared::time::WallTime;

use super::LogPiece;
use crate::exit::CtlError;
use crate::render::Terminal;

/// A longer line comes in parts.
const LINE_LIMIT: usize = 64 * 1024;

/// A line of a log.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct LogLineView {
    /// The element that wrote it.
    task_id: String,
    /// The run that wrote it.
    attempt: u32,
    /// `stdout` or `stderr`.
    stream: &'static str,
    /// Of its first byte in the stream.
    offset: u64,
    /// When it reached the master.
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<WallTime>,
    /// Without the line end. Bytes that are not UTF-8 are U+FFFD here; `text_hex` has them.
    text: String,
    /// The exact bytes in hex, where they are not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    text_hex: Option<String>,
    /// Whether the line goes on in the next item.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    partial: bool,
}

/// Puts lines together. Holds at most one line of each stream, and of a very long one a part.
#[derive(Debug, Default)]
pub(super) struct Records {
    open: BTreeMap<&'static str, Line>,
}

#[derive(Debug)]
struct Line {
    attempt: u32,
    offset: u64,
    time: Option<WallTime>,
    bytes: Vec<u8>,
}

impl Records {
    /// The lines that a piece completes, written.
    pub(super) fn take(&mut self, piece: &LogPiece, element: &str, terminal: &Terminal) -> Result<Vec<u8>, CtlError> {
        let mut out = Vec::new();
        for view in self.lines(piece, element) {
            out.extend(terminal.event_bytes("log-line", &view)?);
        }
        Ok(out)
    }

    /// What is left when the log has ended, written.
    pub(super) fn finish(&mut self, element: &str, terminal: &Terminal) -> Result<Vec<u8>, CtlError> {
        let mut out = Vec::new();
        for (stream, line) in std::mem::take(&mut self.open) {
            out.extend(terminal.event_bytes("log-line", &line.view(element, stream, false))?);
        }
        Ok(out)
    }

    fn lines(&mut self, piece: &LogPiece, element: &str) -> Vec<LogLineView> {
        let stream = match piece.stream {
            LogStream::Stdout => "stdout",
            LogStream::Stderr => "stderr",
        };
        let mut views = Vec::new();
        let mut offset = piece.offset;
        for part in piece.data.split_inclusive(|&byte| byte == b'\n') {
            let (content, ended) = part.strip_suffix(b"\n").map_or((part, false), |content| (content, true));
            for content in content.chunks(LINE_LIMIT) {
                let line = self.open.entry(stream).or_insert_with(|| Line::at(piece, offset));
                line.bytes.extend_from_slice(content);
                offset += content.len() as u64;
                if line.bytes.len() >= LINE_LIMIT {
                    views.extend(self.open.remove(stream).map(|line| line.view(element, stream, true)));
                }
            }
            if ended {
                let line = self.open.remove(stream).unwrap_or_else(|| Line::at(piece, offset));
                views.push(line.view(element, stream, false));
                offset += 1;
            }
        }
        views
    }
}

impl Line {
    fn at(piece: &LogPiece, offset: u64) -> Self {
        Self { attempt: piece.attempt, offset, time: piece.time, bytes: Vec::new() }
    }

    fn view(self, element: &str, stream: &'static str, partial: bool) -> LogLineView {
        let text = String::from_utf8_lossy(&self.bytes).into_owned();
        let is_exact = text.as_bytes() == self.bytes;
        LogLineView {
            task_id: element.to_owned(),
            attempt: self.attempt,
            stream,
            offset: self.offset,
            time: self.time,
            text,
            text_hex: (!is_exact).then(|| hex::encode(&self.bytes)),
            partial,
        }
    }
}

#[cfg(test)]
impl LogLineView {
    /// One with every field.
    pub(crate) fn sample() -> Self {
        let line = Line { attempt: 1, offset: 0, time: Some(WallTime(0)), bytes: b"a\xff".to_vec() };
        line.view("task-x", "stdout", true)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn all(data: &[u8], step: usize) -> Vec<(u64, String, bool)> {
        let mut records = Records::default();
        let mut found = Vec::new();
        let mut offset = 100;
        for part in data.chunks(step) {
            let data = Bytes::copy_from_slice(part);
            let piece = LogPiece { attempt: 1, stream: LogStream::Stdout, offset, time: Some(WallTime(7)), data };
            found.extend(records.lines(&piece, "task-x"));
            offset += part.len() as u64;
        }
        let rest = std::mem::take(&mut records.open).into_iter();
        found.extend(rest.map(|(stream, line)| line.view("task-x", stream, false)));
        found.into_iter().map(|line| (line.offset, line.text, line.partial)).collect()
    }

    #[test]
    fn lines_are_the_same_however_they_come() {
        let expected = [(100, "one".to_owned(), false), (104, String::new(), false), (105, "two".to_owned(), false)];
        for step in 1..9 {
            assert_eq!(all(b"one\n\ntwo", step), expected, "by {step}");
        }
    }

    #[test]
    fn a_very_long_line_comes_in_parts() {
        let line = [vec![b'x'; 2 * LINE_LIMIT + 5], b"\nnext".to_vec()].concat();
        let found = all(&line, 100_000);
        assert!(found.iter().all(|(_, text, _)| text.len() <= 2 * LINE_LIMIT));
        let whole: String =
            found.iter().filter(|(_, text, _)| text != "next").map(|(_, text, _)| text.as_str()).collect();
        assert_eq!(whole.len(), 2 * LINE_LIMIT + 5);
        assert_eq!(found.iter().filter(|(_, _, partial)| !partial).count(), 2, "the end of the line, and the next");
        assert_eq!(found.last().map(|(offset, ..)| *offset), Some(100 + 2 * LINE_LIMIT as u64 + 6));
    }

    #[test]
    fn bytes_that_are_no_text_are_kept_in_hex() {
        let mut records = Records::default();
        let data = Bytes::from_static(b"a\xff\n");
        let piece = LogPiece { attempt: 2, stream: LogStream::Stderr, offset: 0, time: None, data };
        let line = records.lines(&piece, "task-x").remove(0);
        assert_eq!((line.text.as_str(), line.text_hex.as_deref()), ("a\u{fffd}", Some("61ff")));
        assert_eq!((line.stream, line.attempt), ("stderr", 2));
    }
}
