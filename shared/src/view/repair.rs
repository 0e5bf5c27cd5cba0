//! What `fix-resources` found and mended.

use serde::{Deserialize, Serialize};

use crate::id::WorkerId;

/// The books of the master, compared with what is there.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RepairView {
    /// Each worker, by name.
    pub workers: Vec<WorkerRepairView>,
    /// Runs that the master and its store both know as live.
    pub live_attempts: u64,
    /// Where the store and the memory of the master differ, or where one of them contradicts itself. These are not
    /// mended here: a start of the master reads the store anew.
    pub differences: Vec<String>,
    /// Everything that was mended, over all workers.
    pub repaired: u64,
}

/// One worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WorkerRepairView {
    /// Its name.
    pub worker_id: WorkerId,
    /// Whether it has answered.
    pub status: RepairStatus,
    /// Runs that it should hold.
    pub live_attempts: u64,
    /// Containers that its engine has.
    pub containers: u64,
    /// Containers of no live run: stopped and removed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub orphans: Vec<RunView>,
    /// Live runs whose containers are gone: ended, and run again where that is allowed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<RunView>,
    /// Containers of live runs that the worker had lost sight of: watched again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub adopted: Vec<RunView>,
    /// Live runs that had never arrived at the worker: sent again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sent_again: Vec<RunView>,
    /// Why its containers are not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

impl WorkerRepairView {
    /// One that was not compared.
    #[must_use]
    pub fn without(worker_id: WorkerId, status: RepairStatus, problem: &str) -> Self {
        Self {
            worker_id,
            status,
            live_attempts: 0,
            containers: 0,
            orphans: Vec::new(),
            missing: Vec::new(),
            adopted: Vec::new(),
            sent_again: Vec::new(),
            problem: Some(problem.to_owned()),
        }
    }

    /// How much was mended.
    #[must_use]
    pub fn repaired(&self) -> u64 {
        [&self.orphans, &self.missing, &self.adopted, &self.sent_again].iter().map(|runs| runs.len() as u64).sum()
    }
}

/// Whether a worker was compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum RepairStatus {
    /// It was.
    Checked,
    /// It said what it holds, and its engine could not be asked.
    EngineFailed,
    /// It did not answer in time.
    Silent,
    /// It is not connected; its runs are settled when it comes back.
    Disconnected,
}

/// One run of one element.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RunView {
    /// `task-<ulid>.<index>`.
    pub element_id: String,
    /// Its number.
    pub attempt: u32,
}
