//! Printing the log of a task: raw bytes, each stream to its own.

use std::io::{self, IsTerminal};

use shared::link::LogStream;
use tokio::io::{AsyncWrite, AsyncWriteExt, Stderr, Stdout};

use super::escape::LogEscaper;
use crate::exit::CtlError;

/// Where a log goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LogTarget {
    /// stdout to stdout, stderr to stderr.
    Split,
    /// All of it to stderr: stdout is for the result.
    Stderr,
}

/// Prints a log as it comes. Asynchronous, so that Ctrl-C is heard while a slow reader holds the output up.
pub(crate) struct LogPrinter {
    target: LogTarget,
    stdout: Output<Stdout>,
    stderr: Output<Stderr>,
}

struct Output<W> {
    writer: W,
    /// For a terminal.
    escaper: Option<LogEscaper>,
}

impl LogPrinter {
    /// With `raw`, a terminal gets the bytes as they are; anything else always does.
    pub(crate) fn new(target: LogTarget, raw: bool) -> Self {
        let escaper = |terminal: bool| (terminal && !raw).then(LogEscaper::default);
        Self {
            target,
            stdout: Output { writer: tokio::io::stdout(), escaper: escaper(io::stdout().is_terminal()) },
            stderr: Output { writer: tokio::io::stderr(), escaper: escaper(io::stderr().is_terminal()) },
        }
    }

    /// Writes a piece of the log through to its output.
    pub(crate) async fn write(&mut self, stream: LogStream, data: &[u8]) -> Result<(), CtlError> {
        match (self.target, stream) {
            (LogTarget::Split, LogStream::Stdout) => self.stdout.write(data).await,
            (LogTarget::Split, LogStream::Stderr) | (LogTarget::Stderr, _) => self.stderr.write(data).await,
        }
        .map_err(CtlError::output)
    }

    /// The log of one run is over; the next begins anew.
    pub(crate) async fn finish(&mut self) -> Result<(), CtlError> {
        self.stdout.finish().await.map_err(CtlError::output)?;
        self.stderr.finish().await.map_err(CtlError::output)
    }
}

impl<W: AsyncWrite + Unpin> Output<W> {
    async fn write(&mut self, data: &[u8]) -> io::Result<()> {
        match &mut self.escaper {
            Some(escaper) => {
                let text = escaper.push(data);
                self.writer.write_all(text.as_bytes()).await?;
            }
            None => self.writer.write_all(data).await?,
        }
        self.writer.flush().await
    }

    async fn finish(&mut self) -> io::Result<()> {
        if let Some(escaper) = &mut self.escaper {
            let text = escaper.finish();
            self.writer.write_all(text.as_bytes()).await?;
        }
        self.writer.flush().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_a_terminal_gets_escapes() {
        for (escaper, expected) in [(None, &b"\x1b[1m\xff"[..]), (Some(LogEscaper::default()), b"\\u{1b}[1m\\xff")] {
            let mut output = Output { writer: Vec::new(), escaper };
            output.write(b"\x1b[1m\xff").await.expect("written");
            output.finish().await.expect("finished");
            assert_eq!(output.writer, expected);
        }
    }
}
