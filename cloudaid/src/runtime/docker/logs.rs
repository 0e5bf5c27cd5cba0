//! The log of a container as the engine kept it.

use bollard::Docker;
use bollard::container::LogOutput;
use bollard::query_parameters::LogsOptionsBuilder;
use futures_util::{Stream, StreamExt, future};
use shared::link::LogStream;

use super::errors::Failure;
use crate::runtime::{LogPieces, RuntimeError};

/// Everything from the first byte, until the container has ended and all is read.
pub(super) fn follow(engine: &Docker, id: &str) -> LogPieces {
    let options = LogsOptionsBuilder::default().follow(true).stdout(true).stderr(true).tail("all").build();
    let output = engine.logs(id, Some(options));
    Box::pin(output.filter_map(|item| future::ready(piece(item).transpose())))
}

/// The last lines of both streams, without waiting for more.
pub(super) fn last_lines(
    engine: &Docker,
    id: &str,
    lines: u32,
) -> impl Stream<Item = Result<LogOutput, bollard::errors::Error>> + use<> {
    let options = LogsOptionsBuilder::default().stdout(true).stderr(true).tail(&lines.to_string()).build();
    engine.logs(id, Some(options))
}

fn piece(item: Result<LogOutput, bollard::errors::Error>) -> Result<Option<(LogStream, bytes::Bytes)>, RuntimeError> {
    match item.map_err(|error| Failure::from(error).of_container())? {
        LogOutput::StdOut { message } => Ok(Some((LogStream::Stdout, message))),
        LogOutput::StdErr { message } => Ok(Some((LogStream::Stderr, message))),
        LogOutput::StdIn { .. } => Ok(None),
        // No frame of ours: the engine broke off inside one, or puts an error of its own into the stream.
        LogOutput::Console { message } => Err(RuntimeError::Engine(format!(
            "the log breaks off: {}",
            super::errors::short(&String::from_utf8_lossy(&message))
        ))),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn streams_are_told_apart_and_a_broken_frame_is_an_error() {
        let message = Bytes::from_static(b"x\xff");
        let piece = |output| piece(Ok(output));
        let stdout = piece(LogOutput::StdOut { message: message.clone() });
        assert_eq!(stdout, Ok(Some((LogStream::Stdout, message.clone()))));
        let stderr = piece(LogOutput::StdErr { message: message.clone() });
        assert_eq!(stderr, Ok(Some((LogStream::Stderr, message.clone()))));
        assert!(matches!(piece(LogOutput::Console { message }), Err(RuntimeError::Engine(_))));
    }
}
