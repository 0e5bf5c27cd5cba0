//! Log bytes of all runs of a worker: taken, made durable, acknowledged by offset.

use futures_util::FutureExt;
use shared::convert::attempt_key;
use shared::error::ErrorCode;
use shared::id::AttemptKey;
use shared::link::LogStream;
use shared::proto;
use tokio::sync::mpsc;
use tonic::{Status, Streaming};

use super::{Answers, Caller};
use crate::grpc::{GrpcState, audit, status, stopping};
use crate::master::logs::{LogOffsets, LogPiece};

/// The most that is made durable together, in frames and in bytes of them.
const FRAMES_PER_SYNC: usize = 64;
const BYTES_PER_SYNC: usize = 2 * 1024 * 1024;
/// No stream is longer, in bytes. Said of one, it would leave no numbers for what is written next.
const LONGEST: u64 = 1 << 60;
/// Acknowledgements that may wait to be sent; then the worker has to wait too.
const ACKS_IN_FLIGHT: usize = 256;

/// Begins to take frames; the returned stream is the acknowledgements.
pub(super) fn take(state: &GrpcState, caller: Caller, inbound: Streaming<proto::LogFrame>) -> Answers<proto::LogAck> {
    let (acks, receiver) = mpsc::channel(ACKS_IN_FLIGHT);
    let intake = Intake { state: state.clone(), caller, acks };
    tokio::spawn(intake.run(inbound));
    Box::pin(tokio_stream::wrappers::ReceiverStream::new(receiver))
}

struct Intake {
    state: GrpcState,
    caller: Caller,
    acks: mpsc::Sender<Result<proto::LogAck, Status>>,
}

impl Intake {
    async fn run(self, mut inbound: Streaming<proto::LogFrame>) {
        loop {
            // One frame is waited for; what else is there by then is made durable with it.
            let first = match self.state.api.shutdown.run_until_cancelled(inbound.message()).await {
                Some(Ok(Some(first))) => first,
                Some(Ok(None) | Err(_)) => return,
                // What was durable is acknowledged by now; the worker keeps the rest.
                None => {
                    let _gone = self.acks.send(Err(status(&stopping()))).await;
                    return;
                }
            };
            let (mut bytes, mut frames) = (size(&first), vec![first]);
            while frames.len() < FRAMES_PER_SYNC && bytes < BYTES_PER_SYNC {
                match inbound.message().now_or_never() {
                    Some(Ok(Some(frame))) => {
                        bytes += size(&frame);
                        frames.push(frame);
                    }
                    Some(Ok(None) | Err(_)) | None => break,
                }
            }
            if let Err(closed) = self.take_frames(frames).await {
                let _gone = self.acks.send(Err(closed)).await;
                return;
            }
        }
    }

    async fn take_frames(&self, frames: Vec<proto::LogFrame>) -> Result<(), Status> {
        let live = self.state.cluster.live();
        let mut pieces = Vec::with_capacity(frames.len());
        for frame in frames {
            let key = attempt_key(frame.attempt)?;
            let Caller { worker, peer, .. } = &self.caller;
            if let Err(refused) = live.check(key, worker) {
                if refused.code == ErrorCode::Unavailable {
                    self.refuse(key, refused.message, true).await?;
                    continue;
                }
                tracing::warn!("Log of {key} from worker {worker} refused: {}", refused.message);
                audit::refused(&self.state, peer, "gRPC PushLogs", &key.to_string(), refused.code);
                self.refuse(key, refused.message, false).await?;
                continue;
            }
            match frame.content {
                None => return Err(Status::invalid_argument("a log frame without content")),
                Some(proto::log_frame::Content::Open(_)) => match self.state.logs.offsets(&key).await {
                    Ok(offsets) => self.ack(key, offsets).await?,
                    Err(error) => self.put_off(key, &error).await?,
                },
                Some(proto::log_frame::Content::Chunk(chunk)) => pieces.push(piece(key, chunk)?),
                Some(proto::log_frame::Content::Cut(cut)) => {
                    // It stands behind what came before it.
                    self.append(std::mem::take(&mut pieces)).await?;
                    match self.state.logs.cut(&key, place(cut)?).await {
                        Ok(offsets) => self.ack(key, offsets).await?,
                        Err(error) => self.put_off(key, &error).await?,
                    }
                }
            }
        }
        self.append(pieces).await
    }

    async fn append(&self, pieces: Vec<LogPiece>) -> Result<(), Status> {
        for (key, result) in self.state.logs.append(pieces).await {
            match result {
                Ok(offsets) => self.ack(key, offsets).await?,
                Err(refused) => self.put_off(key, &refused).await?,
            }
        }
        Ok(())
    }

    async fn ack(&self, key: AttemptKey, offsets: LogOffsets) -> Result<(), Status> {
        let LogOffsets { stdout, stderr } = offsets;
        let attempt = Some(key.into());
        let taken = proto::LogAck {
            attempt,
            stdout_offset: stdout,
            stderr_offset: stderr,
            takes_cuts: true,
            ..proto::LogAck::default()
        };
        self.answer(taken).await
    }

    /// The worker keeps it and comes again: a full disk here must cost nobody a byte. The other runs go on.
    async fn put_off(&self, key: AttemptKey, problem: &impl std::fmt::Display) -> Result<(), Status> {
        tracing::error!("Log of {key} cannot be kept now, and waits at its worker: {problem}");
        self.refuse(key, "the log store failed; the master's log says more".to_owned(), true).await
    }

    async fn refuse(&self, key: AttemptKey, refused: String, later: bool) -> Result<(), Status> {
        self.answer(proto::LogAck { attempt: Some(key.into()), refused, later, ..proto::LogAck::default() }).await
    }

    async fn answer(&self, ack: proto::LogAck) -> Result<(), Status> {
        self.acks.send(Ok(ack)).await.map_err(|_| Status::cancelled("the worker is gone"))
    }
}

/// Bytes of a log that a frame carries.
fn size(frame: &proto::LogFrame) -> usize {
    match &frame.content {
        Some(proto::log_frame::Content::Chunk(chunk)) => chunk.data.len(),
        Some(proto::log_frame::Content::Open(_) | proto::log_frame::Content::Cut(_)) | None => 0,
    }
}

fn piece(key: AttemptKey, chunk: proto::LogChunk) -> Result<LogPiece, Status> {
    let stream = match chunk.stream() {
        proto::LogStream::Stdout => LogStream::Stdout,
        proto::LogStream::Stderr => LogStream::Stderr,
        proto::LogStream::Unspecified => return Err(Status::invalid_argument("a log chunk of no stream")),
    };
    Ok(LogPiece { key, stream, offset: chunk.offset, data: chunk.data })
}

fn place(cut: proto::LogCut) -> Result<LogOffsets, Status> {
    let offsets = LogOffsets { stdout: cut.stdout_offset, stderr: cut.stderr_offset };
    match offsets.stdout.max(offsets.stderr) <= LONGEST {
        true => Ok(offsets),
        false => Err(Status::invalid_argument("a log is cut behind any end that it may have")),
    }
}
