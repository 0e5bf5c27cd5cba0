//! Takes what users upload for tasks to read: all of it in one go, or file by file, of which a large one may come in
//! several calls.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use cloudaid_core::files::InputFile;
use futures_util::TryStreamExt;
use parking_lot::Mutex;
use shared::error::{ApiError, ErrorCode};
use shared::id::{BlobId, InputId, UserName};
use tokio::sync::Mutex as AsyncMutex;
use tokio_util::sync::CancellationToken;
use ulid::Ulid;

use super::call::Call;
use super::files::{Content, FileStore, PIECE, Place, Progress};
use super::handle::ClusterHandle;

mod new_input;
mod paths;
mod upload;

pub use new_input::NewInput;
pub use paths::check_paths;
pub use upload::Upload;

/// How long one call waits for another to stop.
const TURN_TIMEOUT: Duration = Duration::from_secs(10);

/// Files of which is remembered what has come, each in 2 KiB. Of others it is looked up.
const REMEMBERED: usize = 4096;

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
    Content { place: Place::Input(id), blob: Some(file.blob), blake3, size: file.size, start: None }
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
        NewInput::new(self.clone(), id, user)
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
        // Nothing is known while somebody writes: if that fails, what is there is looked up.
        let known = upload.coming.as_mut().and_then(|coming| coming.take());
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
        let upload = Upload { inputs, id, file, writer: None, busy: None, coming, replaced };
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
        if coming.len() > REMEMBERED {
            coming.retain(|_, coming| Arc::strong_count(&coming.known) > 1);
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

fn failed(error: &io::Error) -> ApiError {
    tracing::error!("The file store failed: {error}");
    let hint = "try again: what has arrived is kept";
    ApiError::new(ErrorCode::Unavailable, "the file cannot be stored at the moment", hint)
}
