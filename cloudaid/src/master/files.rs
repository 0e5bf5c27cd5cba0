//! Keeps files: what tasks left in /output, and what users have uploaded for tasks to read.
//!
//! Objects have names made of our own ids alone, `<task>/<index>-<attempt>/<blob>.<piece>` and
//! `inputs/<input>/<blob>.<piece>`. The names that users gave are data in a record and never become a path here, so there
//! is nothing to escape from. Where the objects are is for configuration to say: in a directory, or in a bucket that
//! speaks S3.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use cloudaid_core::files::{FileUsage, Leftover, UploadRecord};
use cloudaid_core::record::FileRecord;
use futures_util::{StreamExt, TryStreamExt, stream};
use object_store::local::LocalFileSystem;
use object_store::path::Path as ObjectPath;
use object_store::{ObjectStore, ObjectStoreExt};
use shared::id::{AttemptKey, BlobId, ElementId, InputId};

mod blob;
mod path;
mod read;
mod reserve;
mod s3;
mod staged;
mod upload;

pub mod contract;

pub use blob::{BlobWriter, PIECE, Place, Progress};
pub use path::{InvalidPath, check_plain as check_path, show as show_path};
pub use read::{ByteStream, Content};
pub use s3::S3Config;
pub use staged::{Part, StagedUpload};
pub use upload::{Upload, UploadError};

use reserve::Reserve;

/// Unfinished files of earlier versions, below the directory.
const TEMPORARY: &str = "tmp";
/// How much of a content is held before it is passed on to a directory.
const LOCAL_PART: usize = 256 * 1024;
/// The same for a bucket: a piece is one request.
const REMOTE_PART: usize = PIECE as usize + 1;

/// How long a bucket may take to answer before it is taken for unreachable.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// All files of a cluster. Cheap to clone.
#[derive(Debug, Clone)]
pub struct FileStore {
    objects: Arc<dyn ObjectStore>,
    /// Where the objects are, or, if they are far away, where the master keeps everything else.
    directory: Arc<Path>,
    kind: Kind,
    /// What is left free, where that matters to anybody else.
    reserve: Option<Reserve>,
}

/// Where the objects are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Local,
    Remote,
}

impl FileStore {
    /// The files below `directory`, which is made if it is not there, for nobody else to look into.
    ///
    /// # Errors
    /// The directory cannot be made or cleaned.
    pub fn open(directory: &Path) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        fs::set_permissions(directory, Permissions::from_mode(0o700))?;
        match fs::remove_dir_all(directory.join(TEMPORARY)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        fs::File::open(directory)?.sync_all()?;
        if let Some(parent) = directory.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            fs::File::open(parent)?.sync_all()?;
        }
        let objects = LocalFileSystem::new_with_prefix(directory)?.with_fsync(true);
        let directory: Arc<Path> = directory.into();
        let reserve = Some(Reserve::on(Arc::clone(&directory)));
        Ok(Self { objects: Arc::new(objects), directory, kind: Kind::Local, reserve })
    }

    /// The files in a bucket. `directory` is where the master keeps everything else.
    ///
    /// # Errors
    /// The configuration is wrong, or the bucket cannot be listed.
    pub async fn connect(config: &S3Config, directory: &Path) -> io::Result<Self> {
        let objects = s3::connect(config).await?;
        Ok(Self { objects, directory: directory.into(), kind: Kind::Remote, reserve: None })
    }

    /// Begins to take the files of one run, which may come to so much (none: anything).
    #[must_use]
    pub fn begin(&self, key: AttemptKey, room: Option<FileUsage>) -> Upload {
        Upload::new(self.clone(), key, room)
    }

    /// Begins to take the files of one run part by part.
    #[must_use]
    pub fn begin_staged(&self, key: AttemptKey, room: Option<FileUsage>) -> StagedUpload {
        StagedUpload::new(self.clone(), key, room)
    }

    /// Goes on with that, in the open file after so many of its bytes.
    ///
    /// # Errors
    /// They are not there, or there is no room for so much.
    pub async fn resume_staged(
        &self,
        key: AttemptKey,
        room: Option<FileUsage>,
        (record, offset): (UploadRecord, u64),
    ) -> Result<StagedUpload, UploadError> {
        StagedUpload::resume(self.clone(), key, room, (record, offset)).await
    }

    /// After how many bytes an upload can go on in its open file.
    ///
    /// # Errors
    /// They cannot be looked at.
    pub async fn arrived_of(&self, key: AttemptKey, upload: &UploadRecord) -> io::Result<u64> {
        let Some(open) = &upload.open else { return Ok(0) };
        let arrived = self.arrived(Place::Run(key.element(), key.attempt), open.blob).await?.min(open.size);
        Ok(arrived - arrived % PIECE)
    }

    /// Begins a new content.
    ///
    /// # Errors
    /// None: nothing is written yet.
    pub async fn write(&self, place: Place, blob: BlobId) -> io::Result<BlobWriter> {
        self.resume(place, blob, Progress::default()).await
    }

    /// Goes on with a content of which so much is there.
    ///
    /// # Errors
    /// What is there cannot be read.
    pub async fn resume(&self, place: Place, blob: BlobId, progress: Progress) -> io::Result<BlobWriter> {
        let part = match self.kind {
            Kind::Local => LOCAL_PART,
            Kind::Remote => REMOTE_PART,
        };
        let there = Content::whole(place, blob, progress.size);
        let whole = progress.size - progress.size % PIECE;
        let tail = self.read(there, whole..progress.size).await?.try_collect().await?;
        let reserve = self.reserve.clone();
        BlobWriter::new(Arc::clone(&self.objects), reserve, part, (place, blob), (progress, tail)).await
    }

    /// How many bytes of a content are there.
    ///
    /// # Errors
    /// It cannot be looked at.
    pub async fn arrived(&self, place: Place, blob: BlobId) -> io::Result<u64> {
        let mut arrived = 0;
        for number in 0.. {
            match self.objects.head(&place.piece(blob, number)).await {
                Ok(piece) => arrived += piece.size,
                Err(object_store::Error::NotFound { .. }) => break,
                Err(error) => return Err(failed(error)),
            }
            if !arrived.is_multiple_of(PIECE) {
                break;
            }
        }
        Ok(arrived)
    }

    /// The same of all contents that stand together.
    ///
    /// # Errors
    /// They cannot be listed.
    pub async fn all_arrived(&self, place: Place) -> io::Result<BTreeMap<BlobId, u64>> {
        let mut listed = self.objects.list(Some(&place.folder()));
        let mut pieces: BTreeMap<(BlobId, u64), u64> = BTreeMap::new();
        while let Some(object) = listed.try_next().await.map_err(failed)? {
            let piece = object.location.filename().and_then(|name| name.split_once('.'));
            let piece = piece.and_then(|(blob, number)| Some((blob.parse().ok()?, number.parse().ok()?)));
            pieces.extend(piece.map(|piece| (piece, object.size)));
        }
        let mut arrived: BTreeMap<BlobId, u64> = BTreeMap::new();
        for ((blob, number), size) in pieces {
            let sum = arrived.entry(blob).or_default();
            // What comes after a gap cannot be gone on from.
            if *sum == number * PIECE {
                *sum += size;
            }
        }
        Ok(arrived)
    }

    /// Bytes of a content, from the first to before the last. They are read as they are taken.
    ///
    /// # Errors
    /// It is not there, not as large as it should be, or cannot be read.
    pub async fn read(&self, content: Content, range: std::ops::Range<u64>) -> io::Result<ByteStream> {
        read::open(Arc::clone(&self.objects), content, range).await
    }

    /// Removes what nothing names any more.
    ///
    /// # Errors
    /// Some of it cannot be removed.
    pub async fn remove(&self, leftover: Leftover) -> io::Result<()> {
        match leftover {
            Leftover::Task(task) => self.remove_folder(ObjectPath::from(task.to_string())).await,
            Leftover::Input(id) => self.remove_folder(Place::Input(id).folder()).await,
            Leftover::Blob { element, attempt, blob, size } => {
                self.remove_content(&Content::whole(Place::Run(element, attempt), blob, size)).await
            }
            Leftover::Run(element, attempt) => self.remove_folder(Place::Run(element, attempt).folder()).await,
        }
    }

    /// Removes all that there is of a run, at once.
    ///
    /// # Errors
    /// Some of it cannot be removed.
    pub async fn remove_run(&self, key: AttemptKey) -> io::Result<()> {
        self.remove(Leftover::Run(key.element(), key.attempt)).await
    }

    /// Removes inputs that nothing names: a crash has cut their upload off. Only while nobody uploads.
    ///
    /// # Errors
    /// They cannot be looked through.
    pub async fn tidy_inputs(&self, known: impl Fn(InputId) -> bool) -> io::Result<()> {
        let listed = self.objects.list_with_delimiter(Some(&ObjectPath::from(blob::INPUTS))).await.map_err(failed)?;
        let ids = listed.common_prefixes.iter().filter_map(|folder| folder.filename()?.parse().ok());
        for id in ids.filter(|id| !known(*id)).collect::<Vec<_>>() {
            self.remove(Leftover::Input(id)).await?;
        }
        Ok(())
    }

    /// Removes a content, whole or not.
    ///
    /// # Errors
    /// Some of it cannot be removed.
    pub async fn remove_content(&self, content: &Content) -> io::Result<()> {
        let paths: Vec<_> = content.pieces(0..content.size.max(1)).map(|piece| piece.path).collect();
        self.delete(paths).await
    }

    /// Removes what has arrived of a content that nothing names any more.
    ///
    /// # Errors
    /// It cannot be looked at, or some of it not be removed.
    pub async fn remove_arrived(&self, place: Place, blob: BlobId) -> io::Result<()> {
        let size = self.arrived(place, blob).await?;
        self.remove_content(&Content::whole(place, blob, size)).await
    }

    /// Removes contents that nothing names, in the background: nobody waits, and what cannot be removed is only in nobody's
    /// way.
    fn remove_later(&self, contents: Vec<Content>) {
        let (false, Ok(runtime)) = (contents.is_empty(), tokio::runtime::Handle::try_current()) else { return };
        let store = self.clone();
        runtime.spawn(async move {
            for content in contents {
                if let Err(error) = store.remove_content(&content).await {
                    tracing::warn!(%error, "A file that nobody needs cannot be removed now");
                }
            }
        });
    }

    /// Removes an input that nothing names, in the background.
    pub(super) fn remove_input_later(&self, id: InputId) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let store = self.clone();
        runtime.spawn(async move {
            if let Err(error) = store.remove(Leftover::Input(id)).await {
                tracing::warn!(%error, "An upload that was not ended cannot be removed now");
            }
        });
    }

    /// The objects that stand together.
    ///
    /// # Errors
    /// They cannot be listed.
    pub async fn names(&self, place: Place) -> io::Result<Vec<String>> {
        let folder = place.folder();
        match self.kind {
            Kind::Local => names_in(self.directory.join(folder.as_ref())).await,
            Kind::Remote => {
                let listed: Vec<_> = self.objects.list(Some(&folder)).try_collect().await.map_err(failed)?;
                Ok(listed.iter().filter_map(|object| object.location.filename().map(str::to_owned)).collect())
            }
        }
    }

    /// Removes what a run has left on disk and no record names: a crash has cut its upload off. Only while nobody
    /// uploads.
    ///
    /// # Errors
    /// It cannot be looked through.
    pub async fn tidy(&self, place: Place, known: &BTreeSet<BlobId>) -> io::Result<()> {
        let folder = place.folder();
        let names = self.names(place).await?;
        let is_known = |name: &str| blob::of_name(name).is_none_or(|blob| known.contains(&blob));
        let unknown: Vec<_> = names.into_iter().filter(|name| name.contains('#') || !is_known(name)).collect();
        match self.kind {
            // What was not written to its end has a name that no object has.
            Kind::Local => {
                let folder = self.directory.join(folder.as_ref());
                blocking(move || unknown.iter().try_for_each(|name| fs::remove_file(folder.join(name)))).await
            }
            Kind::Remote => self.delete(unknown.iter().map(|name| folder.clone().join(name.as_str())).collect()).await,
        }
    }

    /// Whether the place of the objects answers; a directory always does.
    pub async fn is_reachable(&self) -> bool {
        match self.kind {
            Kind::Local => true,
            Kind::Remote => {
                let answer = tokio::time::timeout(ANSWER_TIMEOUT, async { self.objects.list(None).next().await });
                matches!(answer.await, Ok(None | Some(Ok(_))))
            }
        }
    }

    /// Free space on the disk, if it tells.
    pub async fn free_bytes(&self) -> Option<u64> {
        reserve::free_bytes(Arc::clone(&self.directory)).await
    }

    async fn remove_folder(&self, folder: ObjectPath) -> io::Result<()> {
        match self.kind {
            Kind::Local => match tokio::fs::remove_dir_all(self.directory.join(folder.as_ref())).await {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            },
            Kind::Remote => {
                let listed = self.objects.list(Some(&folder)).map_ok(|object| object.location).boxed();
                self.objects.delete_stream(listed).try_for_each(|_| async { Ok(()) }).await.map_err(failed)
            }
        }
    }

    /// What is not there is removed already.
    async fn delete(&self, paths: Vec<ObjectPath>) -> io::Result<()> {
        let mut deleted = self.objects.delete_stream(stream::iter(paths.into_iter().map(Ok)).boxed());
        while let Some(result) = deleted.next().await {
            match result {
                Ok(_) | Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => return Err(failed(error)),
            }
        }
        Ok(())
    }
}

/// Where the content of an output file is.
#[must_use]
pub fn output(element: ElementId, attempt: u32, file: &FileRecord) -> Content {
    Content::of(Place::Run(element, attempt), file)
}

/// What stands in a directory, which need not be there.
async fn names_in(directory: std::path::PathBuf) -> io::Result<Vec<String>> {
    blocking(move || match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
        Ok(entries) => {
            entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect::<io::Result<Vec<_>>>()
        }
    })
    .await
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(io::Error::other(error)))
}

fn failed(error: object_store::Error) -> io::Error {
    error.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In the directory of a test, which is gone with it.
    struct Local(tempfile::TempDir);

    #[async_trait::async_trait]
    impl contract::FileStoreFactory for Local {
        async fn open(&self) -> FileStore {
            FileStore::open(&self.0.path().join("files")).expect("opened")
        }
    }

    crate::file_store_contract!(Local(tempfile::tempdir().expect("a directory")));

    #[tokio::test]
    async fn nobody_else_looks_into_the_directory_and_what_was_not_ended_is_tidied() {
        let scratch = tempfile::tempdir().expect("a directory");
        let directory = scratch.path().join("files");
        fs::create_dir_all(directory.join(TEMPORARY)).expect("made");
        let store = FileStore::open(&directory).expect("opened");
        assert!(!directory.join(TEMPORARY).exists(), "of an earlier version");
        assert_eq!(fs::metadata(&directory).expect("there").permissions().mode() & 0o777, 0o700);
        let place = contract::place(1);
        let mut writer = store.write(place, BlobId(7.into())).await.expect("begun");
        writer.write(vec![1; 3 * LOCAL_PART].into()).await.expect("written");
        // As if the process had been killed: nothing is cleaned up.
        std::mem::forget(writer);
        let staged = store.names(place).await.expect("listed");
        assert!(staged.len() == 1 && staged[0].contains('#'), "{staged:?}");
        store.tidy(place, &BTreeSet::new()).await.expect("tidied");
        assert_eq!(store.names(place).await.expect("listed"), [""; 0]);
    }
}
