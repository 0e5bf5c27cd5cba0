//! From the configuration to a store that is open.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::task::JoinHandle;
use tracing::{info, warn};

use super::MasterError;
use super::belonging::{self, Belonging};
use crate::config::{MasterConfig, MongoSettings};
use crate::held;
use crate::pause::Pauses;
use crate::store::mongo::{MongoConfig, MongoStore, Standing};
use crate::store::sqlite::{DirectoryLock, SqliteStore};
use crate::store::transfer::CopyError;
use crate::store::{CommitError, Store, StoreError, blocking};

/// Where the embedded store is that stands in for MongoDB, in the data directory.
pub const FALLBACK: &str = "fallback";

/// A store, and what has to live as long as it is used.
pub(super) struct Opened {
    pub(super) store: Arc<dyn Store>,
    _lock: Option<DirectoryLock>,
    _tasks: Vec<Task>,
}

/// What goes on beside the master, and ends with it.
struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Opens the store that is configured, or the embedded one where MongoDB cannot be reached and need not be.
pub(super) async fn open_store(config: &MasterConfig) -> Result<Opened, MasterError> {
    let Some(settings) = &config.store.mongodb else {
        let store = unless_held(|| SqliteStore::open_async(&config.data_dir)).await?;
        info!("✓ SQLite tables ensured ({})", config.data_dir.display());
        return Ok(Opened { store: Arc::new(store), _lock: None, _tasks: Vec::new() });
    };
    // Logs, files and keys are there all the same.
    let acquire = || {
        let data_dir = config.data_dir.clone();
        blocking(move || DirectoryLock::acquire(&data_dir))
    };
    let lock = Some(unless_held(acquire).await?);
    let fallback = config.data_dir.join(FALLBACK);
    let belonging = Belonging::of(&config.data_dir, &fallback).await?;
    match remote(settings).await {
        Ok((store, place)) => {
            let local = open_fallback(&fallback).await?;
            let standing = join(&store, local.as_ref(), &belonging, &fallback, &place).await?;
            let store = Arc::new(store);
            let mut tasks = Vec::new();
            if settings.required {
                // It does not follow any more, so it is of no use.
                drop(local);
                SqliteStore::remove(&fallback)?;
            } else {
                tasks.extend(follow(&store, local, standing, fallback).await?);
            }
            Ok(Opened { store, _lock: lock, _tasks: tasks })
        }
        Err(StoreError::Unreachable(why)) if !settings.required => {
            let store = SqliteStore::open_async(&fallback).await?;
            let is_begun = store.cluster().await?.is_some();
            if !is_begun && (belonging.cluster.is_some() || store.load().await?.0.is_unfinished_copy()) {
                return Err(MasterError::UnfinishedFallback);
            }
            warn!(
                "MongoDB cannot be reached ({why}); continuing on the embedded store in {}. What is written there is \
                 imported at a later start that reaches MongoDB",
                fallback.display()
            );
            Ok(Opened { store: Arc::new(store.standing_in()), _lock: lock, _tasks: Vec::new() })
        }
        Err(error) => Err(error.into()),
    }
}

/// Opens what is in the data directory. Whoever has it may be about to end.
async fn unless_held<T, F>(open: impl FnMut() -> F) -> Result<T, StoreError>
where
    F: Future<Output = Result<T, StoreError>>,
{
    held::wait(held::PATIENCE, open, |error| matches!(error, StoreError::InUse { .. })).await
}

/// The store that follows MongoDB, if there is one that was whole.
async fn open_fallback(dir: &Path) -> Result<Option<SqliteStore>, StoreError> {
    if !SqliteStore::exists(dir) {
        return Ok(None);
    }
    let local = SqliteStore::open_async(dir).await?;
    let is_whole = local.cluster().await?.is_some();
    Ok(is_whole.then_some(local))
}

async fn remote(settings: &MongoSettings) -> Result<(MongoStore, String), StoreError> {
    let config = MongoConfig::new(settings).await?;
    let store = MongoStore::open(&config).await?;
    info!("✓ MongoDB collections ensured ({})", config.place());
    Ok((store, config.place()))
}

/// Refuses what belongs to another cluster, and imports what was written while MongoDB was away.
async fn join(
    store: &MongoStore,
    local: Option<&SqliteStore>,
    belonging: &Belonging,
    dir: &Path,
    place: &str,
) -> Result<Standing, MasterError> {
    let found = store.cluster().await?;
    let Some(local) = local else {
        belonging.check(found, place)?;
        return Ok(Standing::Behind);
    };
    // One that began without MongoDB brings the first commit of all.
    if found.is_some() || belonging.is_noted() {
        belonging.check(found, place)?;
        let own = local.cluster().await?.map(|record| record.cluster);
        belonging::check(own, found, place)?;
    }
    let standing = store.bring_back(local, dir).await.map_err(|error| match error {
        CopyError::Store(error) => MasterError::Store(error),
        CopyError::Commit(error) => MasterError::Commit(error),
        other => MasterError::Commit(CommitError::Fatal(StoreError::Server(other.to_string()))),
    })?;
    if let Standing::Equal { imported: imported @ 1.. } = standing {
        info!("✓ {imported} commits that were made while MongoDB was away are imported");
    }
    Ok(standing)
}

/// Sees that an embedded store follows from now on: the one that is there, or a new one, which takes its place when it is
/// whole.
async fn follow(
    store: &Arc<MongoStore>,
    local: Option<SqliteStore>,
    standing: Standing,
    dir: PathBuf,
) -> Result<Option<Task>, StoreError> {
    match (standing, local) {
        (Standing::Equal { .. }, Some(local)) => {
            store.lead(local, &dir);
            Ok(None)
        }
        (_, local) if store.position().await.0 == 0 => {
            drop(local);
            SqliteStore::remove(&dir)?;
            store.lead(SqliteStore::open_async(&dir).await?, &dir);
            Ok(None)
        }
        (_, local) => {
            drop(local);
            let leader = Arc::clone(store);
            Ok(Some(Task(tokio::spawn(async move { copy_until_whole(&leader, &dir).await }))))
        }
    }
}

async fn copy_until_whole(store: &MongoStore, dir: &Path) {
    let fresh = dir.with_extension("new");
    let mut pauses = Pauses::default();
    loop {
        let copied = async {
            SqliteStore::remove(&fresh)?;
            store.copy_and_lead(&fresh, dir).await
        };
        match copied.await {
            Ok(()) => {
                info!("The embedded store in {} follows MongoDB", dir.display());
                return;
            }
            Err(error) => warn!("The embedded store in {} does not follow MongoDB yet: {error}", dir.display()),
        }
        tokio::time::sleep(pauses.next()).await;
    }
}
