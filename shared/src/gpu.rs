//! GPUs, one by one.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::resources::Millis;

/// A whole GPU, in thousandths.
pub const WHOLE: u64 = 1000;

/// A device that tasks can have: a GPU, or one slice (MIG) of a GPU that is cut into some.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Gpu {
    /// As its driver names it: `GPU-...` or `MIG-...`.
    pub uuid: String,
    /// Its model.
    pub name: String,
    /// Thousandths of a whole GPU: [`WHOLE`], and of a slice as many as it has of its GPU.
    pub millis: u64,
    /// Bytes of its own memory.
    pub memory_bytes: u64,
    /// Of a slice: the GPU that it is part of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
}

/// A GPU that gets no work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IllGpu {
    /// Which.
    pub uuid: String,
    /// What is wrong with it.
    pub reason: String,
}

/// What a run has of one GPU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct GpuLease {
    /// Which.
    pub uuid: String,
    /// Thousandths of a whole GPU. What is less than all of the device is shared with others.
    pub millis: u64,
}

impl fmt::Display for GpuLease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.millis {
            WHOLE => f.write_str(&self.uuid),
            part => write!(f, "{} of {}", Millis(part), self.uuid),
        }
    }
}
