//! An input that comes as one form.

use cloudaid_core::files::InputFile;
use shared::error::{ApiError, ErrorCode};
use shared::id::{BlobId, InputId, UserName};
use ulid::Ulid;

use super::paths::check_paths;
use super::{Inputs, failed};
use crate::master::files::{BlobWriter, Place};
use crate::master::handle::files::detached;

/// The most bytes of all paths of an input that comes in one go.
const PATHS_LIMIT: usize = 16 << 20;

/// An input whose files all come in one go. If it is dropped before its end, nothing of it stays.
#[derive(Debug)]
pub struct NewInput {
    inputs: Inputs,
    id: InputId,
    user: UserName,
    files: Vec<InputFile>,
    path_bytes: usize,
    is_kept: bool,
}

impl NewInput {
    pub(super) fn new(inputs: Inputs, id: InputId, user: UserName) -> Self {
        Self { inputs, id, user, files: Vec::new(), path_bytes: 0, is_kept: false }
    }

    /// Begins a file. Write its bytes, and give it back to [`NewInput::end_file`].
    ///
    /// # Errors
    /// A path that cannot be, or all paths together are too long.
    pub async fn begin_file(&mut self, path: &[u8]) -> Result<(BlobId, BlobWriter), ApiError> {
        check_paths([path])?;
        self.path_bytes += path.len();
        if self.path_bytes > PATHS_LIMIT {
            let message = format!("the paths of all files together are longer than {PATHS_LIMIT} bytes");
            return Err(ApiError::new(
                ErrorCode::TooLarge,
                message,
                "upload an archive of them, and unpack it in the task",
            ));
        }
        let blob = BlobId(Ulid::generate());
        let writer = self.inputs.files.write(Place::Input(self.id), blob).await;
        Ok((blob, writer.map_err(|error| failed(&error))?))
    }

    /// Ends a file.
    ///
    /// # Errors
    /// It cannot be kept.
    pub async fn end_file(&mut self, path: Vec<u8>, (blob, content): (BlobId, BlobWriter)) -> Result<(), ApiError> {
        let size = content.size();
        let blake3 = content.finish().await.map_err(|error| failed(&error))?;
        self.files.push(InputFile { path, size, executable: false, blob, blake3: Some(blake3) });
        Ok(())
    }

    /// All files have come. It goes on to its end when whoever waits for it is gone.
    ///
    /// # Errors
    /// There are none, or there is no room for them.
    pub async fn finish(mut self) -> Result<InputId, ApiError> {
        check_paths(self.files.iter().map(|file| &file.path[..]))?;
        detached(async move {
            let files = std::mem::take(&mut self.files).into();
            let added = self.inputs.cluster.add_input(self.id, self.user.clone(), files).await;
            self.is_kept = added.as_ref().map_or_else(|error| error.code == ErrorCode::OutcomeUnknown, |()| true);
            added.map(|()| self.id)
        })
        .await
    }
}

impl Drop for NewInput {
    fn drop(&mut self) {
        if !self.is_kept {
            self.inputs.files.remove_input_later(self.id);
        }
    }
}
