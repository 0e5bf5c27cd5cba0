//! The audit log: what is noted apart from a change, and what is there.

use cloudaid_core::audit::AuditNote;
use cloudaid_core::input::Input;
use shared::audit::AuditEntry;
use shared::error::ApiError;

use super::{ClusterHandle, unreadable};
use crate::store::AuditQuery;

impl ClusterHandle {
    /// Notes a call that has ended. It is durable when this returns.
    ///
    /// # Errors
    /// The master is stopping.
    pub async fn note(&self, note: AuditNote) -> Result<(), ApiError> {
        self.send(Input::Audit { note, of: Vec::new() }).await?;
        self.read(|_| ()).await
    }

    /// One page of the audit log, and where the next one begins.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn audit(&self, query: AuditQuery) -> Result<(Vec<AuditEntry>, Option<u64>), ApiError> {
        self.store.list_audit(query).await.map_err(|error| unreadable(&error))
    }
}
