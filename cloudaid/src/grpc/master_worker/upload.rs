//! The output files of one run, as workers of the first generation send them: one after the other, none with its size or its
//! checksum, and none at all for an empty one. A name that comes again is the file anew. All of a stream are recorded, or
//! none.

use shared::error::{ApiError, ErrorCode};
use shared::id::AttemptKey;
use shared::proto::seed::{FileChunk, FileUploadAck};
use tonic::{Status, Streaming};

use super::{dialed, in_words, refused};
use crate::grpc::peer::Peer;
use crate::grpc::{GrpcState, status};
use crate::master::files::{Upload, UploadError, check_path, show_path};
use crate::master::handle::files::detached;
use crate::master::links::dialed::Arriving;

/// The most bytes of one chunk.
const CHUNK_LIMIT: usize = 1 << 20;
const METHOD: &str = "UploadTaskFiles";

/// Takes the whole stream.
pub(super) async fn take(
    state: &GrpcState,
    peer: &Peer,
    mut inbound: Streaming<FileChunk>,
) -> Result<FileUploadAck, Status> {
    let Some(first) = inbound.message().await? else {
        return Ok(FileUploadAck { success: true, message: "no files".to_owned(), files_received: 0 });
    };
    let task = first.task_id.clone();
    let mut arriving = match dialed(state)?.arriving(&task, peer.address.ip()).await {
        Ok(arriving) => arriving,
        Err(error) => {
            refused(state, peer, METHOD, &task, &error);
            return Ok(FileUploadAck { success: false, message: in_words(&error), files_received: 0 });
        }
    };
    let room = state.cluster.room_for(arriving.key()).await.map_err(|error| status(&error))?;
    let mut files = Files { task: task.clone(), upload: state.files.begin(arriving.key(), room), ended: None };
    let mut next = Some(first);
    while let Some(chunk) = next {
        if let Err(error) = files.take(chunk).await {
            refused(state, peer, METHOD, &task, &error);
            return Err(status(&error));
        }
        next = inbound.message().await?;
    }
    match record(state, &arriving, files).await {
        Ok(files_received) => {
            arriving.is_whole();
            Ok(FileUploadAck { success: true, message: "stored".to_owned(), files_received })
        }
        Err(error) => {
            refused(state, peer, METHOD, &task, &error);
            Ok(FileUploadAck { success: false, message: in_words(&error), files_received: 0 })
        }
    }
}

/// To its end, also when the worker goes: what is recorded must not be taken for what is not.
async fn record(state: &GrpcState, arriving: &Arriving, files: Files) -> Result<i32, ApiError> {
    let upload = files.end().await?;
    let found = upload.files().map_err(|error| upload_error(&error))?;
    let count = i32::try_from(found.len()).unwrap_or(i32::MAX);
    let (cluster, worker, key): (_, _, AttemptKey) = (state.cluster.clone(), arriving.worker().clone(), arriving.key());
    detached(async move {
        let stored = cluster.files_added(worker, key, found).await;
        // Only what was refused for good is known to be nobody's.
        if !matches!(&stored, Err(error) if matches!(error.code, ErrorCode::Conflict | ErrorCode::ResourceExhausted)) {
            upload.keep();
        }
        stored
    })
    .await?;
    Ok(count)
}

/// The files of a stream.
struct Files {
    task: String,
    upload: Upload,
    /// The file of the last chunk, if it said that the file is whole.
    ended: Option<Vec<u8>>,
}

impl Files {
    async fn take(&mut self, chunk: FileChunk) -> Result<(), ApiError> {
        if chunk.task_id != self.task {
            return Err(invalid(
                "task_id: changes within the stream",
                "send the files of each task in a call of their own",
            ));
        }
        if chunk.data.len() > CHUNK_LIMIT {
            let message = format!("data: {} bytes are too many for one chunk", chunk.data.len());
            return Err(invalid(message, format!("send at most {CHUNK_LIMIT}")));
        }
        let path = chunk.file_path.into_bytes();
        check_path(&path).map_err(|why| {
            invalid(format!("file_path: `{}` is refused: {why}", show_path(&path)), "give paths relative to the output")
        })?;
        self.enter(path, chunk.data.is_empty() && chunk.is_last_chunk).await?;
        if self.upload.open_path().is_none() {
            return Ok(());
        }
        if !chunk.data.is_empty() {
            self.upload.write(chunk.data).await.map_err(|error| upload_error(&error))?;
        }
        if chunk.is_last_chunk {
            self.ended = self.upload.open_path().map(<[u8]>::to_vec);
            self.end_open().await?;
        }
        Ok(())
    }

    /// Goes on with the open file, or ends it and begins this one. `is_mark`: the chunk only says that its file is whole,
    /// which it may have said before.
    async fn enter(&mut self, path: Vec<u8>, is_mark: bool) -> Result<(), ApiError> {
        if self.upload.open_path() == Some(&path[..]) {
            return Ok(());
        }
        if is_mark && self.upload.open_path().is_none() && self.ended.as_ref() == Some(&path) {
            return Ok(());
        }
        self.end_open().await?;
        self.upload.begin_file(path).await.map_err(|error| upload_error(&error))
    }

    async fn end_open(&mut self) -> Result<(), ApiError> {
        if self.upload.open_path().is_none() {
            return Ok(());
        }
        self.upload.end_file().await.map_err(|error| upload_error(&error))
    }

    async fn end(mut self) -> Result<Upload, ApiError> {
        self.end_open().await?;
        Ok(self.upload)
    }
}

fn invalid(message: impl Into<String>, hint: impl Into<String>) -> ApiError {
    ApiError::new(ErrorCode::InvalidArgument, message, hint)
}

fn upload_error(error: &UploadError) -> ApiError {
    match error {
        UploadError::Io(error) => {
            tracing::error!("The file store failed: {error}");
            ApiError::new(ErrorCode::Unavailable, "the file store failed", "the master's log says more")
        }
        UploadError::NoRoom(_) => {
            ApiError::new(ErrorCode::ResourceExhausted, error.to_string(), "delete what is not needed")
        }
        refused => invalid(refused.to_string(), "send the files one after the other"),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use shared::id::{Epoch, Fence};

    use super::*;
    use crate::master::files::FileStore;

    const TASK: &str = "task-01arz3ndektsv4rrffq69g5fav";

    fn chunk(path: &str, data: &'static [u8], is_last_chunk: bool) -> FileChunk {
        let data = Bytes::from_static(data);
        FileChunk { task_id: TASK.into(), file_path: path.into(), data, is_last_chunk, ..FileChunk::default() }
    }

    fn files(directory: &tempfile::TempDir) -> Files {
        let task = TASK.parse().expect("an id");
        let key = AttemptKey { task, index: 0, attempt: 1, fence: Fence::new(Epoch(1), 1) };
        let store = FileStore::open(&directory.path().join("files")).expect("opened");
        Files { task: TASK.into(), upload: store.begin(key, None), ended: None }
    }

    async fn taken(chunks: Vec<FileChunk>) -> Result<Vec<(String, u64)>, ApiError> {
        let directory = tempfile::tempdir().expect("a directory");
        let mut files = files(&directory);
        for chunk in chunks {
            files.take(chunk).await?;
        }
        let upload = files.end().await?;
        let files = upload.files().expect("all ended");
        Ok(files.iter().map(|file| (String::from_utf8_lossy(&file.path).into_owned(), file.size)).collect())
    }

    #[tokio::test]
    async fn files_come_one_after_the_other_and_a_name_again_is_the_file_anew() {
        let stream = vec![
            chunk("a", b"one", false),
            chunk("a", b"two", true),
            chunk("b/c", b"xy", true),
            chunk("b/c", b"", true),
            chunk("a", b"new", true),
            chunk("empty", b"", true),
            chunk("no end", b"12345", false),
        ];
        let files = taken(stream).await.expect("taken");
        let expected = [("a", 3), ("b/c", 2), ("empty", 0), ("no end", 5)];
        assert_eq!(files, expected.map(|(path, size)| (path.to_owned(), size)));
    }

    #[tokio::test]
    async fn what_is_no_file_of_a_task_ends_the_stream() {
        for bad in ["../x", "/etc/passwd", "a\0b", "", "a/../b", "./a"] {
            let error = taken(vec![chunk("a", b"x", true), chunk(bad, b"x", true)]).await.expect_err(bad);
            assert_eq!(error.code, ErrorCode::InvalidArgument, "{bad:?}");
        }
        let other = FileChunk { task_id: "task-2".into(), ..chunk("a", b"x", true) };
        assert!(taken(vec![chunk("a", b"x", false), other]).await.expect_err("another").message.contains("task_id"));
        let fits = FileChunk { data: vec![0; CHUNK_LIMIT].into(), ..chunk("a", b"", true) };
        assert_eq!(taken(vec![fits]).await.expect("fits"), [("a".to_owned(), CHUNK_LIMIT as u64)]);
        let large = FileChunk { data: vec![0; CHUNK_LIMIT + 1].into(), ..chunk("a", b"", true) };
        assert!(taken(vec![large]).await.is_err());
    }
}
