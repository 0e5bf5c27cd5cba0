//! The contract of stores on a real server over the wire, and what only a store on a server must do.
#![allow(clippy::panic, clippy::expect_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use async_trait::async_trait;
use cloudai_tests::mongo::Database;
use cloudaid::store::Store;
use cloudaid::store::contract::StoreFactory;

struct Factory(tokio::sync::OnceCell<Database>);

#[async_trait]
impl StoreFactory for Factory {
    async fn open(&self) -> Arc<dyn Store> {
        Arc::new(self.0.get_or_init(Database::new).await.open().await)
    }
}

cloudaid::store_contract!(Factory(tokio::sync::OnceCell::new()));
