//! The log of a container as the engine kept it, complete.
//!
//! A followed log can lack its end: the engine stops following when the container has ended, and what was written last,
//! such as a line without a newline, may still be unread. So what follows a container is read a second time when it
//! has ended, without following, from the last place on that is known ([`marks`]), and given out from where the first
//! reading stopped.

mod long_lines;
mod marks;
mod repeats;

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
use self::marks::Marks;
use self::repeats::Repeats;
use super::CALL_LIMIT;
use super::errors::{Failure, short, within};
use super::wait::has_outlived_its_engine;
use crate::runtime::{LogMark, LogPiece, LogPieces, RuntimeError};

/// Places to begin a reading at, in one file of the engine: the last one is always there.
const MARKS_PER_FILE: u64 = 4;
/// Before following again what has stopped though the container runs.
const PAUSE: Duration = Duration::from_millis(100);

/// The log of one container.
#[derive(Debug, Clone)]
pub(super) struct Log {
    pub(super) engine: Docker,
    /// Where the engine is.
    pub(super) socket: String,
    /// The engine's id of the container.
    pub(super) id: String,
    /// The engine keeps it in files of so many bytes.
    pub(super) file: u64,
}

impl Log {
    /// Everything from `from` on, until the container has ended and all is read. One that is known to have ended is read once.
    /// `is_in_doubt`: the container has had another engine.
    pub(super) fn read(self, ended: bool, from: LogMark, is_in_doubt: bool) -> LogPieces {
        let source = open(&self.engine, &self.id, !ended, from).boxed();
        let (lines, marks) = (LongLines::after(from.cut), Marks::after(from, self.file / MARKS_PER_FILE));
        let reader = Reader {
            source,
            lines,
            marks,
            repeats: Repeats::new(self.file, is_start(from)),
            log: self,
            follows: !ended,
            given: from.bytes,
            skip: [0; 2],
            found: None,
            next: None,
            from: Some(from),
            is_in_doubt,
        };
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
}

/// The last lines of both streams, without waiting for more.
pub(super) fn last_lines(
    engine: &Docker,
    id: &str,
    lines: u32,
) -> impl Stream<Item = Result<LogOutput, Error>> + use<> {
    let options = streams().tail(&lines.to_string());
    engine.logs(id, Some(options.build()))
}

/// What was written from there on. With times: without them the engine keeps empty frames to itself, and an empty one can
/// be all that ends a long line.
fn open(
    engine: &Docker,
    id: &str,
    follow: bool,
    from: LogMark,
) -> impl Stream<Item = Result<LogOutput, Error>> + use<> {
    // 0 is everything: what was written at about the time of the first may be noted a moment before it.
    let since = if from.first { 0 } else { i32::try_from(from.at).unwrap_or(i32::MAX) };
    engine.logs(id, Some(streams().follow(follow).tail("all").since(since).timestamps(true).build()))
}

/// Whether it is the first byte, as far as that is known.
fn is_start(mark: LogMark) -> bool {
    mark.bytes == [0; 2]
}

fn streams() -> LogsOptionsBuilder {
    LogsOptionsBuilder::default().stdout(true).stderr(true)
}

/// A reading under way.
struct Reader {
    log: Log,
    source: BoxStream<'static, Result<LogOutput, Error>>,
    /// Those of `source`.
    lines: LongLines,
    marks: Marks,
    repeats: Repeats,
    /// Whether `source` follows; what does not is the last.
    follows: bool,
    /// Bytes given out, of each stream.
    given: [u64; 2],
    /// Bytes of `source` that an earlier one has given out.
    skip: [u64; 2],
    /// A place to tell of.
    found: Option<LogMark>,
    /// What is behind a gap.
    next: Option<LogPiece>,
    /// Where `source` begins, until its first frame has come.
    from: Option<LogMark>,
    /// What was written may be missing anywhere, which is to be told at the end.
    is_in_doubt: bool,
}

impl Reader {
    async fn next(&mut self) -> Result<Option<LogPiece>, RuntimeError> {
        loop {
            if self.next.is_some() {
                return Ok(self.next.take());
            }
            if let Some(mark) = self.found.take() {
                return Ok(Some(LogPiece::Mark(mark)));
            }
            match self.source.next().await {
                Some(item) => {
                    let Some((stream, mut frame)) = piece(item)? else { continue };
                    let whole = frame.clone();
                    let second = self.marks.time(&mut frame)?;
                    if self.follows && self.repeats.has(stream, &whole, frame.len()) {
                        continue;
                    }
                    let (first, is_gap) = self.begin(second);
                    let frame = self.lines.mend(stream, frame);
                    let (length, cut, inside) =
                        (frame.len() as u64, self.lines.is_cut(stream), self.lines.is_inside(stream));
                    self.found = self.marks.pass(stream, second, length, cut, inside).or(first);
                    let data = self.new_part(stream, frame).map(|(stream, data)| LogPiece::Data(stream, data));
                    if is_gap {
                        self.next = data;
                        return Ok(Some(self.gap()));
                    }
                    if data.is_some() {
                        return Ok(data);
                    }
                }
                None if self.follows => self.reopen().await?,
                None => {
                    if std::mem::take(&mut self.skip) != [0; 2] {
                        return Ok(Some(self.gap()));
                    }
                    return Ok(std::mem::take(&mut self.is_in_doubt).then_some(LogPiece::Doubt));
                }
            }
        }
    }

    /// Before a frame of that second. Before the first, it is told where the log begins, if that was not known, and whether
    /// something was there before.
    fn begin(&mut self, second: i64) -> (Option<LogMark>, bool) {
        let Some(from) = self.from.take() else { return (None, false) };
        let is_gap = from.is_past(second);
        if !is_gap && from != LogMark::default() {
            return (None, false);
        }
        let mut bytes = from.bytes;
        if is_gap {
            // None of this was given out.
            (bytes, self.skip) = (self.given, [0; 2]);
            self.repeats = Repeats::new(self.log.file, false);
        }
        let cut = LogStream::ALL.map(|stream| self.lines.is_cut(stream));
        let first = LogMark { at: second, bytes, cut, first: true };
        self.marks = Marks::after(first, self.log.file / MARKS_PER_FILE);
        (Some(first), is_gap)
    }

    fn gap(&self) -> LogPiece {
        tracing::warn!("the engine has dropped a part of the log of container {} before it was read", self.log.id);
        LogPiece::Gap
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
        let inspect = self.log.engine.inspect_container(&self.log.id, None::<InspectContainerOptions>);
        let state = within(CALL_LIMIT, inspect).await.map_err(Failure::of_container)?.state;
        self.is_in_doubt |= has_outlived_its_engine(state.as_ref(), &self.log.socket).await;
        self.follows = state.and_then(|state| state.running).unwrap_or(false);
        if self.follows {
            tokio::time::sleep(PAUSE).await;
        }
        let mark = self.marks.last();
        self.source = open(&self.log.engine, &self.log.id, self.follows, mark).boxed();
        self.from = Some(mark);
        (self.lines, self.marks) = (LongLines::after(mark.cut), Marks::after(mark, self.log.file / MARKS_PER_FILE));
        self.repeats = Repeats::new(self.log.file, is_start(mark));
        self.skip = [0, 1].map(|of| self.given[of] - mark.bytes[of]);
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

    /// Of these frames, each with its second, from there on.
    fn reader(from: LogMark, frames: &[(u32, &str)]) -> Reader {
        let engine = Docker::connect_with_http("http://127.0.0.1:1", 1, API_DEFAULT_VERSION).expect("a client");
        let frames: Vec<Result<LogOutput, Error>> = frames
            .iter()
            .map(|(second, text)| Bytes::from(format!("1970-01-01T00:00:{second:02}.000000000Z {text}")))
            .map(|message| Ok(LogOutput::StdOut { message }))
            .collect();
        Reader {
            log: Log { engine, socket: "/nowhere".to_owned(), id: "x".to_owned(), file: 4 << 20 },
            source: stream::iter(frames).boxed(),
            lines: LongLines::after(from.cut),
            marks: Marks::after(from, 1 << 20),
            repeats: Repeats::new(4 << 20, true),
            follows: false,
            given: from.bytes,
            skip: [0; 2],
            found: None,
            next: None,
            from: Some(from),
            is_in_doubt: false,
        }
    }

    async fn all(mut reader: Reader) -> Vec<LogPiece> {
        let mut pieces = Vec::new();
        while let Some(piece) = reader.next().await.expect("a piece") {
            pieces.push(piece);
        }
        pieces
    }

    #[tokio::test]
    async fn a_start_that_was_dropped_is_told_to_who_knows_when_it_was() {
        let data = |text: &'static str| LogPiece::Data(LogStream::Stdout, Bytes::from_static(text.as_bytes()));
        let first = |at, bytes| LogMark { at, bytes, cut: [false; 2], first: true };
        let told = all(reader(LogMark::default(), &[(5, "a\n"), (6, "b\n")])).await;
        assert_eq!(told, [data("a\n"), LogPiece::Mark(first(5, [0, 0])), data("b\n")]);
        let again = all(reader(first(5, [0, 0]), &[(5, "a\n"), (6, "b\n")])).await;
        assert_eq!(again, [data("a\n"), data("b\n")]);
        let late = all(reader(first(5, [0, 0]), &[(6, "b\n")])).await;
        assert_eq!(late, [LogPiece::Gap, data("b\n"), LogPiece::Mark(first(6, [0, 0]))]);
        // Also behind a clock that was set back; and what is behind a gap is a start like any other.
        let late = all(reader(first(5, [70, 2]), &[(3, "b\n")])).await;
        assert_eq!(late, [LogPiece::Gap, data("b\n"), LogPiece::Mark(first(3, [70, 2]))]);
        // A place further on, as before.
        let place = LogMark { first: false, ..first(5, [70, 2]) };
        assert_eq!(all(reader(place, &[(5, "b\n")])).await, [data("b\n")]);
        let late = all(reader(place, &[(7, "b\n")])).await;
        assert_eq!(late, [LogPiece::Gap, data("b\n"), LogPiece::Mark(first(7, [70, 2]))]);
    }

    #[tokio::test]
    async fn what_was_dropped_before_a_second_reading_is_not_taken_for_what_was_given_out() {
        let data = |text: &'static str| LogPiece::Data(LogStream::Stdout, Bytes::from_static(text.as_bytes()));
        let start = LogMark { at: 5, bytes: [0; 2], cut: [false; 2], first: true };
        let mut reader = reader(start, &[(9, "other\n")]);
        (reader.given, reader.skip) = ([2, 0], [2, 0]);
        let first = LogMark { at: 9, bytes: [2, 0], ..start };
        assert_eq!(all(reader).await, [LogPiece::Gap, data("other\n"), LogPiece::Mark(first)]);
    }

    #[tokio::test]
    async fn a_second_reading_goes_on_where_the_first_stopped() {
        let mut reader = reader(LogMark::default(), &[]);
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
