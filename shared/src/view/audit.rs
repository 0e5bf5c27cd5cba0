//! The audit log.

use serde::{Deserialize, Serialize};

use crate::audit::AuditEntry;

/// A page of the audit log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AuditListView {
    /// The newest first; with `after` the oldest first.
    pub entries: Vec<AuditEntry>,
    /// Give it as `cursor` (with `after`: as `after`) to get the next page; none: this was the last.
    pub next_cursor: Option<String>,
}
