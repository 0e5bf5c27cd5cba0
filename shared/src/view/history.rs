//! What became of a task.

use serde::{Deserialize, Serialize};

use crate::id::WorkerId;
use crate::task::Verdict;
use crate::time::WallTime;

/// What happened to a task, in the order of time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TimelineView {
    /// When.
    pub at: WallTime,
    /// `submitted`, `placed`, `started`, `ended` (a run), `finished` (the task).
    pub event: String,
    /// Which run; none: the task itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// Where.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker_id: Option<WorkerId>,
    /// How it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
}

/// What the last run of a task has used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TaskUsageView {
    /// From the start of the container to its end, in milliseconds.
    pub run_ms: Option<u64>,
    /// Bytes written to standard output.
    pub stdout_bytes: u64,
    /// Bytes written to standard error.
    pub stderr_bytes: u64,
    /// Files left in /output.
    pub output_files: u64,
    /// The bytes in them, together, where that was said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_bytes: Option<u64>,
    /// CPU time of all its processes together, in milliseconds, where its worker could tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_ms: Option<u64>,
    /// The most memory of all its processes at a time, in bytes, with what is cached of files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_peak_bytes: Option<u64>,
    /// How many of its processes the kernel killed for want of memory, at the least.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oom_kills: Option<u64>,
    /// How many times it could start no further process or thread, at the least: it had as many as its container may have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forks_refused: Option<u64>,
}
