//! From the configuration to a store that is open.

use std::path::Path;
use std::sync::Arc;

use tracing::{info, warn};

use crate::config::{MasterConfig, MongoSettings};
use crate::store::mongo::{MongoConfig, MongoStore};
use crate::store::sqlite::SqliteStore;
use crate::store::{Store, StoreError};

/// Opens the store that is configured, or the embedded one where MongoDB cannot be reached and need not be.
pub(super) async fn open_store(config: &MasterConfig) -> Result<Arc<dyn Store>, StoreError> {
    let Some(settings) = &config.store.mongodb else { return Ok(Arc::new(embedded(&config.data_dir).await?)) };
    match remote(settings).await {
        Ok(store) => Ok(Arc::new(store)),
        Err(StoreError::Unreachable(why)) if !settings.required => {
            warn!(
                "MongoDB cannot be reached ({why}); continuing on the embedded store in {}",
                config.data_dir.display()
            );
            Ok(Arc::new(embedded(&config.data_dir).await?))
        }
        Err(error) => Err(error),
    }
}

async fn embedded(data_dir: &Path) -> Result<SqliteStore, StoreError> {
    let path = data_dir.to_owned();
    let store = tokio::task::spawn_blocking(move || SqliteStore::open(&path)).await;
    let store = store.map_err(|_| StoreError::Closed)??;
    info!("✓ SQLite tables ensured ({})", data_dir.display());
    Ok(store)
}

async fn remote(settings: &MongoSettings) -> Result<MongoStore, StoreError> {
    let config = MongoConfig::new(settings).await?;
    let store = MongoStore::open(&config).await?;
    info!("✓ MongoDB collections ensured ({})", config.place());
    Ok(store)
}
