//! From a kind of store to one that is open.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::ValueEnum;
use tempfile::TempDir;

use super::ToolError;
use super::bars::Bars;
use crate::config::MongoSettings;
use crate::store::mongo::{MongoConfig, MongoStore};
use crate::store::sqlite::SqliteStore;
use crate::store::{Store, StoreError, blocking};

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
                if is_source && !SqliteStore::exists(&self.data_dir) {
                    return Err(StoreError::Missing { path: self.data_dir.display().to_string() }.into());
                }
                Arc::new(SqliteStore::open_async(&self.data_dir).await?)
            }
            Kind::Mongodb if is_source => Arc::new(self.open_mongodb().await?),
            Kind::Mongodb => Arc::new(MongoStore::open(&MongoConfig::new(&self.mongodb).await?.patient()).await?),
        })
    }

    /// One state of MongoDB, in a store in `dir`, whatever is written meanwhile.
    pub(super) async fn state_of_mongodb(
        &self,
        dir: &Path,
        bars: &mut Bars,
    ) -> Result<(MongoStore, SqliteStore), ToolError> {
        let source = self.open_mongodb().await?;
        let dir = dir.to_owned();
        let state = blocking(move || SqliteStore::open_scratch(&dir)).await?;
        source.back_up_to(&state, &mut |progress| bars.copied(progress)).await?;
        Ok((source, state))
    }

    /// To look at it: nothing is made where there is nothing.
    async fn open_mongodb(&self) -> Result<MongoStore, ToolError> {
        Ok(MongoStore::open_existing(&MongoConfig::new(&self.mongodb).await?.patient()).await?)
    }
}

/// A directory for a while.
pub(super) fn scratch(prefix: &str) -> Result<TempDir, ToolError> {
    let made = tempfile::Builder::new().prefix(prefix).tempdir();
    made.map_err(|source| ToolError::io(&std::env::temp_dir(), source))
}
