//! What would become of a submission.

use serde::{Deserialize, Serialize};

use crate::id::{UserName, WorkerId};
use crate::task::TaskSpec;

/// The answer to `POST /api/tasks?dry_run=true`: nothing was kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DryRunView {
    /// Whose task it would be.
    pub user: UserName,
    /// What would run, with every default filled in.
    pub spec: TaskSpec,
    /// Elements.
    pub count: u32,
    /// Of an array: the indices of its elements, and how many may be with workers at a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub array: Option<String>,
    /// What the submitter would be told.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// Where an element could run, by name.
    pub workers: Vec<FitView>,
}

/// Whether an element would run on a worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FitView {
    /// Which.
    pub worker_id: WorkerId,
    /// Whether it would.
    pub fit: Fit,
    /// What stands in the way.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<String>,
}

/// Whether an element would run on a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Fit {
    /// At once.
    Now,
    /// When what runs there has ended, or the worker can be counted on again.
    Later,
    /// Never.
    Never,
}
