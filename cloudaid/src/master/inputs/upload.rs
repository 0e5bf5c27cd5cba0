//! Writing one file of an input.

use std::io;

use bytes::Bytes;
use cloudaid_core::files::InputFile;
use shared::error::{ApiError, ErrorCode};
use shared::id::InputId;
use tokio::sync::OwnedMutexGuard;
use tokio_util::sync::CancellationToken;

use super::{Inputs, content, failed};
use crate::master::files::{BlobWriter, Progress};
use crate::master::handle::ClusterHandle;

/// A file that is being written, by nobody else. What has come of it is kept when this is dropped.
#[derive(Debug)]
pub struct Upload {
    pub(super) inputs: Inputs,
    pub(super) id: InputId,
    pub(super) file: InputFile,
    /// None: it has not begun, has ended, or has failed.
    pub(super) writer: Option<BlobWriter>,
    /// None: another task goes on with it.
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
        let Some(writer) = &mut self.writer else { return Ok(()) };
        if let Err(error) = writer.write(data).await {
            self.writer = None;
            return Err(why(self.inputs.cluster.clone(), self.id, error).await);
        }
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
        let Some(writer) = self.writer.take() else { return Ok(self.file.clone()) };
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

impl Drop for Upload {
    /// What has come is kept, of a file that was cut off too; nothing stays of an input that was deleted meanwhile.
    fn drop(&mut self) {
        let (inputs, id, blob) = (self.inputs.clone(), self.id, self.file.blob);
        let unfinished = self.writer.take().filter(|writer| writer.size() > 0).zip(self.coming.take());
        // At once, where nothing has to be written.
        self.coming = None;
        if unfinished.is_none() {
            inputs.closed(id, blob);
        }
        let rest = async move {
            if let Some((writer, mut coming)) = unfinished {
                // If it cannot be kept: later it is looked up what is there.
                *coming = writer.pause().await.ok();
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
