//! Printing the log of a task: as bytes, as lines with something before them, or as records.

mod records;

use std::io::{self, IsTerminal};

use bytes::Bytes;
use shared::link::LogStream;
use shared::time::WallTime;
use tokio::io::{AsyncWrite, AsyncWriteExt, Stderr, Stdout};

use super::escape::LogEscaper;
use super::{Format, Terminal};
use crate::exit::CtlError;
#[cfg(test)]
pub(super) use records::LogLineView;
use records::Records;

/// Where a log goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LogTarget {
    /// stdout to stdout, stderr to stderr.
    Split,
    /// All of it to stderr: stdout is for the result.
    Stderr,
    /// All of it to stdout: it is the result.
    Stdout,
}

/// A piece of a log.
#[derive(Debug, Clone)]
pub(crate) struct LogPiece {
    /// The run that wrote it.
    pub(crate) attempt: u32,
    /// Where to.
    pub(crate) stream: LogStream,
    /// Of its first byte.
    pub(crate) offset: u64,
    /// When it reached the master, if that was asked for.
    pub(crate) time: Option<WallTime>,
    /// As the container wrote it.
    pub(crate) data: Bytes,
}

/// Prints a log as it comes. Asynchronous, so that Ctrl-C is heard while a slow reader holds the output up.
pub(crate) struct LogPrinter<'a> {
    terminal: &'a Terminal,
    target: LogTarget,
    timestamps: bool,
    prefix: bool,
    /// The element whose log it is.
    element: String,
    /// Where items are wanted instead of text.
    records: Option<Records>,
    stdout: Output<Stdout>,
    stderr: Output<Stderr>,
}

struct Output<W> {
    writer: W,
    /// For a terminal.
    escaper: Option<LogEscaper>,
    /// Whether what was written last is not yet a whole line.
    in_line: bool,
}

impl<'a> LogPrinter<'a> {
    /// Bytes go through as they are, but for a terminal they are escaped unless raw text is wanted.
    pub(crate) fn new(target: LogTarget, terminal: &'a Terminal) -> Self {
        let records = match terminal.format {
            Format::Json | Format::Jsonl | Format::Yaml | Format::Template(_) => target != LogTarget::Stderr,
            Format::Table | Format::Quiet => false,
        };
        let escaper = |shown: bool| (shown && !terminal.style.raw).then(LogEscaper::default);
        Self {
            terminal,
            target,
            timestamps: false,
            prefix: false,
            element: String::new(),
            records: records.then(Records::default),
            stdout: Output::new(tokio::io::stdout(), escaper(io::stdout().is_terminal())),
            stderr: Output::new(tokio::io::stderr(), escaper(io::stderr().is_terminal())),
        }
    }

    /// Each line with the time at which it reached the master, with the element that wrote it.
    pub(crate) fn decorated(mut self, timestamps: bool, prefix: bool) -> Self {
        (self.timestamps, self.prefix) = (timestamps, prefix);
        self
    }

    /// Whether pieces have to come with their times.
    pub(crate) fn needs_times(&self) -> bool {
        self.timestamps || self.records.is_some()
    }

    /// What follows is the log of this element.
    pub(crate) fn begin(&mut self, element: String) {
        self.element = element;
    }

    /// Writes a piece of the log through to its output.
    pub(crate) async fn write(&mut self, piece: &LogPiece) -> Result<(), CtlError> {
        if let Some(records) = &mut self.records {
            let bytes = records.take(piece, &self.element, self.terminal)?;
            return self.stdout.write(&bytes).await.map_err(CtlError::output);
        }
        let head = if self.timestamps || self.prefix { Some(self.head(piece.time)) } else { None };
        let head = head.as_deref();
        match (self.target, piece.stream) {
            (LogTarget::Split, LogStream::Stdout) | (LogTarget::Stdout, _) => {
                self.stdout.lines(&piece.data, head).await
            }
            (LogTarget::Split, LogStream::Stderr) | (LogTarget::Stderr, _) => {
                self.stderr.lines(&piece.data, head).await
            }
        }
        .map_err(CtlError::output)
    }

    /// What stands before each line.
    fn head(&self, time: Option<WallTime>) -> String {
        let mut head = String::new();
        if let Some(time) = time.filter(|_| self.timestamps) {
            head.push_str(&format!("{time} "));
        }
        if self.prefix {
            head.push_str(&format!("{}| ", self.element));
        }
        head
    }

    /// The log of one run is over; the next begins anew.
    pub(crate) async fn finish(&mut self) -> Result<(), CtlError> {
        if let Some(records) = &mut self.records {
            let bytes = records.finish(&self.element, self.terminal)?;
            return self.stdout.write(&bytes).await.map_err(CtlError::output);
        }
        let decorated = self.timestamps || self.prefix;
        self.stdout.finish(decorated).await.map_err(CtlError::output)?;
        self.stderr.finish(decorated).await.map_err(CtlError::output)
    }
}

impl<W: AsyncWrite + Unpin> Output<W> {
    fn new(writer: W, escaper: Option<LogEscaper>) -> Self {
        Self { writer, escaper, in_line: false }
    }

    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.writer.write_all(bytes).await?;
        self.writer.flush().await
    }

    /// Writes log, with `head` before each line.
    async fn lines(&mut self, data: &[u8], head: Option<&str>) -> io::Result<()> {
        let escaped = self.escaper.as_mut().map(|escaper| escaper.push(data));
        let data = escaped.as_ref().map_or(data, |text| text.as_bytes());
        let Some(head) = head else { return self.write(data).await };
        let mut out = Vec::with_capacity(data.len() + head.len());
        for line in data.split_inclusive(|&byte| byte == b'\n') {
            if !self.in_line {
                out.extend_from_slice(head.as_bytes());
            }
            out.extend_from_slice(line);
            self.in_line = !line.ends_with(b"\n");
        }
        self.write(&out).await
    }

    /// Lines that have something before them are ended; otherwise the bytes stay as they are.
    async fn finish(&mut self, decorated: bool) -> io::Result<()> {
        let mut rest = self.escaper.as_mut().map(LogEscaper::finish).unwrap_or_default();
        if decorated && std::mem::take(&mut self.in_line) {
            rest.push('\n');
        }
        self.write(rest.as_bytes()).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_a_terminal_gets_escapes() {
        for (escaper, expected) in [(None, &b"\x1b[1m\xff"[..]), (Some(LogEscaper::default()), b"\\u{1b}[1m\\xff")] {
            let mut output = Output::new(Vec::new(), escaper);
            output.lines(b"\x1b[1m\xff", None).await.expect("written");
            output.finish(false).await.expect("finished");
            assert_eq!(output.writer, expected);
        }
    }

    #[tokio::test]
    async fn each_line_has_its_head_once_however_it_comes() {
        let text = b"one\ntwo\n\nthree";
        for step in 1..=text.len() {
            let mut output = Output::new(Vec::new(), None);
            for piece in text.chunks(step) {
                output.lines(piece, Some("a| ")).await.expect("written");
            }
            output.finish(true).await.expect("finished");
            assert_eq!(String::from_utf8_lossy(&output.writer), "a| one\na| two\na| \na| three\n", "by {step}");
        }
    }
}
