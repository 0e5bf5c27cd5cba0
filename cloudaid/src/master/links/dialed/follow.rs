//! Follows the log of a run at its worker, and keeps it.
//!
//! The worker tells a log from its beginning and line by line. Whoever dials again passes over as many bytes as are there.

use std::io;

use bytes::BytesMut;
use futures_util::FutureExt;
use shared::id::AttemptKey;
use shared::proto::seed::LogChunk;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};

use super::Inner;
use super::line::{CallError, Line};
use super::merge;
use super::run::Event;
use crate::pause::Pauses;

/// So much is made durable together, if it is there.
const BATCH: usize = 256 * 1024;

/// A log that is followed.
pub(super) struct Follow {
    pub(super) key: AttemptKey,
    /// What the worker calls the run.
    pub(super) name: String,
    pub(super) line: Line,
    /// Told when the first line has come.
    pub(super) events: mpsc::Sender<Event>,
}

/// Why a stream was left.
enum Broken {
    /// It may go on later.
    Later(String),
    /// There is nothing to follow.
    Never,
}

impl Follow {
    /// Follows to the end. `stop`: what has come is kept first.
    pub(super) async fn run(self, inner: &Inner, stop: CancellationToken) {
        let mut pauses = Pauses::default();
        while !stop.is_cancelled() {
            match self.once(inner, &stop).await {
                Ok(()) | Err(Broken::Never) => return,
                Err(Broken::Later(why)) => tracing::debug!("The log of {} is not followed now: {why}", self.name),
            }
            stop.run_until_cancelled(tokio::time::sleep(pauses.next())).await;
        }
    }

    async fn once(&self, inner: &Inner, stop: &CancellationToken) -> Result<(), Broken> {
        let there = inner.logs.offsets(&self.key).await.map_err(later)?.stdout;
        let Some(opened) = stop.run_until_cancelled(self.line.logs(self.name.clone())).await else { return Ok(()) };
        let mut stream = opened.map_err(|error| match error {
            CallError::Refused(why) if why.starts_with("Unimplemented") => Broken::Never,
            error => Broken::Later(error.to_string()),
        })?;
        let mut kept = Kept { offset: there, pass_over: there };
        while let Some(next) = stop.run_until_cancelled(batch(&mut stream)).await {
            let Batch { mut bytes, ended } = next;
            kept.cut(&mut bytes);
            if !bytes.is_empty() {
                // The run may have been given up meanwhile.
                if !inner.cluster.live().contains(self.key) {
                    return Ok(());
                }
                let size = bytes.len() as u64;
                merge::append(&inner.logs, self.key, kept.offset, bytes.freeze()).await.map_err(later)?;
                if kept.offset == 0 {
                    // Its worker may say so too.
                    let _ = self.events.try_send(Event::Seen);
                }
                kept.offset += size;
            }
            match ended {
                None => {}
                Some(Ok(())) => return Ok(()),
                Some(Err(status)) => return Err(Broken::Later(status.message().to_owned())),
            }
        }
        Ok(())
    }
}

#[expect(clippy::needless_pass_by_value, reason = "errors are handed over by value")]
fn later(error: io::Error) -> Broken {
    tracing::error!("The log store failed: {error}");
    Broken::Later(error.to_string())
}

/// How much of a log is there.
struct Kept {
    offset: u64,
    /// Of what the worker tells, so much was told before.
    pass_over: u64,
}

impl Kept {
    /// Leaves what is new.
    fn cut(&mut self, bytes: &mut BytesMut) {
        let known = usize::try_from(self.pass_over).unwrap_or(usize::MAX).min(bytes.len());
        let _ = bytes.split_to(known);
        self.pass_over -= known as u64;
    }
}

/// Lines that came together.
struct Batch {
    bytes: BytesMut,
    /// The stream is over, well or not.
    ended: Option<Result<(), Status>>,
}

/// Waits for one line, and takes what else is there by then.
async fn batch(stream: &mut Streaming<LogChunk>) -> Batch {
    let mut batch = Batch { bytes: BytesMut::new(), ended: None };
    let mut next = Some(stream.message().await);
    while let Some(message) = next {
        batch.take(message);
        next = match batch.ended {
            None if batch.bytes.len() < BATCH => stream.message().now_or_never(),
            _ => None,
        };
    }
    batch
}

impl Batch {
    fn take(&mut self, message: Result<Option<LogChunk>, Status>) {
        match message {
            Ok(Some(chunk)) => {
                push_line(&mut self.bytes, &chunk.content);
                if chunk.is_complete {
                    self.ended = Some(Ok(()));
                }
            }
            Ok(None) => self.ended = Some(Err(Status::aborted("it ended before the run"))),
            Err(status) => self.ended = Some(Err(status)),
        }
    }
}

fn push_line(bytes: &mut BytesMut, line: &str) {
    bytes.extend_from_slice(line.as_bytes());
    if !line.is_empty() && !line.ends_with('\n') {
        bytes.extend_from_slice(b"\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(content: &str, is_complete: bool) -> Result<Option<LogChunk>, Status> {
        Ok(Some(LogChunk { content: content.to_owned(), is_complete, ..LogChunk::default() }))
    }

    #[test]
    fn each_line_ends_and_the_end_is_found() {
        let mut batch = Batch { bytes: BytesMut::new(), ended: None };
        batch.take(chunk("a", false));
        batch.take(chunk("b\n", false));
        batch.take(chunk("", false));
        assert!(batch.ended.is_none());
        batch.take(chunk("c", true));
        assert_eq!(&batch.bytes[..], b"a\nb\nc\n");
        assert!(matches!(batch.ended, Some(Ok(()))));
        batch.take(Ok(None));
        assert!(matches!(batch.ended, Some(Err(_))), "a stream that only ends may have broken off");
    }

    #[test]
    fn what_is_there_is_passed_over() {
        let mut kept = Kept { offset: 5, pass_over: 5 };
        let mut bytes = BytesMut::from(&b"a\nb\n"[..]);
        kept.cut(&mut bytes);
        assert!(bytes.is_empty());
        bytes = BytesMut::from(&b"cd\n"[..]);
        kept.cut(&mut bytes);
        assert_eq!(&bytes[..], b"d\n");
        kept.cut(&mut bytes);
        assert_eq!(&bytes[..], b"d\n");
    }
}
