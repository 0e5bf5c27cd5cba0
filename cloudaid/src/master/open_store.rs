//! From the configuration to a store that is open.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::task::JoinHandle;
use tracing::{info, warn};

use super::MasterError;
use crate::config::{MasterConfig, MongoSettings};
use crate::store::mongo::{MongoConfig, MongoStore, Standing};
use crate::store::sqlite::{DirectoryLock, SqliteStore};
use crate::store::transfer::CopyError;
use crate::store::{CommitError, Store, StoreError};

/// Where the embedded store is that stands in for MongoDB, in the data directory.
const FALLBACK: &str = "fallback";

/// A store, and what has to live as long as it is used.
pub(super) struct Opened {
    pub(super) store: Arc<dyn Store>,
    _lock: Option<DirectoryLock>,
    _copying: Option<Copying>,
}

/// A copy that is being made, which ends with the master.
struct Copying(JoinHandle<()>);

impl Drop for Copying {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Opens the store that is configured, or the embedded one where MongoDB cannot be reached and need not be.
pub(super) async fn open_store(config: &MasterConfig) -> Result<Opened, MasterError> {
    let Some(settings) = &config.store.mongodb else {
        let store = open(&config.data_dir).await?;
        info!("✓ SQLite tables ensured ({})", config.data_dir.display());
        return Ok(Opened { store: Arc::new(store), _lock: None, _copying: None });
    };
    // Logs, files and keys are there all the same.
    let data_dir = config.data_dir.clone();
    let lock = tokio::task::spawn_blocking(move || DirectoryLock::acquire(&data_dir)).await;
    let lock = Some(lock.map_err(|_| StoreError::Closed)??);
    let fallback = config.data_dir.join(FALLBACK);
    match remote(settings).await {
        Ok(store) if settings.required => {
            refuse_leftovers(&store, &fallback).await?;
            Ok(Opened { store: Arc::new(store), _lock: lock, _copying: None })
        }
        Ok(store) => {
            let (store, copying) = lead(store, fallback).await?;
            Ok(Opened { store, _lock: lock, _copying: copying })
        }
        Err(StoreError::Unreachable(why)) if !settings.required => {
            let store = open(&fallback).await?;
            if store.load().await?.0.is_unfinished_copy() {
                return Err(MasterError::UnfinishedFallback);
            }
            warn!(
                "MongoDB cannot be reached ({why}); continuing on the embedded store in {}. What is written there is \
                 imported at a later start that reaches MongoDB",
                fallback.display()
            );
            Ok(Opened { store: Arc::new(store.standing_in()), _lock: lock, _copying: None })
        }
        Err(error) => Err(error.into()),
    }
}

async fn open(dir: &Path) -> Result<SqliteStore, StoreError> {
    let dir = dir.to_owned();
    tokio::task::spawn_blocking(move || SqliteStore::open(&dir)).await.map_err(|_| StoreError::Closed)?
}

async fn remote(settings: &MongoSettings) -> Result<MongoStore, StoreError> {
    let config = MongoConfig::new(settings).await?;
    let store = MongoStore::open(&config).await?;
    info!("✓ MongoDB collections ensured ({})", config.place());
    Ok(store)
}

/// Imports what the embedded store has, if there is one, and sees that one follows from now on.
async fn lead(store: MongoStore, dir: PathBuf) -> Result<(Arc<dyn Store>, Option<Copying>), MasterError> {
    let local = open(&dir).await?;
    let is_unfinished = local.load().await?.0.is_unfinished_copy();
    let standing = if is_unfinished { Standing::Behind } else { bring_back(&store, &local, &dir).await? };
    match standing {
        Standing::Equal { .. } => {
            store.lead(local, &dir);
            Ok((Arc::new(store), None))
        }
        Standing::Behind => {
            drop(local);
            let cleared = dir.clone();
            let local = tokio::task::spawn_blocking(move || {
                std::fs::remove_dir_all(&cleared)
                    .map_err(|source| StoreError::Io { path: cleared.display().to_string(), source })?;
                SqliteStore::open(&cleared)
            });
            let local = local.await.map_err(|_| StoreError::Closed)??;
            let store = Arc::new(store);
            let leader = Arc::clone(&store);
            let copying = tokio::spawn(async move {
                match leader.copy_and_lead(local, &dir).await {
                    Ok(()) => info!("The embedded store in {} follows MongoDB", dir.display()),
                    Err(error) => warn!("The embedded store in {} does not follow MongoDB: {error}", dir.display()),
                }
            });
            Ok((store, Some(Copying(copying))))
        }
    }
}

/// A master that is to have MongoDB has no store beside it; but what one has must not be forgotten.
async fn refuse_leftovers(store: &MongoStore, dir: &Path) -> Result<(), MasterError> {
    if !SqliteStore::exists(dir) {
        return Ok(());
    }
    let local = open(dir).await?;
    if !local.load().await?.0.is_unfinished_copy() {
        bring_back(store, &local, dir).await?;
    }
    drop(local);
    // It does not follow any more, so it is of no use.
    std::fs::remove_dir_all(dir).map_err(|source| StoreError::Io { path: dir.display().to_string(), source })?;
    Ok(())
}

async fn bring_back(store: &MongoStore, local: &SqliteStore, dir: &Path) -> Result<Standing, MasterError> {
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
