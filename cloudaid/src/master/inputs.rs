//! Takes what users upload for tasks to read: all of it in one go, or file by file, of which a large one may come in
//! several calls.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use cloudaid_core::files::InputFile;
use futures_util::TryStreamExt;
use parking_lot::Mutex;
use shared::error::{ApiError, ErrorCode};
use shared::id::{BlobId, InputId, UserName};
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};
use ulid::Ulid;

use super::files::{BlobWriter, Content, FileStore, InvalidPath, PIECE, Place, Progress, check_path};
use super::handle::ClusterHandle;

/// The longest name of a file or folder that Linux makes, in bytes.
const NAME_LIMIT: usize = 255;

/// Takes uploads. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Inputs {
    cluster: ClusterHandle,
    files: FileStore,
    /// Files that come in several calls. Whoever holds the lock is the one call that writes.
    coming: Arc<Mutex<BTreeMap<BlobId, Coming>>>,
}

/// What is there of a file: none if that must be looked up.
type Coming = Arc<AsyncMutex<Option<Progress>>>;

/// Where files stand in an input.
#[must_use]
pub fn content(id: InputId, file: &InputFile) -> Content {
    let blake3 = file.blake3.unwrap_or_default();
    Content { place: Place::Input(id), blob: Some(file.blob), blake3, size: file.size }
}

impl Inputs {
    /// Uploads to this cluster.
    #[must_use]
    pub fn new(cluster: ClusterHandle, files: FileStore) -> Self {
        Self { cluster, files, coming: Arc::default() }
    }

    /// An input whose files come later. Those that are empty are there at once.
    ///
    /// # Errors
    /// A path that cannot be, or there is no room.
    pub async fn announce(&self, user: UserName, files: Vec<Announced>) -> Result<InputId, ApiError> {
        check_paths(files.iter().map(|file| &file.path[..]))?;
        let id = InputId(Ulid::generate());
        let empty = *blake3::hash(b"").as_bytes();
        let files = files.into_iter().map(|Announced { path, size, executable }| InputFile {
            path,
            size,
            executable,
            blob: BlobId(Ulid::generate()),
            blake3: (size == 0).then_some(empty),
        });
        self.cluster.add_input(id, user, files.collect()).await?;
        Ok(id)
    }

    /// Begins an input whose files all come now.
    #[must_use]
    pub fn begin(&self, user: UserName) -> NewInput {
        NewInput { inputs: self.clone(), id: InputId(Ulid::generate()), user, files: Vec::new(), is_kept: false }
    }

    /// How much has arrived of each file that is not complete.
    ///
    /// # Errors
    /// The file store cannot be read.
    pub async fn received(&self, id: InputId) -> io::Result<BTreeMap<BlobId, u64>> {
        let mut pieces: BTreeMap<BlobId, BTreeSet<u64>> = BTreeMap::new();
        for name in self.files.names(Place::Input(id)).await? {
            let parsed =
                name.split_once('.').and_then(|(blob, number)| Some((blob.parse().ok()?, number.parse().ok()?)));
            if let Some((blob, number)) = parsed {
                pieces.entry(blob).or_default().insert(number);
            }
        }
        let whole = |pieces: &BTreeSet<u64>| pieces.iter().zip(0..).take_while(|(found, next)| *found == next).count();
        Ok(pieces.into_iter().map(|(blob, pieces)| (blob, whole(&pieces) as u64 * PIECE)).collect())
    }

    /// Goes on with a file, which nobody else does meanwhile.
    ///
    /// # Errors
    /// Somebody does, or what is there cannot be read.
    pub async fn resume(&self, id: InputId, file: InputFile) -> Result<Upload, ApiError> {
        let mut coming = self.lock(file.blob)?;
        if coming.is_none() {
            *coming = Some(self.look_up(id, &file).await.map_err(|error| failed(&error))?);
        }
        let progress = coming.clone().unwrap_or_default();
        let writer = Some(self.files.resume(Place::Input(id), file.blob, progress));
        Ok(Upload { inputs: self.clone(), id, file, writer, coming })
    }

    /// Begins a file anew that comes in one go, which nobody else does meanwhile.
    ///
    /// # Errors
    /// Somebody does, or what was there of it cannot be removed.
    pub async fn begin_again(&self, id: InputId, file: &InputFile) -> Result<Upload, ApiError> {
        let mut coming = self.lock(file.blob)?;
        *coming = None;
        // Of several pieces some could stay that are of something else.
        if file.size > PIECE {
            self.files.remove_content(&content(id, file)).await.map_err(|error| failed(&error))?;
        }
        let writer = Some(self.files.write(Place::Input(id), file.blob));
        Ok(Upload { inputs: self.clone(), id, file: file.clone(), writer, coming })
    }

    fn lock(&self, blob: BlobId) -> Result<OwnedMutexGuard<Option<Progress>>, ApiError> {
        let coming = Arc::clone(self.coming.lock().entry(blob).or_default());
        coming.try_lock_owned().map_err(|_| {
            let hint = "wait for it to end, or for its connection to break";
            ApiError::new(ErrorCode::Conflict, "another upload of this file is under way", hint)
        })
    }

    /// Reads again what has arrived, for its digest: a restart has forgotten it.
    async fn look_up(&self, id: InputId, file: &InputFile) -> io::Result<Progress> {
        let size = self.received(id).await?.get(&file.blob).copied().unwrap_or_default().min(file.size);
        let mut progress = Progress::default();
        let mut stream = self.files.read(content(id, file), 0..size).await?;
        while let Some(data) = stream.try_next().await? {
            progress.hasher.update(&data);
        }
        Ok(Progress { size, ..progress })
    }
}

/// A file that is going to come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announced {
    /// Below /input.
    pub path: Vec<u8>,
    /// Bytes.
    pub size: u64,
    /// Whether it is a program.
    pub executable: bool,
}

/// A part of a file that is being written. What is not a whole piece is gone if it is dropped before its end.
#[derive(Debug)]
pub struct Upload {
    inputs: Inputs,
    id: InputId,
    file: InputFile,
    /// None: it is ending.
    writer: Option<BlobWriter>,
    coming: OwnedMutexGuard<Option<Progress>>,
}

impl Upload {
    /// Bytes that are there.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.writer.as_ref().map_or(0, BlobWriter::size)
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
        let written = writer.write(data).await.map_err(|error| failed(&error));
        if self.coming.as_ref().is_none_or(|known| known.size != writer.progress().size) {
            *self.coming = Some(writer.progress().clone());
        }
        written
    }

    /// Ends this part. Returns the file, with its digest if it is complete, and how much of it is there.
    ///
    /// # Errors
    /// It cannot be kept, or is not what it should be; then it has to come again from the beginning.
    pub async fn end(mut self, expected: Option<[u8; 32]>) -> Result<(InputFile, u64), ApiError> {
        if self.received() < self.file.size {
            return Ok((self.file.clone(), self.coming.as_ref().map_or(0, |known| known.size)));
        }
        let blake3 = self.finish().await?;
        if expected.is_some_and(|expected| expected != blake3) {
            *self.coming = None;
            let removed = self.inputs.files.remove_content(&content(self.id, &self.file)).await;
            removed.map_err(|error| failed(&error))?;
            let message = "the file does not match its checksum: nothing of it is kept";
            return Err(ApiError::new(ErrorCode::InvalidArgument, message, "send it again from the beginning"));
        }
        let file = InputFile { blake3: Some(blake3), ..self.file.clone() };
        self.inputs.cluster.input_files_received(self.id, [file.clone()].into()).await?;
        *self.coming = None;
        let size = file.size;
        Ok((file, size))
    }

    /// Ends a file that has come in one go. It has not been made known yet.
    ///
    /// # Errors
    /// It is not as large as announced, or cannot be kept.
    pub async fn whole(mut self) -> Result<InputFile, ApiError> {
        if self.received() != self.file.size {
            let message = format!("a file was announced with {} bytes, and {} came", self.file.size, self.received());
            return Err(ApiError::new(ErrorCode::InvalidArgument, message, "send all of it, or announce it again"));
        }
        let blake3 = self.finish().await?;
        *self.coming = None;
        Ok(InputFile { blake3: Some(blake3), ..self.file.clone() })
    }

    async fn finish(&mut self) -> Result<[u8; 32], ApiError> {
        match self.writer.take() {
            Some(writer) => writer.finish().await.map_err(|error| failed(&error)),
            None => Ok(self.file.blake3.unwrap_or_default()),
        }
    }
}

impl Drop for Upload {
    /// Nothing is remembered of a file of which nothing is there; and nothing stays of an input that was deleted meanwhile.
    fn drop(&mut self) {
        if self.coming.as_ref().is_none_or(|known| known.size == 0) {
            self.inputs.coming.lock().remove(&self.file.blob);
        }
        let (Inputs { cluster, files, .. }, id) = (self.inputs.clone(), self.id);
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                if cluster.input(id).await.is_err_and(|error| error.code == ErrorCode::FileNotFound) {
                    files.remove_input_later(id);
                }
            });
        }
    }
}

/// An input whose files all come in one go. If it is dropped before its end, nothing of it stays.
#[derive(Debug)]
pub struct NewInput {
    inputs: Inputs,
    id: InputId,
    user: UserName,
    files: Vec<InputFile>,
    is_kept: bool,
}

impl NewInput {
    /// Begins a file. Write its bytes, and give it back to [`NewInput::end_file`].
    ///
    /// # Errors
    /// A path that cannot be.
    pub fn begin_file(&self, path: &[u8]) -> Result<(BlobId, BlobWriter), ApiError> {
        check_paths([path])?;
        let blob = BlobId(Ulid::generate());
        Ok((blob, self.inputs.files.write(Place::Input(self.id), blob)))
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

    /// All files have come.
    ///
    /// # Errors
    /// There are none, or there is no room for them.
    pub async fn finish(mut self) -> Result<InputId, ApiError> {
        check_paths(self.files.iter().map(|file| &file.path[..]))?;
        let files = std::mem::take(&mut self.files).into();
        let added = self.inputs.cluster.add_input(self.id, self.user.clone(), files).await;
        self.is_kept = added.as_ref().map_or_else(|error| error.code == ErrorCode::OutcomeUnknown, |()| true);
        added.map(|()| self.id)
    }
}

impl Drop for NewInput {
    fn drop(&mut self) {
        if !self.is_kept {
            self.inputs.files.remove_input_later(self.id);
        }
    }
}

/// Whether files of these paths can stand in one folder.
///
/// # Errors
/// Which cannot, and why.
pub fn check_paths<'a>(paths: impl IntoIterator<Item = &'a [u8]>) -> Result<(), ApiError> {
    let refuse = |path: &[u8], why: &str| {
        let shown: String = String::from_utf8_lossy(path).chars().take(200).collect();
        let message = format!("path: `{}` is refused: {why}", shown.escape_debug());
        ApiError::new(ErrorCode::InvalidArgument, message, "give paths below /input, such as `data/a.csv`, each once")
    };
    let mut all = BTreeSet::new();
    for path in paths {
        check_path(path).map_err(|why: InvalidPath| refuse(path, &why.to_string()))?;
        if path.split(|byte| *byte == b'/').any(|name| name.len() > NAME_LIMIT) {
            return Err(refuse(path, &format!("a name in it is longer than {NAME_LIMIT} bytes")));
        }
        if !all.insert(path) {
            return Err(refuse(path, "it is there twice"));
        }
    }
    for path in &all {
        let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
        if let Some((at, _)) = slashes.into_iter().find(|(at, _)| all.contains(&path[..*at])) {
            return Err(refuse(&path[..at], "it is a file and a folder"));
        }
    }
    if all.is_empty() {
        return Err(ApiError::new(ErrorCode::InvalidArgument, "there are no files", "give at least one"));
    }
    Ok(())
}

fn failed(error: &io::Error) -> ApiError {
    tracing::error!("The file store failed: {error}");
    let hint = "try again: what has arrived is kept";
    ApiError::new(ErrorCode::Unavailable, "the file cannot be stored at the moment", hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_cannot_stand_together_are_refused() {
        let check = |paths: &[&[u8]]| check_paths(paths.iter().copied()).map_err(|error| error.message);
        assert_eq!(check(&[b"a", b"a-b", b"b/c", b"b/d/e", b"\xff"]), Ok(()));
        let long = vec![b'x'; NAME_LIMIT + 1];
        for (bad, why) in [
            (&[][..], "no files"),
            (&[&b"a"[..], b"b", b"a"], "twice"),
            (&[b"a/b", b"a-", b"a"], "`a` is refused: it is a file and a folder"),
            (&[b"x/y/z", b"x/y"], "`x/y` is refused"),
            (&[b"../x"], "component"),
            (&[&long], "longer than 255"),
        ] {
            let message = check(bad).expect_err(why);
            assert!(message.contains(why), "{message}");
        }
        assert_eq!(check(&[&long[..NAME_LIMIT]]), Ok(()));
    }
}
