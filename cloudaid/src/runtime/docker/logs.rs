//! The log of a container as the engine kept it, complete.
//!
//! A followed log can lack its end: the engine stops following when the container has ended, and what was written last,
//! such as a line without a newline, may still be unread. So what follows a container is read a second time when it
//! has ended, without following, and given out from where the first reading stopped.

mod long_lines;

use std::time::Duration;

use bollard::Docker;
use bollard::container::LogOutput;
use bollard::errors::Error;
use bollard::query_parameters::{InspectContainerOptions, LogsOptionsBuilder};
use bytes::{Buf, Bytes};
use futures_util::stream::{self, BoxStream};
use futures_util::{Stream, StreamExt};
use shared::link::LogStream;

use self::long_lines::LongLines;
use super::CALL_LIMIT;
use super::errors::{Failure, short, within};
use crate::runtime::{LogPieces, RuntimeError};

/// Before following again what has stopped though the container runs.
const PAUSE: Duration = Duration::from_millis(100);
/// Bytes of an RFC 3339 time with nanoseconds and an offset, and the space behind it.
const LONGEST_TIME: usize = 36;

/// Everything from the first byte, until the container has ended and all is read. One that is known to have ended is
/// read once.
pub(super) fn read(engine: &Docker, id: String, ended: bool) -> LogPieces {
    let source = open(engine, &id, !ended, "all", true).boxed();
    let lines = LongLines::default();
    let reader = Reader { engine: engine.clone(), id, source, lines, follows: !ended, given: [0; 2], skip: [0; 2] };
    let pieces = stream::unfold(Some(reader), |reader| async {
        let mut reader = reader?;
        match reader.next().await {
            Ok(Some(piece)) => Some((Ok(piece), Some(reader))),
            Ok(None) => None,
            Err(error) => Some((Err(error), None)),
        }
    });
    pieces.boxed()
}

/// The last lines of both streams, without waiting for more.
pub(super) fn last_lines(
    engine: &Docker,
    id: &str,
    lines: u32,
) -> impl Stream<Item = Result<LogOutput, Error>> + use<> {
    open(engine, id, false, &lines.to_string(), false)
}

fn open(
    engine: &Docker,
    id: &str,
    follow: bool,
    tail: &str,
    times: bool,
) -> impl Stream<Item = Result<LogOutput, Error>> + use<> {
    let options = LogsOptionsBuilder::default().follow(follow).stdout(true).stderr(true).tail(tail).timestamps(times);
    engine.logs(id, Some(options.build()))
}

/// A reading under way.
struct Reader {
    engine: Docker,
    id: String,
    source: BoxStream<'static, Result<LogOutput, Error>>,
    /// Those of `source`.
    lines: LongLines,
    /// Whether `source` follows; what does not is the last.
    follows: bool,
    /// Bytes given out, of each stream.
    given: [u64; 2],
    /// Bytes of `source` that an earlier one has given out.
    skip: [u64; 2],
}

impl Reader {
    async fn next(&mut self) -> Result<Option<(LogStream, Bytes)>, RuntimeError> {
        loop {
            match self.source.next().await {
                Some(item) => {
                    let Some((stream, frame)) = piece(item)? else { continue };
                    let frame = self.lines.mend(stream, without_time(frame)?);
                    let piece = self.new_part(stream, frame);
                    if piece.is_some() {
                        return Ok(piece);
                    }
                }
                None if self.follows => self.reopen().await?,
                None => {
                    if self.skip != [0; 2] {
                        tracing::warn!(
                            "the log of container {} is so long that the engine has dropped its start",
                            self.id
                        );
                    }
                    return Ok(None);
                }
            }
        }
    }

    /// What of a piece has not been given out.
    fn new_part(&mut self, stream: LogStream, mut bytes: Bytes) -> Option<(LogStream, Bytes)> {
        let (skip, given) = (&mut self.skip[stream as usize], &mut self.given[stream as usize]);
        let known = usize::try_from(*skip).unwrap_or(usize::MAX).min(bytes.len());
        bytes.advance(known);
        *skip -= known as u64;
        *given += bytes.len() as u64;
        (!bytes.is_empty()).then_some((stream, bytes))
    }

    async fn reopen(&mut self) -> Result<(), RuntimeError> {
        let inspect = self.engine.inspect_container(&self.id, None::<InspectContainerOptions>);
        let state = within(CALL_LIMIT, inspect).await.map_err(Failure::of_container)?.state;
        self.follows = state.and_then(|state| state.running).unwrap_or(false);
        if self.follows {
            tokio::time::sleep(PAUSE).await;
        }
        self.source = open(&self.engine, &self.id, self.follows, "all", true).boxed();
        (self.skip, self.lines) = (self.given, LongLines::default());
        Ok(())
    }
}

fn piece(item: Result<LogOutput, Error>) -> Result<Option<(LogStream, Bytes)>, RuntimeError> {
    match item.map_err(|error| Failure::from(error).of_container())? {
        LogOutput::StdOut { message } => Ok(Some((LogStream::Stdout, message))),
        LogOutput::StdErr { message } => Ok(Some((LogStream::Stderr, message))),
        LogOutput::StdIn { .. } => Ok(None),
        // No frame of ours: the engine broke off inside one, or puts an error of its own into the stream.
        LogOutput::Console { message } => {
            let text = String::from_utf8_lossy(&message);
            Err(RuntimeError::Engine(format!("the log breaks off: {}", short(&text))))
        }
    }
}

/// The engine puts a time and a space before each frame. They are asked for because without them it keeps empty frames
/// to itself, and an empty one can be all that ends a long line.
fn without_time(mut frame: Bytes) -> Result<Bytes, RuntimeError> {
    let head = &frame[..frame.len().min(LONGEST_TIME)];
    let space = head.iter().position(|byte| *byte == b' ');
    let space = space.ok_or_else(|| {
        RuntimeError::Engine(format!("no time in the log: {}", short(&String::from_utf8_lossy(head))))
    })?;
    frame.advance(space + 1);
    Ok(frame)
}

#[cfg(test)]
mod tests {
    use bollard::API_DEFAULT_VERSION;

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

    #[test]
    fn the_time_before_a_frame_is_not_part_of_it() {
        let without = |frame: &'static str| without_time(Bytes::from_static(frame.as_bytes()));
        assert_eq!(without("2026-11-25T14:08:05.787412915Z  a b\n"), Ok(Bytes::from_static(b" a b\n")));
        assert_eq!(without("2026-11-25T14:08:05.787412915+02:00 "), Ok(Bytes::new()));
        assert!(matches!(without("none"), Err(RuntimeError::Engine(_))));
    }

    #[tokio::test]
    async fn a_second_reading_goes_on_where_the_first_stopped() {
        let engine = Docker::connect_with_http("http://127.0.0.1:1", 1, API_DEFAULT_VERSION).expect("a client");
        let source = stream::empty().boxed();
        let lines = LongLines::default();
        let (given, skip) = ([0; 2], [0; 2]);
        let mut reader = Reader { engine, id: "x".to_owned(), source, lines, follows: true, given, skip };
        let part = |reader: &mut Reader, stream, text: &'static str| {
            reader.new_part(stream, Bytes::from_static(text.as_bytes())).map(|(_, bytes)| bytes)
        };
        assert_eq!(part(&mut reader, LogStream::Stdout, "one"), Some(Bytes::from_static(b"one")));
        assert_eq!(part(&mut reader, LogStream::Stderr, "e"), Some(Bytes::from_static(b"e")));
        reader.skip = reader.given;
        assert_eq!(part(&mut reader, LogStream::Stdout, "o"), None);
        assert_eq!(part(&mut reader, LogStream::Stderr, "e!"), Some(Bytes::from_static(b"!")));
        assert_eq!(part(&mut reader, LogStream::Stdout, "netwo"), Some(Bytes::from_static(b"two")));
        assert_eq!(reader.given, [6, 2]);
    }
}
