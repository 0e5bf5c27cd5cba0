//! Takes what users upload for tasks to read: all of it in one go, or file by file, of which a large one may come in
//! several calls.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cloudaid_core::files::InputFile;
use futures_util::TryStreamExt;
use parking_lot::Mutex;
use shared::error::{ApiError, ErrorCode};
use shared::id::{BlobId, InputId, UserName};
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};
use tokio_util::sync::CancellationToken;
use ulid::Ulid;

use super::call::Call;
use super::files::{BlobWriter, Content, FileStore, InvalidPath, PIECE, Place, Progress, check_path};
use super::handle::ClusterHandle;
use super::handle::files::detached;

/// The longest name of a file or folder that Linux makes, in bytes.
const NAME_LIMIT: usize = 255;

/// The most bytes of all paths of an input that comes in one go.
const PATHS_LIMIT: usize = 16 << 20;

/// How long one call waits for another to stop.
const TURN_TIMEOUT: Duration = Duration::from_secs(10);

/// Takes uploads. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Inputs {
    cluster: ClusterHandle,
    files: FileStore,
    /// Files that come in several calls, of which only one writes at a time.
    coming: Arc<Mutex<BTreeMap<(InputId, BlobId), Coming>>>,
    /// How many calls bring files of an input at the moment.
    open: Arc<Mutex<BTreeMap<InputId, usize>>>,
}

/// A file that is coming.
#[derive(Debug, Default)]
struct Coming {
    /// What is there of it: none if that must be looked up. Whoever holds it may write.
    known: Arc<AsyncMutex<Option<Progress>>>,
    /// Cancelled when somebody else wants to write: a call whose connection is dead does not know it yet.
    last: CancellationToken,
}

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
        Self { cluster, files, coming: Arc::default(), open: Arc::default() }
    }

    /// An input whose files come later. Those that are empty are there at once.
    ///
    /// # Errors
    /// A path that cannot be, or there is no room.
    pub async fn announce(&self, user: UserName, files: Vec<Announced>) -> Result<InputId, ApiError> {
        check_paths(files.iter().map(|file| &file.path[..]))?;
        let id = InputId(Ulid::generate());
        Call::about(&id.to_string());
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
        let id = InputId(Ulid::generate());
        Call::about(&id.to_string());
        NewInput { inputs: self.clone(), id, user, files: Vec::new(), path_bytes: 0, is_kept: false }
    }

    /// How much has arrived of each file that is not complete.
    ///
    /// # Errors
    /// The file store cannot be read.
    pub async fn received(&self, id: InputId) -> io::Result<BTreeMap<BlobId, u64>> {
        self.files.all_arrived(Place::Input(id)).await
    }

    /// Goes on with a file, which nobody else does meanwhile; none: it has arrived already.
    ///
    /// # Errors
    /// Somebody does, or what is there cannot be read.
    pub async fn resume(&self, id: InputId, file: &InputFile) -> Result<Option<Upload>, ApiError> {
        let Some(mut upload) = self.lock(id, file).await? else { return Ok(None) };
        let known = upload.coming.as_ref().and_then(|coming| (**coming).clone());
        let opened = async {
            let progress = match known {
                Some(progress) => progress,
                None => self.look_up(id, file).await?,
            };
            self.files.resume(Place::Input(id), file.blob, progress).await
        };
        upload.writer = Some(opened.await.map_err(|error| failed(&error))?);
        Ok(Some(upload))
    }

    /// Begins a file anew that comes in one go, which nobody else does meanwhile; none: it has arrived already.
    ///
    /// # Errors
    /// Somebody does, or what was there of it cannot be removed.
    pub async fn begin_again(&self, id: InputId, file: &InputFile) -> Result<Option<Upload>, ApiError> {
        let Some(mut upload) = self.lock(id, file).await? else { return Ok(None) };
        upload.forget();
        let opened = async {
            // Of several pieces some could stay that are of something else.
            if file.size > PIECE {
                self.files.remove_content(&content(id, file)).await?;
            }
            self.files.write(Place::Input(id), file.blob).await
        };
        upload.writer = Some(opened.await.map_err(|error| failed(&error))?);
        Ok(Some(upload))
    }

    /// What has arrived is never written to again: that is looked at by whoever alone may write.
    async fn lock(&self, id: InputId, file: &InputFile) -> Result<Option<Upload>, ApiError> {
        let (known, replaced) = {
            let mut all = self.coming.lock();
            let coming = all.entry((id, file.blob)).or_default();
            coming.last.cancel();
            coming.last = CancellationToken::new();
            (Arc::clone(&coming.known), coming.last.clone())
        };
        let coming = tokio::time::timeout(TURN_TIMEOUT, known.lock_owned()).await.map_err(|_| {
            let hint = "wait for it to end, or for its connection to break";
            ApiError::new(ErrorCode::Conflict, "another upload of this file is under way", hint)
        })?;
        *self.open.lock().entry(id).or_default() += 1;
        let (inputs, file, coming) = (self.clone(), file.clone(), Some(coming));
        let blob = file.blob;
        let upload = Upload { inputs, id, file, writer: None, coming, replaced };
        Ok(self.cluster.is_missing(id, blob).await?.then_some(upload))
    }

    /// Reads again what has arrived, for its digest: a restart has forgotten it.
    async fn look_up(&self, id: InputId, file: &InputFile) -> io::Result<Progress> {
        let size = self.files.arrived(Place::Input(id), file.blob).await?.min(file.size);
        let mut progress = Progress::default();
        let there = Content { size, ..content(id, file) };
        let mut stream = self.files.read(there, 0..size).await?;
        while let Some(data) = stream.try_next().await? {
            progress.hasher.update(&data);
        }
        Ok(Progress { size, ..progress })
    }

    /// Nobody writes a file any more. Of one of which nothing is known nothing is remembered.
    fn closed(&self, id: InputId, blob: BlobId) {
        // Whoever waits for it has a part in it.
        let is_idle = |coming: &Coming| {
            Arc::strong_count(&coming.known) == 1 && coming.known.try_lock().is_ok_and(|known| known.is_none())
        };
        let mut coming = self.coming.lock();
        if coming.get(&(id, blob)).is_some_and(is_idle) {
            coming.remove(&(id, blob));
        }
        drop(coming);
        let mut open = self.open.lock();
        match open.get_mut(&id) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(open.remove(&id)),
        }
    }

    /// Inputs of which files are on their way.
    pub(crate) fn open(&self) -> BTreeSet<InputId> {
        self.open.lock().keys().copied().collect()
    }

    /// Forgets what is known of inputs that are no more.
    pub(crate) async fn prune(&self) -> Result<(), ApiError> {
        let known = self.coming.lock().keys().map(|(id, _)| *id).collect();
        let gone = self.cluster.unknown_inputs(known).await?;
        self.coming.lock().retain(|(id, _), _| !gone.contains(id));
        Ok(())
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

/// A file that is being written, by nobody else. What has come of it is kept when this is dropped.
#[derive(Debug)]
pub struct Upload {
    inputs: Inputs,
    id: InputId,
    file: InputFile,
    /// None: it has not begun, has ended, or has failed.
    writer: Option<BlobWriter>,
    /// None: another task goes on with it.
    coming: Option<OwnedMutexGuard<Option<Progress>>>,
    replaced: CancellationToken,
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

    fn forget(&mut self) {
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

/// Why it could not be written: the input may be gone, and its folder with it.
async fn why(cluster: ClusterHandle, id: InputId, error: io::Error) -> ApiError {
    match cluster.input(id).await {
        Err(gone) if gone.code == ErrorCode::FileNotFound => gone,
        _ => failed(&error),
    }
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
