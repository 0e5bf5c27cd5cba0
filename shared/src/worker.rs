//! What is known of a worker.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::error::ApiError;
use crate::feature::Features;
use crate::gpu::Gpu;
use crate::id::UserName;
use crate::resources::Resources;
use crate::submit::{TEXT_LIMIT, check_text};
use crate::time::WallTime;

/// Whether a worker can be counted on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum WorkerState {
    /// Connected and heard of lately.
    Active,
    /// Connected, but three heartbeats are missing: gets no new work.
    Suspect,
    /// Not connected. Its tasks are believed to run until its lease and the slack behind it are over.
    Inactive,
}

impl WorkerState {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Active, Self::Suspect, Self::Inactive];

    /// The name used on every wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Suspect => "suspect",
            Self::Inactive => "inactive",
        }
    }
}

impl fmt::Display for WorkerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Why a worker gets no new work although it could: an operator wants it so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Cordon {
    /// Since when.
    pub since: WallTime,
    /// Who.
    pub by: UserName,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Whether it is to become empty.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub draining: bool,
    /// When what still runs there is stopped and run elsewhere; none: it may run to its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<WallTime>,
}

impl Cordon {
    /// Whether a reason is one.
    ///
    /// # Errors
    /// It is empty, too long, or nothing to print.
    pub fn check_reason(reason: Option<&str>) -> Result<(), ApiError> {
        reason.map_or(Ok(()), |reason| check_text("reason", reason))
    }
}

/// How a worker and its master talk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum WorkerProtocol {
    /// The worker dials and proves itself with its certificate.
    #[default]
    Session,
    /// As workers of the first generation do: each dials the other, in plaintext.
    Seed,
}

impl WorkerProtocol {
    /// The name used on every wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Seed => "seed",
        }
    }
}

impl fmt::Display for WorkerProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What a worker says of itself when it connects.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WorkerFacts {
    /// Host name or address, for people; nothing is ever dialled by it.
    pub address: String,
    /// Version of its program.
    pub version: String,
    /// Changes with every boot of its host; empty: it does not say.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub boot_id: String,
    /// What it can give to tasks.
    pub capacity: Resources,
    /// Its GPUs one by one, by their UUIDs; empty: it has none, or only says how many.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gpus: Vec<Gpu>,
    /// What tasks can ask for.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = BTreeMap<String, String>))]
    pub labels: Arc<BTreeMap<String, String>>,
    /// What it knows of what not every worker knows.
    #[serde(default, skip_serializing_if = "Features::is_empty")]
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>))]
    pub features: Features,
}

/// Whether a worker can have a label of this name: 1 to [`TEXT_LIMIT`] characters to print, without `=`, `,` and a `!` at either
/// end, so that a task can ask for it.
#[must_use]
pub fn is_label_name(text: &str) -> bool {
    let is_free = !text.contains('=') && !text.starts_with('!') && !text.ends_with('!');
    !text.is_empty() && is_free && is_label_value(text)
}

/// Whether a label of a worker can have this value: at most [`TEXT_LIMIT`] characters to print, without `,`. It may be empty.
#[must_use]
pub fn is_label_value(text: &str) -> bool {
    text.chars().count() <= TEXT_LIMIT && !text.chars().any(|c| c.is_control() || c == ',')
}

/// What a worker measures of its whole machine.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Usage {
    /// 0..=100, over all cores.
    pub cpu_percent: f64,
    /// Bytes in use.
    pub memory_used_bytes: u64,
    /// Bytes in use on the disk of the data directory.
    pub storage_used_bytes: u64,
    /// 0..=100, over all GPUs; 0 where there is none.
    pub gpu_percent: f64,
    /// Runs that it holds.
    pub running: u32,
}
