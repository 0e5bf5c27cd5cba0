//! Writing one file of an input.

use std::future::ready;
use std::io;
use std::pin::Pin;

use bytes::Bytes;
use cloudaid_core::files::InputFile;
use shared::error::{ApiError, ErrorCode};
use shared::id::InputId;
use tokio::sync::OwnedMutexGuard;
use tokio_util::sync::CancellationToken;

use super::{Inputs, content, failed};
use crate::master::files::{BlobWriter, Progress};
use crate::master::handle::ClusterHandle;

/// What a writer is at. It goes on to its end also when nobody waits for it any more: an object that is half there may
/// still come to be, when somebody else has begun it anew.
type Busy = Pin<Box<dyn Future<Output = io::Result<BlobWriter>> + Send>>;

/// A file that is being written, by nobody else. What has come of it is kept when this is dropped.
pub struct Upload {
    pub(super) inputs: Inputs,
    pub(super) id: InputId,
    pub(super) file: InputFile,
    /// None: it has not begun, is busy, has ended, or has failed.
    pub(super) writer: Option<BlobWriter>,
    pub(super) busy: Option<Busy>,
    /// None: another task goes on with it. What was known is in it only while nobody writes.
    pub(super) coming: Option<OwnedMutexGuard<Option<Progress>>>,
    pub(super) replaced: CancellationToken,
}

impl Upload {
    /// Bytes that are there.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.writer.as_ref().map_or(0, BlobWriter::size)
    }

    /// Cancelled when somebody else wants to write.
    #[must_use]
    pub fn replaced(&self) -> CancellationToken {
        self.replaced.clone()
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// More than were announced, or they cannot be kept.
    pub async fn write(&mut self, data: Bytes) -> Result<(), ApiError> {
        if self.received().saturating_add(data.len() as u64) > self.file.size {
            let message = format!("the file was announced with {} bytes, and more come", self.file.size);
            return Err(ApiError::new(ErrorCode::InvalidArgument, message, "announce it again as it is now"));
        }
        let done = self.work(|mut writer| async move { writer.write(data).await.map(|()| writer) }).await;
        match done {
            Ok(()) => Ok(()),
            Err(error) => Err(why(self.inputs.cluster.clone(), self.id, error).await),
        }
    }

    /// Has the writer do something. If that fails, there is none any more, and what is there is looked up later.
    async fn work<F>(&mut self, work: impl FnOnce(BlobWriter) -> F) -> io::Result<()>
    where
        F: Future<Output = io::Result<BlobWriter>> + Send + 'static,
    {
        let Some(writer) = self.writer.take() else { return Ok(()) };
        let done = self.busy.insert(Box::pin(work(writer))).as_mut().await;
        self.busy = None;
        self.writer = Some(done?);
        Ok(())
    }

    /// Ends this part. Returns the file, with its digest if it is complete, and how much of it is there.
    ///
    /// # Errors
    /// It cannot be kept, or is not what it should be; then it has to come again from the beginning.
    pub async fn end(mut self, expected: Option<[u8; 32]>) -> Result<(InputFile, u64), ApiError> {
        if self.received() < self.file.size {
            let Some(writer) = self.writer.take() else { return Ok((self.file.clone(), 0)) };
            let progress = match writer.pause().await {
                Ok(progress) => progress,
                Err(error) => return Err(why(self.inputs.cluster.clone(), self.id, error).await),
            };
            let size = progress.size;
            self.remember(progress);
            self.inputs.cluster.use_input(self.id).await?;
            return Ok((self.file.clone(), size));
        }
        let file = self.finish().await?;
        if expected.is_some_and(|expected| Some(expected) != file.blake3) {
            self.forget();
            let removed = self.inputs.files.remove_content(&content(self.id, &self.file)).await;
            removed.map_err(|error| failed(&error))?;
            let message = "the file does not match its checksum: nothing of it is kept";
            return Err(ApiError::new(ErrorCode::InvalidArgument, message, "send it again from the beginning"));
        }
        self.inputs.cluster.input_files_received(self.id, [file.clone()].into()).await?;
        self.forget();
        let size = file.size;
        Ok((file, size))
    }

    /// Ends a file that has come in one go. Make it known with [`Upload::make_known`], and hold this until then.
    ///
    /// # Errors
    /// It is not as large as announced, or cannot be kept.
    pub async fn whole(&mut self) -> Result<InputFile, ApiError> {
        if self.received() != self.file.size {
            let message = format!("a file was announced with {} bytes, and {} came", self.file.size, self.received());
            return Err(ApiError::new(ErrorCode::InvalidArgument, message, "send all of it, or announce it again"));
        }
        self.finish().await
    }

    /// Makes files known that have come. None of them can be written meanwhile.
    ///
    /// # Errors
    /// There is no such input any more.
    pub async fn make_known(
        cluster: ClusterHandle,
        id: InputId,
        arrived: Vec<(Self, InputFile)>,
    ) -> Result<(), ApiError> {
        let (held, files): (Vec<_>, Vec<_>) = arrived.into_iter().unzip();
        cluster.input_files_received(id, files.into()).await?;
        drop(held);
        Ok(())
    }

    async fn finish(&mut self) -> Result<InputFile, ApiError> {
        let flushed = self.work(BlobWriter::flush).await;
        let Some(writer) = self.writer.take() else {
            return match flushed {
                Ok(()) => Ok(self.file.clone()),
                Err(error) => Err(why(self.inputs.cluster.clone(), self.id, error).await),
            };
        };
        match writer.finish().await {
            Ok(blake3) => Ok(InputFile { blake3: Some(blake3), ..self.file.clone() }),
            Err(error) => Err(why(self.inputs.cluster.clone(), self.id, error).await),
        }
    }

    fn remember(&mut self, progress: Progress) {
        if let Some(coming) = &mut self.coming {
            **coming = (progress.size > 0).then_some(progress);
        }
    }

    pub(super) fn forget(&mut self) {
        self.remember(Progress::default());
    }
}

impl std::fmt::Debug for Upload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upload").field("id", &self.id).field("file", &self.file).finish_non_exhaustive()
    }
}

impl Drop for Upload {
    /// What has come is kept, of a file that was cut off too; nothing stays of an input that was deleted meanwhile.
    fn drop(&mut self) {
        let (inputs, id, blob) = (self.inputs.clone(), self.id, self.file.blob);
        let idle = self.writer.take().filter(|writer| writer.size() > 0);
        let busy = self.busy.take().or_else(|| idle.map(|writer| -> Busy { Box::pin(ready(Ok(writer))) }));
        let unfinished = busy.zip(self.coming.take());
        // At once, where nothing has to be written.
        self.coming = None;
        if unfinished.is_none() {
            inputs.closed(id, blob);
        }
        let rest = async move {
            if let Some((busy, mut coming)) = unfinished {
                // If it cannot be kept: later it is looked up what is there.
                *coming = match busy.await {
                    Ok(writer) => writer.pause().await.ok(),
                    Err(_) => None,
                };
                drop(coming);
                inputs.closed(id, blob);
            }
            if inputs.cluster.input(id).await.is_err_and(|error| error.code == ErrorCode::FileNotFound) {
                inputs.files.remove_input_later(id);
            }
        };
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(rest);
        }
    }
}

/// Why it could not be written: the input may be gone, and its folder with it.
async fn why(cluster: ClusterHandle, id: InputId, error: io::Error) -> ApiError {
    match cluster.input(id).await {
        Err(gone) if gone.code == ErrorCode::FileNotFound => gone,
        _ => failed(&error),
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::Arc;
    use std::task::Poll;

    use shared::id::BlobId;
    use tokio::sync::Mutex;
    use ulid::Ulid;

    use super::*;
    use crate::master::files::{FileStore, PIECE, Place};
    use crate::master::logs::LogStore;

    /// Whether it ended before it was polled so often.
    async fn polled(times: usize, work: impl Future<Output = Result<(), ApiError>>) -> bool {
        let (mut work, mut polls) = (Box::pin(work), 0);
        poll_fn(|context| {
            polls += 1;
            match work.as_mut().poll(context) {
                Poll::Ready(done) => Poll::Ready(done.is_ok()),
                Poll::Pending if polls < times => Poll::Pending,
                Poll::Pending => Poll::Ready(false),
            }
        })
        .await
    }

    /// A client may go at any moment, also while a piece is being made durable: its bytes count once they are there.
    #[tokio::test]
    async fn what_is_known_is_there_wherever_it_was_dropped() {
        let directory = tempfile::tempdir().expect("a directory");
        let logs = LogStore::open(&directory.path().join("logs")).expect("logs");
        let files = FileStore::open(&directory.path().join("files")).expect("files");
        let inputs = Inputs::new(ClusterHandle::detached(logs), files.clone());
        let size = PIECE + 4;
        for times in 1.. {
            let (id, blob) = (InputId(Ulid::generate()), BlobId(Ulid::generate()));
            let known = Arc::new(Mutex::new(None));
            let mut upload = Upload {
                inputs: inputs.clone(),
                id,
                file: InputFile { path: b"a".to_vec(), size, executable: false, blob, blake3: None },
                writer: Some(files.write(Place::Input(id), blob).await.expect("a writer")),
                busy: None,
                coming: Some(Arc::clone(&known).lock_owned().await),
                replaced: CancellationToken::new(),
            };
            let data = Bytes::from(vec![7; usize::try_from(PIECE).expect("small")]);
            let ended = polled(times, upload.write(data)).await;
            drop(upload);
            // As whoever goes on with it.
            let known = known.lock().await;
            let arrived = files.arrived(Place::Input(id), blob).await.expect("looked at");
            assert_eq!(known.as_ref().map(|known| known.size), Some(arrived), "after {times} polls");
            assert_eq!(arrived, PIECE);
            if ended {
                assert!(times > 1, "there was a moment to go at");
                return;
            }
        }
    }
}
