//! Waiting for tasks.

use serde::{Deserialize, Serialize};

use super::TaskView;
use crate::id::TaskRef;

/// The most tasks of one request.
pub const WAIT_TASKS_LIMIT: usize = 1000;
/// The longest that one request waits, in seconds.
pub const WAIT_SECONDS_LIMIT: u64 = 60;

/// The body of `POST /api/tasks/wait`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct WaitRequest {
    /// Tasks, elements, or ranges of elements.
    #[cfg_attr(feature = "openapi", schema(min_items = 1, max_items = 1000))]
    pub tasks: Vec<TaskRef>,
    /// Answer when the first of them has ended, instead of when all have.
    #[serde(default)]
    pub any: bool,
    /// Answer at the latest after this, with what there is. 30 if not given, 0 to look only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(maximum = 60))]
    pub timeout_seconds: Option<u64>,
}

/// The answer: each task that was named is in one of the two, in the order in which they were named.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WaitView {
    /// Those that have ended.
    pub ended: Vec<TaskView>,
    /// The others, as they were named.
    pub pending: Vec<TaskRef>,
}
