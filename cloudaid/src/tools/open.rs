//! From a kind of store to one that is open.

use std::path::PathBuf;
use std::sync::Arc;

use clap::ValueEnum;

use super::ToolError;
use crate::config::MongoSettings;
use crate::store::mongo::{MongoConfig, MongoStore};
use crate::store::sqlite::SqliteStore;
use crate::store::{Store, StoreError};

/// Where facts may be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// In the data directory
    Sqlite,
    /// In MongoDB
    Mongodb,
}

/// Where both kinds are, as configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    /// Of the embedded store.
    pub data_dir: PathBuf,
    /// The MongoDB.
    pub mongodb: MongoSettings,
    /// The kind that the master uses.
    pub kind: Kind,
}

impl Places {
    /// For people.
    pub(super) async fn name(&self, kind: Kind) -> Result<String, ToolError> {
        Ok(match kind {
            Kind::Sqlite => self.data_dir.display().to_string(),
            Kind::Mongodb => MongoConfig::new(&self.mongodb).await?.place(),
        })
    }

    /// To read all of it, or to write to it: no master runs.
    pub(super) async fn open(&self, kind: Kind, is_source: bool) -> Result<Arc<dyn Store>, ToolError> {
        Ok(match kind {
            Kind::Sqlite => {
                let data_dir = self.data_dir.clone();
                if is_source && !SqliteStore::exists(&data_dir) {
                    return Err(StoreError::Missing { path: data_dir.display().to_string() }.into());
                }
                Arc::new(blocking(move || SqliteStore::open(&data_dir)).await?)
            }
            Kind::Mongodb => Arc::new(self.open_mongodb().await?),
        })
    }

    pub(super) async fn open_mongodb(&self) -> Result<MongoStore, ToolError> {
        Ok(MongoStore::open(&MongoConfig::new(&self.mongodb).await?).await?)
    }
}

/// Off the threads that must not block.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, ToolError> {
    Ok(tokio::task::spawn_blocking(work).await.map_err(|_| StoreError::Closed)??)
}
