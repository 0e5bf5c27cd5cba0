//! The output files of one run: all of them are recorded, or none.

use std::sync::Arc;

use cloudaid_core::files::FileUsage;
use shared::error::{ApiError, ErrorCode};
use shared::id::AttemptKey;
use shared::link::{ROOM_BYTES, ROOM_FILES};
use shared::proto;
use shared::proto::file_frame::Content;
use tonic::{Status, Streaming};

use super::Caller;
use crate::grpc::{GrpcState, audit, status};
use crate::master::files::{Upload, UploadError};
use crate::master::handle::files::detached;

/// Takes the whole stream. What was written before it broke off is removed.
pub(super) async fn take(
    state: &GrpcState,
    caller: Caller,
    mut inbound: Streaming<proto::FileFrame>,
) -> Result<proto::FileReceipt, Status> {
    let key = match inbound.message().await?.and_then(|frame| frame.content) {
        Some(Content::Attempt(attempt)) => {
            AttemptKey::try_from(attempt).map_err(|error| Status::invalid_argument(error.to_string()))?
        }
        Some(Content::Begin(_) | Content::Data(_) | Content::End(_)) | None => {
            return Err(Status::invalid_argument("the first frame must name the attempt"));
        }
    };
    let given_up = |error: &ApiError| given_up(state, &caller, key, error);
    state.cluster.live().check(key, &caller.worker).map_err(|error| given_up(&error))?;
    let room = state.cluster.room_for(key).await.map_err(|error| status(&error))?;
    let mut upload = state.files.begin(key, room);
    while let Some(frame) = inbound.message().await? {
        take_frame(&mut upload, frame).await?;
    }
    let files: Arc<[_]> = upload.files().map_err(|error| refused(&error))?.into();
    let receipt = proto::FileReceipt { files: files.len() as u32, bytes: files.iter().map(|file| file.size).sum() };
    let (cluster, by) = (state.cluster.clone(), caller.worker.clone());
    // To its end, also when the worker goes: what is recorded must not be taken for what is not.
    let stored = detached(async move {
        let stored = cluster.files_stored(by, key, files).await;
        // Only what was refused for good is known to be nobody's.
        if !matches!(&stored, Err(error) if matches!(error.code, ErrorCode::Conflict | ErrorCode::ResourceExhausted)) {
            upload.keep();
        }
        stored
    });
    match stored.await {
        Ok(()) => Ok(receipt),
        Err(error) if error.code == ErrorCode::Conflict => Err(given_up(&error)),
        // Others of this user have stored something meanwhile.
        Err(error) if error.code == ErrorCode::ResourceExhausted => {
            match state.cluster.room_for(key).await.map_err(|error| status(&error))? {
                Some(room) => Err(no_room(error.message, room)),
                // And by now they may keep anything.
                None => Err(Status::unavailable("there is room by now; send it again")),
            }
        }
        Err(error) => Err(status(&error)),
    }
}

async fn take_frame(upload: &mut Upload, frame: proto::FileFrame) -> Result<(), Status> {
    let taken = match frame.content {
        Some(Content::Begin(begin)) => upload.begin_file(begin.path.to_vec(), begin.size).await,
        Some(Content::Data(data)) => upload.write(data).await,
        Some(Content::End(end)) => {
            let digest = <[u8; 32]>::try_from(&end.blake3[..]);
            let digest = digest.map_err(|_| Status::invalid_argument("a BLAKE3 digest has 32 bytes"))?;
            upload.end_file(digest).await
        }
        Some(Content::Attempt(_)) => return Err(Status::invalid_argument("one upload is for one attempt")),
        None => return Err(Status::invalid_argument("a file frame without content")),
    };
    taken.map_err(|error| refused(&error))
}

/// What arrived is not what was announced, or cannot be kept.
fn refused(error: &UploadError) -> Status {
    match error {
        UploadError::Io(error) => {
            tracing::error!("The file store failed: {error}");
            Status::unavailable("the file store failed; the master's log says more")
        }
        UploadError::NoRoom(room) => no_room(error.to_string(), *room),
        refused => Status::invalid_argument(refused.to_string()),
    }
}

/// The worker is told what there is room for, so that it can choose.
fn no_room(message: String, FileUsage { bytes, files }: FileUsage) -> Status {
    let mut status = Status::resource_exhausted(message);
    status.metadata_mut().insert(ROOM_BYTES, bytes.into());
    status.metadata_mut().insert(ROOM_FILES, files.into());
    status
}

/// The run is not live any more: the worker shall not try again.
fn given_up(state: &GrpcState, caller: &Caller, key: AttemptKey, error: &ApiError) -> Status {
    if error.code == ErrorCode::Unavailable {
        return status(error);
    }
    tracing::warn!("Upload from worker {} refused: {}", caller.worker, error.message);
    audit::refused(state, &caller.peer, "gRPC UploadTaskFiles", &key.to_string(), error.code);
    Status::failed_precondition(format!("{} ({})", error.message, error.hint))
}
