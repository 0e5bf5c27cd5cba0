//! What a look at a machine finds.

use std::path::PathBuf;

use shared::time::WallTime;

use crate::runtime::EngineFacts;

/// What was seen; where it could not be, why not, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Facts {
    /// The engine's address.
    pub(super) address: Result<String, String>,
    /// What it says of itself; not there without an address.
    pub(super) engine: Option<Result<EngineFacts, String>>,
    /// Whether tasks can be kept from addresses.
    pub(super) firewall: Result<(), String>,
    /// Where the worker keeps its data, and whether this process can write there.
    pub(super) data: (PathBuf, Result<(), String>),
    /// Bytes that are free there; none: not known.
    pub(super) free: Option<u64>,
    /// Where the engine keeps images, if this process can see it, and the bytes that are free there.
    pub(super) engine_disk: Option<(PathBuf, u64)>,
    /// Bytes that are to stay free there.
    pub(super) image_room: u64,
    /// Whether the /output of a strict task can be a file system of its own.
    pub(super) volumes: Result<(), String>,
    /// How many GPUs NVIDIA's library finds; none: it is not here.
    pub(super) gpus: Result<Option<usize>, String>,
    /// What the machine's clock says.
    pub(super) clock: WallTime,
    /// Whether this process may do everything.
    pub(super) is_root: bool,
}
