//! The uploaded files that a task reads, for the worker that runs it.

use bytes::Bytes;
use cloudaid_core::files::InputFile;
use futures_util::TryStreamExt;
use shared::id::InputId;
use shared::link::CHUNK_LIMIT;
use shared::proto;
use shared::proto::file_frame::Content;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::{Answers, Caller, live};
use crate::grpc::{GrpcState, status};
use crate::master::inputs;

/// Frames that wait for a slow worker.
const FRAMES_LIMIT: usize = 4;

/// Sends all files, if the attempt is live on this worker.
pub(super) async fn send(
    state: &GrpcState,
    caller: Caller,
    attempt: proto::Attempt,
) -> Result<Answers<proto::FileFrame>, Status> {
    let key = live::check(state, &caller, attempt, "FetchInput")?;
    let failed = |error: shared::error::ApiError| status(&error);
    let id = state.cluster.input_of(key.task).await.map_err(failed)?;
    let id = id.ok_or_else(|| Status::not_found(format!("{key} reads no input")))?;
    let files = state.cluster.input_files(id).await.map_err(failed)?;
    let (frames, outbound) = mpsc::channel(FRAMES_LIMIT);
    let store = state.files.clone();
    tokio::spawn(async move {
        for file in files {
            // The worker has gone.
            if let Err(Broken::Gone) = send_file(&store, &frames, id, file).await {
                return;
            }
        }
    });
    Ok(Box::pin(ReceiverStream::new(outbound)))
}

/// Why no more can be sent.
enum Broken {
    Gone,
}

async fn send_file(
    store: &crate::master::files::FileStore,
    frames: &mpsc::Sender<Result<proto::FileFrame, Status>>,
    id: InputId,
    file: InputFile,
) -> Result<(), Broken> {
    let send = async |frame| frames.send(frame).await.map_err(|_| Broken::Gone);
    let frame = |content| Ok(proto::FileFrame { content: Some(content) });
    let begin = proto::FileBegin { path: Bytes::from(file.path.clone()), size: file.size, executable: file.executable };
    send(frame(Content::Begin(begin))).await?;
    let sent = async {
        let mut stream = store.read(inputs::content(id, &file), 0..file.size).await?;
        while let Some(mut data) = stream.try_next().await? {
            while !data.is_empty() {
                let chunk = data.split_to(data.len().min(CHUNK_LIMIT));
                if send(frame(Content::Data(chunk))).await.is_err() {
                    return Ok(Err(Broken::Gone));
                }
            }
        }
        Ok::<_, std::io::Error>(Ok(()))
    };
    match sent.await {
        Ok(sent) => sent?,
        Err(error) => {
            tracing::error!("A file of {id} cannot be read: {error}");
            let message = "the file store failed; the master's log says more";
            let is_lost = matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::InvalidData);
            let status = if is_lost { Status::data_loss(message) } else { Status::unavailable(message) };
            send(Err(status)).await?;
            return Err(Broken::Gone);
        }
    }
    let digest = file.blake3.unwrap_or_default();
    send(frame(Content::End(proto::FileEnd { blake3: Bytes::copy_from_slice(&digest) }))).await
}
