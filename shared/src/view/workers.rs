//! Workers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::gpu::Gpu;
use crate::id::WorkerId;
use crate::pull::Pulling;
use crate::resources::Resources;
use crate::time::WallTime;
use crate::worker::{Cordon, Usage, WorkerProtocol, WorkerState};

/// A worker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WorkerView {
    /// Its name.
    pub worker_id: WorkerId,
    /// Whether it can be counted on.
    pub state: WorkerState,
    /// How it and the master talk.
    #[serde(default)]
    pub protocol: WorkerProtocol,
    /// Host name or address.
    pub address: String,
    /// Version of its program.
    pub version: String,
    /// What it can give to tasks.
    pub capacity: Resources,
    /// What live attempts have reserved of it.
    pub allocated: Resources,
    /// As last reported.
    pub usage: Option<Usage>,
    /// Why it gets no new work, in its own words: its engine does not answer, or its disk is full.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// Why it gets no new work: an operator wants it so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cordon: Option<Cordon>,
    /// Live attempts: their element ids.
    pub running_tasks: Vec<String>,
    /// When it was last heard of.
    pub last_heartbeat: Option<WallTime>,
    /// When it first registered.
    pub registered_at: WallTime,
    /// Labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Its GPUs one by one, where it knows them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gpus: Vec<GpuView>,
    /// The images that it is fetching, as last reported.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pulling: Vec<Pulling>,
}

/// All workers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WorkerListView {
    /// By name.
    pub workers: Vec<WorkerView>,
}

/// A GPU of a worker, or a slice (MIG) of one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct GpuView {
    /// What it is.
    #[serde(flatten)]
    pub gpu: Gpu,
    /// What nobody has of it, in thousandths of a whole GPU.
    pub free_millis: u64,
    /// Why it gets no work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// Live attempts that have some of it: their element ids.
    pub running_tasks: Vec<String>,
}
