//! The connections that answer questions, on threads that may block.

use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use rusqlite::Connection;
use tokio::sync::Semaphore;

use super::connection;
use crate::store::StoreError;

/// Questions at the same time. More would only compete for the disk and the processors with what writes.
const CONNECTIONS: usize = 4;

/// Read-only connections, opened when they are first needed.
#[derive(Debug)]
pub(super) struct Readers {
    permits: Arc<Semaphore>,
    idle: Arc<Idle>,
}

#[derive(Debug)]
struct Idle {
    path: PathBuf,
    connections: Mutex<Vec<Connection>>,
    /// Whether there is only the one connection, which is in a transaction already.
    is_pinned: bool,
}

impl Readers {
    pub(super) fn new(path: PathBuf) -> Self {
        let idle = Idle { path, connections: Mutex::default(), is_pinned: false };
        Self { permits: Arc::new(Semaphore::new(CONNECTIONS)), idle: Arc::new(idle) }
    }

    /// Asks all questions of one connection, in the transaction that it is in.
    pub(super) fn pinned(path: PathBuf, connection: Connection) -> Self {
        let idle = Idle { path, connections: Mutex::new(vec![connection]), is_pinned: true };
        Self { permits: Arc::new(Semaphore::new(1)), idle: Arc::new(idle) }
    }

    /// Asks one question, which sees one state of the store from its beginning to its end.
    pub(super) async fn read<T, F>(&self, question: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let permit = Arc::clone(&self.permits).acquire_owned().await.map_err(|_| StoreError::Closed)?;
        let idle = Arc::clone(&self.idle);
        let asked = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            idle.ask(question).map_err(|error| connection::clarify(&idle.path, error))
        });
        asked.await.map_err(|_| StoreError::Closed)?
    }
}

impl Idle {
    fn ask<T>(&self, question: impl FnOnce(&Connection) -> Result<T, StoreError>) -> Result<T, StoreError> {
        if self.is_pinned { self.ask_pinned(question) } else { self.ask_fresh(question) }
    }

    /// What failed leaves the transaction as it was.
    fn ask_pinned<T>(&self, question: impl FnOnce(&Connection) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let connection = self.connections.lock().pop().ok_or(StoreError::Closed)?;
        let answer = question(&connection);
        self.connections.lock().push(connection);
        answer
    }

    /// A connection that fails is not used again.
    fn ask_fresh<T>(&self, question: impl FnOnce(&Connection) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let idle = self.connections.lock().pop();
        let connection = idle.map_or_else(|| connection::open_reader(&self.path), Ok)?;
        let transaction = connection.unchecked_transaction()?;
        let answer = question(&transaction)?;
        transaction.finish()?;
        self.connections.lock().push(connection);
        Ok(answer)
    }
}
