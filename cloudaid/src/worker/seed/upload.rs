//! `UploadTaskFiles` of the agent, passed on to the master while it comes.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use shared::convert::attempt_key;
use shared::proto::file_frame::Content;
use shared::proto::seed::{FileChunk, FileUploadAck};
use shared::proto::{FileFrame, FileReceipt};
use shared::text::printable;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::chunks::Chunks;
use super::desk::{Desk, blocking};

/// Chunks between the agent and the network.
const CHUNKS_LIMIT: usize = 4;
/// A master that takes no byte for this long, or does not answer for this long behind the last one, is asked anew.
const STALL_LIMIT: Duration = Duration::from_secs(60);
const ANSWER_LIMIT: Duration = Duration::from_secs(300);

/// Acknowledges when the master has. What fails for a passing reason is `unavailable`: the agent tries again then.
pub(super) async fn pass_on(desk: &Arc<Desk>, mut frames: Streaming<FileFrame>) -> Result<FileReceipt, Status> {
    let key = match next(&mut frames).await? {
        Some(Content::Attempt(attempt)) => attempt_key(Some(attempt))?,
        Some(Content::Begin(_) | Content::Data(_) | Content::End(_) | Content::Resume(_) | Content::Last(_)) | None => {
            return Err(Status::invalid_argument("the first frame must name the attempt"));
        }
    };
    let known = desk.live(key).ok_or_else(|| Status::failed_precondition("nobody waits for this run"))?;
    let master = desk.master().ok_or_else(|| Status::unavailable("no master has registered this worker"))?;
    let mut client = master.connect().await?;

    let (chunks, outbound) = mpsc::channel(CHUNKS_LIMIT);
    // Held until all has been read: a call whose stream just ends is a whole one to the master.
    let complete = chunks.clone();
    let mut call = pin!(client.upload_task_files(ReceiverStream::new(outbound)));
    let (names, bytes) = tokio::select! {
        fed = feed(frames, Chunks::of(&known.record), chunks) => fed?,
        early = &mut call => {
            let reason = early.map_or_else(|status| status.to_string(), |ack| reason(ack.get_ref()));
            return Err(Status::unavailable(format!("the master ended the upload: {}", printable(&reason))));
        }
    };
    drop(complete);
    let answer = timeout(ANSWER_LIMIT, call).await.map_err(|_| Status::unavailable("the master does not answer"))?;
    let ack = answer.map_err(|status| Status::unavailable(printable(status.message())))?.into_inner();
    if !ack.success {
        return Err(desk.refused_upload(key, &printable(&reason(&ack))));
    }
    let files = u32::try_from(names.len()).unwrap_or(u32::MAX);
    let ledger = desk.ledger();
    let saved = blocking(move || ledger.save_files(key.task, &names)).await;
    saved.map_err(|error| Status::unavailable(format!("the worker's disk cannot be written: {error}")))?;
    Ok(FileReceipt { files, bytes })
}

async fn feed(
    mut frames: Streaming<FileFrame>,
    mut made: Chunks,
    chunks: mpsc::Sender<FileChunk>,
) -> Result<(Vec<String>, u64), Status> {
    loop {
        // A call that is given up looks like one that has ended.
        let content = next(&mut frames).await?.ok_or_else(|| Status::aborted("the upload broke off"))?;
        if matches!(content, Content::Last(_)) {
            break;
        }
        if let Some(chunk) = made.take(content)? {
            send(&chunks, chunk).await?;
        }
    }
    let (last, names, bytes) = made.finish()?;
    if let Some(chunk) = last {
        send(&chunks, chunk).await?;
    }
    Ok((names, bytes))
}

async fn send(chunks: &mpsc::Sender<FileChunk>, chunk: FileChunk) -> Result<(), Status> {
    match timeout(STALL_LIMIT, chunks.send(chunk)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(Status::unavailable("the master ended the upload")),
        Err(_) => Err(Status::unavailable("the master takes no more bytes")),
    }
}

async fn next(frames: &mut Streaming<FileFrame>) -> Result<Option<Content>, Status> {
    match frames.message().await? {
        None => Ok(None),
        Some(frame) => frame.content.map(Some).ok_or_else(|| Status::invalid_argument("a file frame without content")),
    }
}

fn reason(ack: &FileUploadAck) -> String {
    ack.message.chars().take(500).collect()
}
