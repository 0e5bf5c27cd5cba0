//! Which cluster a data directory belongs to, so that another MongoDB, or an empty one, is not taken for its own: logs, files
//! and keys are here, and would be taken for leftovers.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use shared::id::ClusterId;

use crate::store::sqlite::SqliteStore;
use crate::store::{StoreError, blocking};

/// The file, in the data directory.
const FILE: &str = "mongodb-cluster";

/// A data directory whose facts are in MongoDB.
#[derive(Debug)]
pub(super) struct Belonging {
    path: PathBuf,
    /// Which cluster's it is, if it was used before.
    pub(super) cluster: Option<ClusterId>,
}

impl Belonging {
    /// What is known of `data_dir`, in which the store that stands in for MongoDB is in `fallback`.
    pub(super) async fn of(data_dir: &Path, fallback: &Path) -> Result<Self, StoreError> {
        let path = data_dir.join(FILE);
        let noted = match fs::read_to_string(&path) {
            Ok(text) => Some(text.trim().parse().map_err(|_| {
                StoreError::Corrupt(format!("{} names no cluster: remove it if MONGODB_URI is right", path.display()))
            })?),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(source) => return Err(StoreError::Io { path: path.display().to_string(), source }),
        };
        // Somebody may have used it with the embedded store.
        let cluster = match noted {
            Some(cluster) => Some(cluster),
            None => match embedded(data_dir).await? {
                Some(cluster) => Some(cluster),
                None => embedded(fallback).await?,
            },
        };
        Ok(Self { path, cluster })
    }

    /// Whether its facts were in MongoDB before.
    pub(super) fn is_noted(&self) -> bool {
        self.path.exists()
    }

    /// Refuses a MongoDB of another cluster.
    pub(super) fn check(&self, found: Option<ClusterId>, place: &str) -> Result<(), StoreError> {
        check(self.cluster, found, place)
    }
}

/// Notes, durably, that the facts of `data_dir` are in MongoDB, and whose they are. Before anything is accepted: what is in
/// MongoDB by then must not be forgotten when it is away at the next start.
pub(super) async fn note(data_dir: &Path, cluster: ClusterId) -> Result<(), StoreError> {
    let path = data_dir.join(FILE);
    blocking(move || {
        if path.exists() {
            return Ok(());
        }
        let new = path.with_extension("new");
        let written = File::create(&new).and_then(|mut file| {
            writeln!(file, "{cluster}")?;
            file.sync_all()?;
            fs::rename(&new, &path)
        });
        written.map_err(|source| StoreError::Io { path: path.display().to_string(), source })
    })
    .await
}

/// Refuses what is found at `place`, if something else is expected.
pub(super) fn check(expected: Option<ClusterId>, found: Option<ClusterId>, place: &str) -> Result<(), StoreError> {
    match expected {
        Some(expected) if found != Some(expected) => Err(StoreError::OtherCluster {
            place: place.to_owned(),
            found: found.map_or_else(|| "is empty".to_owned(), |found| format!("holds cluster {found}")),
            expected: expected.to_string(),
        }),
        _ => Ok(()),
    }
}

/// The cluster of the embedded store in a data directory.
async fn embedded(data_dir: &Path) -> Result<Option<ClusterId>, StoreError> {
    if !SqliteStore::exists(data_dir) {
        return Ok(None);
    }
    let path = data_dir.to_owned();
    let store = blocking(move || SqliteStore::open_read_only(&path)).await?;
    Ok(store.cluster().await?.map(|record| record.cluster))
}
