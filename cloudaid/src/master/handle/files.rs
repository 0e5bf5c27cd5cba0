//! Files of tasks, and files that users have uploaded.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use cloudaid_core::files::{FileUsage, GoneFile, InputFile, InputRecord, Leftover, UploadRecord};
use cloudaid_core::input::Input;
use cloudaid_core::record::FileRecord;
use cloudaid_core::reject::Reject;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt, stream};
use shared::error::ApiError;
use shared::id::{AttemptKey, BlobId, ElementId, Elements, Fence, InputId, TaskId, TaskRef, UserName, WorkerId};
use shared::time::WallTime;

use super::file_mark::FileMark;
use super::{ClusterHandle, internal, unreadable};
use crate::master::call::Call;
use crate::master::files::Part;
use crate::store::{FileName, FilePlace, FileQuery, PageRoom, RunSize, StoredFile};

/// The most uploads that are looked at together: more than workers have at a time.
const UPLOADS_LIMIT: usize = 10_000;
/// Output files that are read together.
const FILES_OF_PAGE: usize = 1000;

/// What a user keeps, and the most that may be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// Now.
    pub usage: FileUsage,
    /// How much more may be; none: as much as there is room for.
    pub room: Option<FileUsage>,
    /// The most that may be; none: as much as there is room for.
    pub quota: Option<FileUsage>,
}

/// Output files as they are read.
pub(crate) type FileStream = BoxStream<'static, Result<StoredFile, ApiError>>;

impl ClusterHandle {
    /// Output files, as they are read: a page of them is held at a time. Those that come or go meanwhile may be among them
    /// or not; those of an element are all of one run.
    pub(crate) fn files(&self, task: TaskRef) -> FileStream {
        let store = Arc::clone(&self.store);
        // None: the last page has been read.
        let pages = stream::try_unfold(Some(None), move |place: Option<Option<FilePlace>>| {
            let store = Arc::clone(&store);
            async move {
                let Some(after) = place else { return Ok::<_, ApiError>(None) };
                let page = store.list_files(task.task, task.elements, after, FILES_OF_PAGE).await;
                let page = page.map_err(|error| unreadable(&error))?;
                let mut room = PageRoom::new(FILES_OF_PAGE);
                let is_whole = page.iter().all(|file| room.take(&file.file.path)) && !room.is_full();
                let last = page.last().filter(|_| !is_whole);
                let next = last.map(|last| Some(FilePlace::of(last)));
                Ok(Some((stream::iter(page.into_iter().map(Ok)), next)))
            }
        });
        pages.try_flatten().boxed()
    }

    /// The output files with this name.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn files_at(&self, task: TaskRef, name: FileName) -> Result<Vec<StoredFile>, ApiError> {
        self.store.find_files(task.task, task.elements, None, name).await.map_err(|error| unreadable(&error))
    }

    /// A page of the output files of all tasks of a user, newest task first, those behind `after`, `limit` (1 or more) at
    /// the most; and where it ends, if it is not the last.
    ///
    /// # Errors
    /// The file at which the page before ended is gone, or the store cannot be read.
    pub async fn user_files(
        &self,
        user: UserName,
        after: Option<FileMark>,
        limit: usize,
    ) -> Result<(Vec<StoredFile>, Option<FileMark>), ApiError> {
        let after = match after {
            Some(mark) => Some(self.place_of(&user, mark).await?),
            None => None,
        };
        let found = self.store.list_user_files(FileQuery { user, after, limit }).await;
        let (files, next) = found.map_err(|error| unreadable(&error))?;
        let last = files.last().map(|file| file.element.task);
        let next = next.zip(last).map(|(cursor, task)| FileMark::at(cursor, task));
        Ok((files, next))
    }

    /// How much the files of a run may come to; none: as much as there is room for. What is known of this run would be
    /// replaced.
    ///
    /// # Errors
    /// There is no such task.
    pub(crate) async fn room_for(&self, key: AttemptKey) -> Result<Option<FileUsage>, ApiError> {
        let Some(room) = self.free_room(key).await? else { return Ok(None) };
        Ok(Some(room.plus(self.size_of_run(key).await?)))
    }

    /// The same of a run of which nothing is known.
    ///
    /// # Errors
    /// There is no such task.
    pub(crate) async fn free_room(&self, key: AttemptKey) -> Result<Option<FileUsage>, ApiError> {
        let user = self.stored(key.task.into()).await?.record.user.clone();
        Ok(self.kept(user).await?.room)
    }

    /// What is known of a run's output files.
    ///
    /// # Errors
    /// The store cannot be read.
    pub(crate) async fn size_of_run(&self, key: AttemptKey) -> Result<FileUsage, ApiError> {
        let runs = self.run_sizes(key.task, Elements::One(key.index)).await?;
        Ok(runs.into_iter().find(|run| run.attempt == key.attempt).map(|run| run.size).unwrap_or_default())
    }

    /// How far the upload of a run's output files is; none: there is none, or it has ended.
    ///
    /// # Errors
    /// The store cannot be read.
    pub(crate) async fn upload_of(&self, key: AttemptKey) -> Result<Option<UploadRecord>, ApiError> {
        self.store.find_upload(key.element(), key.attempt).await.map_err(|error| unreadable(&error))
    }

    /// More output files of a run have arrived and are durable. Nobody sees them until the upload has ended.
    ///
    /// # Errors
    /// The run is not the present one of this worker, or its user would keep too much.
    pub async fn files_staged(&self, worker: WorkerId, key: AttemptKey, part: Part) -> Result<(), ApiError> {
        let Part { files, upload } = part;
        self.ask(|request| Input::FilesStaged { request, worker, key, files, upload }).await.map(|_done| ())
    }

    /// The last output files of a run have arrived and are durable; `is_staged`: after others.
    ///
    /// # Errors
    /// As of [`Self::files_staged`].
    pub async fn upload_ended(
        &self,
        worker: WorkerId,
        key: AttemptKey,
        (part, is_staged): (Part, bool),
    ) -> Result<(), ApiError> {
        let _turn = self.shell.file_turns.take(key.task).await;
        let Part { files, upload } = part;
        let last = FileUsage::of(files.iter().map(|file| file.size));
        let staged = is_staged.then(|| upload.size.minus(last));
        self.ask(|request| Input::UploadEnded { request, worker, key, files, staged }).await.map(|_done| ())
    }

    /// An upload of output files begins anew, or will not end: what is staged goes. Its bytes have to go too, at once if
    /// the run goes on (`sweep` is not set), and by whoever calls. Returns whether there was something.
    ///
    /// # Errors
    /// The master is stopping.
    pub(crate) async fn drop_upload(&self, key: AttemptKey, sweep: bool) -> Result<bool, ApiError> {
        let _turn = self.shell.file_turns.take(key.task).await;
        // It may have ended meanwhile.
        if self.upload_of(key).await?.is_none() {
            return Ok(false);
        }
        self.ask(|request| Input::DropUpload { request, key, sweep }).await.map(|_done| true)
    }

    /// Drops uploads of runs that are over: their workers will not go on with them.
    ///
    /// # Errors
    /// The store cannot be read, or the master is stopping.
    pub(crate) async fn drop_dead_uploads(&self) -> Result<(), ApiError> {
        let uploads = self.store.list_uploads(UPLOADS_LIMIT).await.map_err(|error| unreadable(&error))?;
        for key in uploads {
            if !self.live().may_contain(key) {
                self.drop_upload(key, true).await?;
            }
        }
        Ok(())
    }

    /// More output files of a run have arrived and are durable: they come to those that are known, or take the place of
    /// what has the same name.
    ///
    /// # Errors
    /// As of [`Self::files_staged`].
    pub(crate) async fn files_added(
        &self,
        worker: WorkerId,
        key: AttemptKey,
        files: Vec<FileRecord>,
    ) -> Result<(), ApiError> {
        let _turn = self.shell.file_turns.take(key.task).await;
        let known = self.files_of(key).await?;
        let before = known.iter().map(gone).collect();
        let mut all: BTreeMap<_, _> = known.into_iter().map(|known| (known.file.path.clone(), known.file)).collect();
        all.extend(files.into_iter().map(|file| (file.path.clone(), file)));
        let files = all.into_values().collect();
        self.ask(|request| Input::FilesStored { request, worker, key, files, before }).await.map(|_done| ())
    }

    /// The output files of a run that are known.
    ///
    /// # Errors
    /// The store cannot be read.
    pub(crate) async fn files_of(&self, key: AttemptKey) -> Result<Vec<StoredFile>, ApiError> {
        let mut known = self.run_files(key.task, Elements::One(key.index)).await?;
        known.retain(|file| file.attempt == key.attempt);
        Ok(known)
    }

    /// Forgets output files: those of all runs of these elements, or this one.
    ///
    /// # Errors
    /// Not found, or the store cannot be read.
    pub async fn delete_files(&self, task: TaskRef, only: Option<StoredFile>) -> Result<FileUsage, ApiError> {
        let cluster = self.clone();
        // To its end, also when nobody waits for it any more: what is counted has to be what is deleted.
        detached(async move {
            let _turn = cluster.shell.file_turns.take(task.task).await;
            let user = cluster.stored(task).await?.record.user.clone();
            let mut runs = match &only {
                Some(only) => cluster.run_sizes(task.task, Elements::One(only.element.index)).await?,
                None => cluster.run_sizes(task.task, task.elements).await?,
            };
            let (mut there, mut size) = (Vec::new(), FileUsage::default());
            if let Some(only) = only {
                runs.retain(|run| (run.element, run.attempt) == (only.element, only.attempt) && run.size.files == 1);
                there = cluster.files_at(only.element.into(), FileName::Path(only.file.path.clone())).await?;
                there.retain(|file| *file == only);
                // The last one of a run goes with all that the run has left.
                runs.retain(|_| !there.is_empty());
                there.retain(|_| runs.is_empty());
            }
            // A run that goes on brings more: only what is known of it goes.
            let (live, runs): (Vec<_>, Vec<_>) =
                runs.into_iter().partition(|run| cluster.live().may_hold(run.element, run.attempt));
            for RunSize { element, attempt, .. } in live {
                let files = cluster.run_files(element.task, Elements::One(element.index)).await?;
                there.extend(files.into_iter().filter(|file| file.attempt == attempt));
            }
            if !there.is_empty() {
                let (user, files): (_, Arc<[GoneFile]>) = (user.clone(), there.iter().map(gone).collect());
                size = FileUsage::of(files.iter().map(|file| file.size));
                cluster.ask(|request| Input::DeleteFiles { request, user, files }).await?;
            }
            if !runs.is_empty() {
                let of_runs = total(&runs);
                size = size.plus(of_runs);
                let runs = runs.into_iter().map(|run| run_key(run.element, run.attempt)).collect();
                cluster.ask(|request| Input::DeleteRunFiles { request, user, runs, size: of_runs }).await?;
            }
            Ok(size)
        })
        .await
    }

    /// Forgets a task that has ended, with all that it left.
    ///
    /// # Errors
    /// Not found, or not ended.
    pub async fn delete(&self, task: TaskId) -> Result<(), ApiError> {
        let cluster = self.clone();
        detached(async move {
            let _turn = cluster.shell.file_turns.take(task).await;
            let user = cluster.stored(task.into()).await?.record.user.clone();
            let files = cluster.size_of_files(task).await?;
            cluster.ask(|request| Input::DeleteTask { request, task, user, files }).await.map(|_done| ())
        })
        .await
    }

    /// What the store has of the files of a task.
    async fn size_of_files(&self, task: TaskId) -> Result<FileUsage, ApiError> {
        Ok(total(&self.run_sizes(task, Elements::All).await?))
    }

    async fn run_sizes(&self, task: TaskId, elements: Elements) -> Result<Vec<RunSize>, ApiError> {
        self.store.list_run_sizes(task, elements).await.map_err(|error| unreadable(&error))
    }

    async fn run_files(&self, task: TaskId, elements: Elements) -> Result<Vec<StoredFile>, ApiError> {
        self.store.list_run_files(task, elements).await.map_err(|error| unreadable(&error))
    }

    /// What a user keeps.
    ///
    /// # Errors
    /// The master is stopping.
    pub async fn kept(&self, user: UserName) -> Result<Kept, ApiError> {
        self.read(move |cluster| Kept {
            usage: cluster.file_usage(&user),
            room: cluster.file_room(&user),
            quota: cluster.file_quota(&user),
        })
        .await
    }

    /// An input, and how many tasks read it.
    ///
    /// # Errors
    /// Not found.
    pub async fn input(&self, id: InputId) -> Result<(InputRecord, u32), ApiError> {
        let found = self.read(move |cluster| Some((cluster.input(id)?.clone(), cluster.input_readers(id)))).await?;
        found.ok_or_else(|| Reject::InputNotFound(id).into())
    }

    /// A page of the inputs of a user, the newest first, each with how many tasks read it.
    ///
    /// # Errors
    /// The master is stopping.
    pub async fn inputs(
        &self,
        user: UserName,
        before: Option<InputId>,
        limit: usize,
    ) -> Result<Vec<(InputRecord, u32)>, ApiError> {
        self.read(move |cluster| {
            let of_user = cluster.inputs().rev().filter(|input| input.user == user);
            let older = of_user.filter(|input| before.is_none_or(|before| input.id < before));
            older.take(limit).map(|input| (input.clone(), cluster.input_readers(input.id))).collect()
        })
        .await
    }

    /// The input that a task reads, if any.
    ///
    /// # Errors
    /// There is no such task.
    pub(crate) async fn input_of(&self, task: TaskId) -> Result<Option<InputId>, ApiError> {
        Ok(self.stored(task.into()).await?.record.spec.input)
    }

    /// The files of an input, by path.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn input_files(&self, id: InputId) -> Result<Vec<InputFile>, ApiError> {
        self.store.list_input_files(id).await.map_err(|error| unreadable(&error))
    }

    /// One file of an input.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn input_file(&self, id: InputId, path: &[u8]) -> Result<Option<InputFile>, ApiError> {
        self.store.find_input_file(id, path.to_vec()).await.map_err(|error| unreadable(&error))
    }

    /// Whether a content of an input has not arrived.
    ///
    /// # Errors
    /// The master is stopping.
    pub(crate) async fn is_missing(&self, id: InputId, blob: BlobId) -> Result<bool, ApiError> {
        self.read(move |cluster| cluster.is_missing(id, blob)).await
    }

    /// Which of these inputs are no more.
    ///
    /// # Errors
    /// The master is stopping.
    pub(crate) async fn unknown_inputs(&self, mut ids: BTreeSet<InputId>) -> Result<BTreeSet<InputId>, ApiError> {
        self.read(move |cluster| {
            ids.retain(|id| cluster.input(*id).is_none());
            ids
        })
        .await
    }

    /// A part of an input has arrived.
    ///
    /// # Errors
    /// The master is stopping.
    pub(crate) async fn use_input(&self, id: InputId) -> Result<(), ApiError> {
        self.send(Input::UseInput { id }).await
    }

    /// Makes an input of these files, which may have arrived or not.
    ///
    /// # Errors
    /// Its user would keep too much.
    pub async fn add_input(&self, id: InputId, user: UserName, files: Arc<[InputFile]>) -> Result<(), ApiError> {
        self.ask(|request| Input::AddInput { request, id, user, files }).await.map(|_done| ())
    }

    /// Files of an input have arrived and are durable. Those of them that had arrived before stay as they were.
    ///
    /// # Errors
    /// There is no such input any more.
    pub async fn input_files_received(&self, id: InputId, files: Arc<[InputFile]>) -> Result<(), ApiError> {
        self.ask(|request| Input::InputFilesReceived { request, id, files }).await.map(|_done| ())
    }

    /// Forgets an input.
    ///
    /// # Errors
    /// Not found, or a task reads it.
    pub async fn delete_input(&self, id: InputId) -> Result<(), ApiError> {
        self.ask(|request| Input::DeleteInput { request, id }).await.map(|_done| ())
    }

    /// Forgets inputs that were last used before a time, but for some.
    ///
    /// # Errors
    /// The master is stopping.
    pub(crate) async fn expire_inputs(
        &self,
        unused_since: WallTime,
        except: BTreeSet<InputId>,
    ) -> Result<(), ApiError> {
        self.send(Input::ExpireInputs { unused_since, except }).await
    }

    /// Tasks that ended before a time and have files: some of them.
    ///
    /// # Errors
    /// The store cannot be read.
    pub(crate) async fn tasks_with_files(&self, ended_before: WallTime, limit: usize) -> Result<Vec<TaskId>, ApiError> {
        self.store.list_tasks_with_files(ended_before, limit).await.map_err(|error| unreadable(&error))
    }

    /// What nothing names any more is gone.
    pub(crate) async fn swept(&self, leftover: Leftover) {
        if let Err(error) = self.send(Input::Swept { leftover }).await {
            tracing::debug!(%leftover, error = %error.message, "a removal could not be noted");
        }
    }
}

fn gone(stored: &StoredFile) -> GoneFile {
    let FileRecord { path, size, blob, start, .. } = &stored.file;
    let (element, attempt, path) = (stored.element, stored.attempt, path.clone());
    GoneFile { element, attempt, path, size: *size, blob: *blob, shared: start.is_some() }
}

/// All of these runs together.
fn total(runs: &[RunSize]) -> FileUsage {
    runs.iter().fold(FileUsage::default(), |size, run| size.plus(run.size))
}

/// Names a run where its fence does not matter: no two of an element have the same number.
fn run_key(element: ElementId, attempt: u32) -> AttemptKey {
    AttemptKey { task: element.task, index: element.index, attempt, fence: Fence(0) }
}

/// Work that goes on to its end when whoever waits for it is gone, for the same call.
pub(crate) async fn detached<T: Send + 'static>(
    work: impl Future<Output = Result<T, ApiError>> + Send + 'static,
) -> Result<T, ApiError> {
    let work = async move {
        match Call::current() {
            Some(call) => tokio::spawn(async move { call.scope(work).await }).await,
            None => tokio::spawn(work).await,
        }
    };
    work.await.unwrap_or_else(|error| Err(internal(&error.to_string())))
}
