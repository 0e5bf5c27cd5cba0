//! `PushLogs` of the agent: log bytes of all runs into their spools.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;
use shared::convert::attempt_key;
use shared::id::AttemptKey;
use shared::link::LogStream;
use shared::proto::log_frame::Content;
use shared::proto::{LogAck, LogFrame};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::desk::{Desk, Known, blocking};
use super::session::Answers;
use super::spool::Offsets;

/// The most frames that are made durable together.
const FRAMES_PER_SYNC: usize = 64;
/// Acknowledgements that may wait to be sent; then the agent has to wait too.
const ACKS_LIMIT: usize = 256;

/// One frame, read.
enum Piece {
    /// Asks how many bytes are here.
    Open,
    Data(LogStream, u64, Bytes),
    /// What is before these places and not here is nowhere any more.
    Cut(Offsets),
}

/// Begins to take frames; the returned stream is the acknowledgements.
pub(super) fn take(desk: Arc<Desk>, mut inbound: Streaming<LogFrame>) -> Answers<LogAck> {
    let (acks, receiver) = mpsc::channel(ACKS_LIMIT);
    tokio::spawn(async move {
        while let Ok(Some(first)) = inbound.message().await {
            // One frame is waited for; what else is there by then is made durable with it.
            let mut frames = vec![first];
            while frames.len() < FRAMES_PER_SYNC
                && let Some(Ok(Some(frame))) = inbound.message().now_or_never()
            {
                frames.push(frame);
            }
            let answers = match keep(&desk, frames).await {
                Ok(answers) => answers.into_iter().map(Ok).collect(),
                Err(status) => vec![Err(status)],
            };
            let broken = answers.iter().any(Result::is_err);
            for answer in answers {
                if acks.send(answer).await.is_err() {
                    return;
                }
            }
            if broken {
                return;
            }
        }
    });
    Box::pin(ReceiverStream::new(receiver))
}

/// As many answers to each run as it has sent frames.
async fn keep(desk: &Desk, frames: Vec<LogFrame>) -> Result<Vec<LogAck>, Status> {
    let mut runs: BTreeMap<AttemptKey, Vec<Piece>> = BTreeMap::new();
    for frame in frames {
        let key = attempt_key(frame.attempt)?;
        let piece = match frame.content {
            Some(Content::Open(_)) => Piece::Open,
            Some(Content::Chunk(chunk)) => Piece::Data(LogStream::try_from(chunk.stream())?, chunk.offset, chunk.data),
            Some(Content::Cut(cut)) => Piece::Cut(Offsets { stdout: cut.stdout_offset, stderr: cut.stderr_offset }),
            None => return Err(Status::invalid_argument("a log frame without content")),
        };
        runs.entry(key).or_default().push(piece);
    }
    let mut answers = Vec::new();
    for (key, pieces) in runs {
        let count = pieces.len();
        let answer = match desk.live(key) {
            None => refused(key),
            Some(known) => {
                let offsets = blocking(move || append(&known, pieces)).await;
                taken(key, offsets.map_err(|error| failed(key, &error))?)
            }
        };
        answers.extend(std::iter::repeat_n(answer, count));
    }
    Ok(answers)
}

fn append(known: &Known, pieces: Vec<Piece>) -> io::Result<Offsets> {
    let mut data = Vec::new();
    for piece in pieces {
        match piece {
            Piece::Open => {}
            Piece::Data(stream, offset, bytes) => data.push((stream, offset, bytes)),
            Piece::Cut(to) => {
                // It stands behind what came before it.
                known.spool.append(&std::mem::take(&mut data))?;
                known.spool.cut(to)?;
            }
        }
    }
    if data.is_empty() { known.spool.offsets() } else { known.spool.append(&data) }
}

fn taken(key: AttemptKey, Offsets { stdout, stderr }: Offsets) -> LogAck {
    let attempt = Some(key.into());
    LogAck { attempt, stdout_offset: stdout, stderr_offset: stderr, takes_cuts: true, ..LogAck::default() }
}

fn refused(key: AttemptKey) -> LogAck {
    LogAck { attempt: Some(key.into()), refused: "nobody waits for this run".to_owned(), ..LogAck::default() }
}

fn failed(key: AttemptKey, error: &io::Error) -> Status {
    tracing::error!(task = %key, %error, "The log of a task cannot be kept; trying again");
    Status::unavailable(format!("the log cannot be kept: {error}"))
}
