//! Tasks, one a line, read as they are wanted.

use std::io::{BufRead, Cursor, Read};

use shared::error::{ApiError, ErrorCode};
use shared::submit::SubmitRequest;

use super::collect::of_value;

/// The longest line, as the server takes it.
pub(super) const LINE_LIMIT: usize = 1024 * 1024;

/// A line that is not empty.
pub(crate) struct Line {
    /// 1-based; empty lines count.
    pub(crate) number: u64,
    /// The task, or what is wrong with it.
    pub(crate) content: Result<SubmitRequest, ApiError>,
}

/// The lines of a file.
pub(crate) struct Lines {
    /// Of the file, for people.
    pub(crate) name: String,
    reader: Box<dyn BufRead + Send>,
    number: u64,
    ended: bool,
}

impl Lines {
    /// `head` was read already.
    pub(super) fn new(name: String, head: Vec<u8>, rest: impl BufRead + Send + 'static) -> Self {
        Self { name, reader: Box::new(Cursor::new(head).chain(rest)), number: 0, ended: false }
    }

    /// The next line, cut at the limit; none at the end.
    fn read(&mut self) -> std::io::Result<Option<Vec<u8>>> {
        let mut line = Vec::new();
        if self.reader.by_ref().take(LINE_LIMIT as u64 + 1).read_until(b'\n', &mut line)? == 0 {
            return Ok(None);
        }
        if !line.ends_with(b"\n") && line.len() > LINE_LIMIT {
            self.reader.skip_until(b'\n')?;
        }
        Ok(Some(line))
    }
}

impl Iterator for Lines {
    type Item = Line;

    fn next(&mut self) -> Option<Line> {
        while !self.ended {
            let read = self.read();
            self.number += 1;
            let content = match read {
                Ok(None) => return None,
                Ok(Some(line)) if line.trim_ascii().is_empty() => continue,
                Ok(Some(line)) if line.trim_ascii_end().len() > LINE_LIMIT => {
                    Err(ApiError::new(ErrorCode::TooLarge, format!("the line is longer than {LINE_LIMIT} bytes"), ""))
                }
                Ok(Some(line)) => parse(&line),
                Err(error) => {
                    self.ended = true;
                    Err(ApiError::new(ErrorCode::InvalidArgument, format!("it cannot be read: {error}"), ""))
                }
            };
            return Some(Line { number: self.number, content });
        }
        None
    }
}

fn parse(line: &[u8]) -> Result<SubmitRequest, ApiError> {
    let wrong = |cause: String| {
        ApiError::new(ErrorCode::InvalidArgument, cause, "write one task as JSON a line: `cloudctl help task-file`")
    };
    let value = serde_json::from_slice(line).map_err(|error| wrong(error.to_string()))?;
    of_value(value).map_err(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_stands_for_itself() {
        let long = format!("{{\"image\":\"{}\"}}", "x".repeat(LINE_LIMIT));
        let text = format!("{{\"image\":\"a\"}}\n\n{{\"imag\":1}}\nnonsense\n{long}\n{{\"image\":\"b\"}}");
        let found: Vec<_> = Lines::new("f".into(), Vec::new(), Cursor::new(text.into_bytes()))
            .map(|line| (line.number, line.content.map(|task| task.image).map_err(|error| error.code)))
            .collect();
        let expected = [
            (1, Ok("a".to_owned())),
            (3, Err(ErrorCode::InvalidArgument)),
            (4, Err(ErrorCode::InvalidArgument)),
            (5, Err(ErrorCode::TooLarge)),
            (6, Ok("b".to_owned())),
        ];
        assert_eq!(found, expected);
    }
}
