//! What tasks read at /input: fetched once per input, and shared by all runs on this worker that read it.
//!
//! ```text
//! inputs/<input>        whole, and never changed
//! inputs/coming-<input> being fetched
//! ```

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use shared::id::{AttemptKey, InputId};
use shared::proto::file_frame::Content;
use tokio::sync::{Mutex as AsyncMutex, Semaphore, watch};
use tonic::{Code, Status};

use super::data_dir::DataDir;
use super::link::dial::{Uplink, describe_status};
use crate::runtime::RuntimeError;

mod folder;

use folder::{Folder, NewFile};

/// How long an input stays that no run here reads: those of an array, or of the next try, are soon to come.
const UNUSED_FOR: Duration = Duration::from_secs(600);

/// Inputs that are fetched at a time: more would only share the same network, and take calls of the same connection from
/// uploads and logs, of which the master serves only so many.
const FETCHES: usize = 4;

/// All inputs of this worker.
#[derive(Debug)]
pub(super) struct Inputs {
    data: Arc<DataDir>,
    uplink: watch::Receiver<Option<Uplink>>,
    /// Whoever holds the lock of an input fetches it.
    locks: Mutex<BTreeMap<InputId, Arc<AsyncMutex<()>>>>,
    slots: Semaphore,
}

/// Why an input did not come.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error("{0}")]
    Master(String),
    #[error("{0}")]
    Never(String),
    #[error("it cannot be written: {0}")]
    Disk(#[from] io::Error),
}

impl Inputs {
    pub(super) fn new(data: Arc<DataDir>, uplink: watch::Receiver<Option<Uplink>>) -> Self {
        Self { data, uplink, locks: Mutex::default(), slots: Semaphore::new(FETCHES) }
    }

    /// Sees to it that the input of a run is here, and stays for as long as the run is.
    pub(super) async fn ensure(&self, key: AttemptKey, id: InputId) -> Result<(), RuntimeError> {
        let lock = Arc::clone(self.locks.lock().entry(id).or_default());
        let _turn = lock.lock().await;
        let fetched = async {
            let data = Arc::clone(&self.data);
            if blocking(move || data.claim_input(&key, id)).await? {
                return Ok(());
            }
            // The semaphore is never closed.
            let _slot = self.slots.acquire().await;
            tracing::info!(task = %key, input = %id, "Fetching the input");
            self.fetch(key, id).await
        };
        fetched.await.map_err(|error: Broken| match error {
            Broken::Never(reason) => RuntimeError::Setup(format!("the input cannot be had: {reason}")),
            other => RuntimeError::Engine(format!("the input is not here yet: {other}")),
        })
    }

    /// Removes what no run has read for a while.
    pub(super) fn sweep(&self) {
        if let Err(error) = self.data.sweep_inputs(UNUSED_FOR) {
            tracing::warn!(%error, "Old inputs cannot be removed");
        }
        self.locks.lock().retain(|_, lock| Arc::strong_count(lock) > 1);
    }

    /// The same, when what is read now may have been unused for so long.
    pub(super) async fn sweep_later(self: Arc<Self>) {
        tokio::time::sleep(UNUSED_FOR).await;
        // A failure is a panic of the sweep.
        let _ = tokio::task::spawn_blocking(move || self.sweep()).await;
    }

    async fn fetch(&self, key: AttemptKey, id: InputId) -> Result<(), Broken> {
        let mut uplink = self.uplink.clone();
        let found = uplink.wait_for(Option::is_some).await.ok().and_then(|found| found.clone());
        let Some(Uplink { mut client, .. }) = found else {
            return Err(Broken::Master("the worker stops".into()));
        };
        let (data, to) = (Arc::clone(&self.data), id);
        let coming: PathBuf = blocking(move || data.begin_input(to)).await?;
        let folder = Folder::open(&coming)?;
        let mut frames = client
            .fetch_input(shared::proto::Attempt::from(key))
            .await
            .map_err(|status| refused(&status))?
            .into_inner();
        let mut open: Option<NewFile> = None;
        while let Some(frame) = frames.message().await.map_err(|status| refused(&status))? {
            open = match (frame.content, open) {
                (Some(Content::Begin(begin)), None) => {
                    let folder = folder.clone();
                    Some(blocking(move || folder.create(&begin.path, begin.size, begin.executable)).await?)
                }
                (Some(Content::Data(data)), Some(mut file)) => {
                    Some(blocking(move || file.write(&data).map(|()| file)).await?)
                }
                (Some(Content::End(end)), Some(file)) => {
                    file.finish(&end.blake3)?;
                    None
                }
                _ => return Err(Broken::Master("the master sends frames that make no files".into())),
            };
        }
        if open.is_some() {
            return Err(Broken::Master("the master has ended within a file".into()));
        }
        let data = Arc::clone(&self.data);
        blocking(move || data.finish_input(id)).await.map_err(Broken::Disk)
    }
}

/// What the master says about this run or this input stays so; everything else may pass.
fn refused(status: &Status) -> Broken {
    let reason = describe_status(status);
    match status.code() {
        Code::FailedPrecondition | Code::DataLoss | Code::NotFound | Code::Unimplemented | Code::InvalidArgument => {
            Broken::Never(reason)
        }
        _ => Broken::Master(reason),
    }
}

/// Work with files, on a thread that may wait for them.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(io::Error::other(error)))
}
