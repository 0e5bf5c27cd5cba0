//! The output files of one run: all of them are recorded, or none. They come in parts, and an upload that broke off goes on
//! where it was.

use std::sync::Arc;

use cloudaid_core::files::{FileUsage, UploadRecord};
use shared::error::{ApiError, ErrorCode};
use shared::id::AttemptKey;
use shared::link::{ROOM_BYTES, ROOM_FILES};
use shared::proto;
use shared::proto::file_frame::Content;
use tonic::{Status, Streaming};

use super::{Caller, live};
use crate::grpc::{GrpcState, audit, in_words, status};
use crate::master::files::{Part, Place, StagedUpload, UploadError, show_path};
use crate::master::handle::files::detached;
use crate::upload_chain;

mod turns;

use turns::Hold;
pub(crate) use turns::UploadTurns;

/// The longest path that is taken, in bytes.
const PATH_LIMIT: u32 = shared::files_of::PATH_LIMIT as u32;
/// Frames between two looks at whether the run is still live.
const LIVE_EVERY: u64 = 64;

/// Where an upload can go on.
pub(super) async fn describe(
    state: &GrpcState,
    caller: &Caller,
    attempt: proto::Attempt,
) -> Result<proto::UploadState, Status> {
    let key = live::parse(attempt)?;
    state.cluster.live().check(key, &caller.worker).map_err(|error| given_up(state, caller, key, &error))?;
    if let Some(ended) = ended(state, key).await? {
        return Ok(proto::UploadState { ended: Some(ended), path_limit: PATH_LIMIT, ..proto::UploadState::default() });
    }
    let room = state.cluster.free_room(key).await.map_err(|error| status(&error))?;
    let room = room.map(|FileUsage { bytes, files }| proto::UploadRoom { bytes, files });
    let upload = state.cluster.upload_of(key).await.map_err(|error| status(&error))?;
    let upload = upload.unwrap_or_else(nothing);
    let offset = state.files.arrived_of(key, &upload).await.map_err(|error| refused(&error.into()))?;
    let open = upload.open.map(|open| proto::UploadOpen { path: open.path.into(), size: open.size, offset });
    let (files, chain) = (upload.size.files, upload.chain.to_vec().into());
    Ok(proto::UploadState { ended: None, files, chain, open, room, path_limit: PATH_LIMIT, may_leave_open: true })
}

/// Takes the whole stream. What was not part of it when it broke off is removed.
pub(super) async fn take(
    state: &GrpcState,
    caller: Caller,
    mut inbound: Streaming<proto::FileFrame>,
) -> Result<proto::FileReceipt, Status> {
    let key = match inbound.message().await?.and_then(|frame| frame.content) {
        Some(Content::Attempt(attempt)) => live::parse(attempt)?,
        Some(Content::Begin(_) | Content::Data(_) | Content::End(_) | Content::Resume(_) | Content::Last(_)) | None => {
            return Err(Status::invalid_argument("the first frame must name the attempt"));
        }
    };
    state.cluster.live().check(key, &caller.worker).map_err(|error| given_up(state, &caller, key, &error))?;
    // Who comes later has lost the answer to what came before.
    let turn = state.uploads.take(key).await;
    let taken = take_all(state, &caller, (key, turn.hold()), inbound);
    turn.run(taken).await.unwrap_or_else(|| Err(Status::aborted("the worker has begun another upload of these files")))
}

async fn take_all(
    state: &GrpcState,
    caller: &Caller,
    (key, hold): (AttemptKey, Hold),
    mut inbound: Streaming<proto::FileFrame>,
) -> Result<proto::FileReceipt, Status> {
    if let Some(ended) = ended(state, key).await? {
        return Ok(ended);
    }
    let room = state.cluster.free_room(key).await.map_err(|error| status(&error))?;
    let mut next = inbound.message().await?;
    let mut upload = match next.as_ref().and_then(|frame| frame.content.as_ref()) {
        Some(Content::Resume(resume)) => {
            let upload = go_on(state, caller, (key, &hold), room, resume).await?;
            next = inbound.message().await?;
            upload
        }
        _ => {
            begin_anew(state, key).await?;
            state.files.begin_staged(key, room)
        }
    };
    let mut frames = 0u64;
    loop {
        // A call that is given up looks like one that has ended.
        let frame = next.ok_or_else(|| Status::aborted("the upload broke off before its last frame"))?;
        if let Some(Content::Last(last)) = &frame.content {
            check_last(&upload, last)?;
            break;
        }
        take_frame(&mut upload, frame).await?;
        frames += 1;
        // A run may be given up in the middle of a large file.
        if frames.is_multiple_of(LIVE_EVERY) {
            let live = state.cluster.live().check(key, &caller.worker);
            live.map_err(|error| given_up(state, caller, key, &error))?;
        }
        if upload.is_part_due() {
            let is_first = !upload.is_staged();
            let part = upload.take_part().await.map_err(|error| refused(&error))?;
            let (cluster, by, hold) = (state.cluster.clone(), caller.worker.clone(), Arc::clone(&hold));
            // To its end, also when the worker goes: another upload goes on after it.
            let staged = detached(async move {
                let _hold = hold;
                cluster.files_staged(by, key, part).await
            });
            let staged = staged.await;
            if let Err(error) = staged {
                remove_refused(state, key, is_first, &error).await;
                return Err(not_kept(state, caller, key, error).await);
            }
        }
        next = inbound.message().await?;
    }
    let (size, is_staged) = (upload.arrived(), upload.is_staged());
    let part = upload.end().await.map_err(|error| refused(&error))?;
    let (cluster, by) = (state.cluster.clone(), caller.worker.clone());
    // The same: what is recorded must not be taken for what is not.
    let ended = detached(async move {
        let _hold = hold;
        cluster.upload_ended(by, key, (part, is_staged)).await
    });
    match ended.await {
        Ok(()) => Ok(receipt(size)),
        Err(error) => {
            remove_refused(state, key, !is_staged, &error).await;
            Err(not_kept(state, caller, key, error).await)
        }
    }
}

/// What the worker has sent is what has arrived.
fn check_last(upload: &StagedUpload, last: &proto::UploadEnd) -> Result<(), Status> {
    if (last.files, &last.chain[..]) == (upload.arrived().files, &upload.chain()[..]) {
        return Ok(());
    }
    Err(Status::aborted("other files have arrived than the worker has sent"))
}

/// The only part of an upload was refused for good: what it has brought is nobody's. Of one with more parts a record says that
/// it is there, and it goes with that.
async fn remove_refused(state: &GrpcState, key: AttemptKey, is_only: bool, error: &ApiError) {
    let is_final = matches!(error.code, ErrorCode::Conflict | ErrorCode::ResourceExhausted);
    if is_only
        && is_final
        && let Err(error) = state.files.remove_run(key).await
    {
        tracing::warn!(%error, "Files of {key} that were refused cannot be removed now");
    }
}

/// The files of this run are recorded already, and the answer was lost.
async fn ended(state: &GrpcState, key: AttemptKey) -> Result<Option<proto::FileReceipt>, Status> {
    let size = state.cluster.size_of_run(key).await.map_err(|error| status(&error))?;
    Ok((size.files > 0).then(|| receipt(size)))
}

fn receipt(size: FileUsage) -> proto::FileReceipt {
    proto::FileReceipt { files: u32::try_from(size.files).unwrap_or(u32::MAX), bytes: size.bytes }
}

fn nothing() -> UploadRecord {
    UploadRecord { size: FileUsage::default(), chain: upload_chain::START, open: None }
}

/// The worker names what it takes to have arrived.
async fn go_on(
    state: &GrpcState,
    caller: &Caller,
    (key, hold): (AttemptKey, &Hold),
    room: Option<FileUsage>,
    resume: &proto::UploadResume,
) -> Result<StagedUpload, Status> {
    let upload = state.cluster.upload_of(key).await.map_err(|error| status(&error))?;
    let mut upload = upload.ok_or_else(|| Status::aborted("there is no upload to go on with"))?;
    let mut offset = state.files.arrived_of(key, &upload).await.map_err(|error| refused(&error.into()))?;
    if (resume.files, &resume.chain[..], resume.offset) != (upload.size.files, &upload.chain[..], offset) {
        return Err(Status::aborted("more or less has arrived than the worker takes to have"));
    }
    if resume.leaves_open {
        leave_out_open(state, caller, (key, hold), &mut upload).await?;
        offset = 0;
    }
    tracing::info!("Upload of {key} goes on after {} files and {} bytes of the next", upload.size.files, offset);
    state.files.resume_staged(key, room, (upload, offset)).await.map_err(|error| refused(&error))
}

/// The worker cannot bring the file that was arriving: durably nothing has come of it, and then its bytes go.
async fn leave_out_open(
    state: &GrpcState,
    caller: &Caller,
    (key, hold): (AttemptKey, &Hold),
    upload: &mut UploadRecord,
) -> Result<(), Status> {
    let Some(open) = upload.open.take() else { return Ok(()) };
    let part = Part { files: [].into(), upload: upload.clone() };
    let (cluster, by, hold) = (state.cluster.clone(), caller.worker.clone(), Arc::clone(hold));
    let left = detached(async move {
        let _hold = hold;
        cluster.files_staged(by, key, part).await
    });
    if let Err(error) = left.await {
        return Err(not_kept(state, caller, key, error).await);
    }
    let file = show_path(&open.path);
    tracing::warn!("Upload of {key} goes on without {file}, which its worker cannot read to its end");
    // No record names them any more: what stays is found when the master starts.
    if let Err(error) = state.files.remove_arrived(Place::Run(key.element(), key.attempt), open.blob).await {
        tracing::warn!(%error, "What has come of {file} cannot be removed now");
    }
    Ok(())
}

/// Removes what an earlier upload has brought. Its bytes go at once: nobody else writes there.
async fn begin_anew(state: &GrpcState, key: AttemptKey) -> Result<(), Status> {
    if state.cluster.drop_upload(key, false).await.map_err(|error| status(&error))? {
        state.files.remove_run(key).await.map_err(|error| refused(&error.into()))?;
    }
    Ok(())
}

async fn take_frame(upload: &mut StagedUpload, frame: proto::FileFrame) -> Result<(), Status> {
    let taken = match frame.content {
        Some(Content::Begin(begin)) => upload.begin_file(begin.path.to_vec(), begin.size).await,
        Some(Content::Data(data)) => upload.write(data).await,
        Some(Content::End(end)) => {
            let digest = <[u8; 32]>::try_from(&end.blake3[..]);
            let digest = digest.map_err(|_| Status::invalid_argument("a BLAKE3 digest has 32 bytes"))?;
            upload.end_file(digest).await
        }
        Some(Content::Attempt(_) | Content::Resume(_) | Content::Last(_)) => {
            return Err(Status::invalid_argument("one upload is for one attempt, and goes on once"));
        }
        None => return Err(Status::invalid_argument("a file frame without content")),
    };
    taken.map_err(|error| refused(&error))
}

/// The core has refused a part.
async fn not_kept(state: &GrpcState, caller: &Caller, key: AttemptKey, error: ApiError) -> Status {
    match error.code {
        ErrorCode::Conflict => given_up(state, caller, key, &error),
        // Others of this user have stored something meanwhile.
        ErrorCode::ResourceExhausted => match state.cluster.free_room(key).await {
            Ok(Some(room)) => no_room(error.message, room),
            // And by now they may keep anything.
            Ok(None) => Status::unavailable("there is room by now; send it again"),
            Err(error) => status(&error),
        },
        _ => status(&error),
    }
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

/// The run is not live any more: the worker shall not try again, and what it has brought goes.
fn given_up(state: &GrpcState, caller: &Caller, key: AttemptKey, error: &ApiError) -> Status {
    if error.code == ErrorCode::Unavailable {
        return status(error);
    }
    tracing::warn!("Upload from worker {} refused: {}", caller.worker, error.message);
    audit::refused(state, &caller.peer, "gRPC UploadTaskFiles", &key.to_string(), error.code);
    Status::failed_precondition(in_words(error))
}
