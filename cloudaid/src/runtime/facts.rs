//! What an engine says of how it is set up, for whoever looks after its machine.

use shared::time::WallTime;

/// What it does not say is none, or is not there.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EngineFacts {
    /// Its version, such as `20.10.24`.
    pub version: Option<String>,
    /// The version of the runc that it starts containers with, as that writes it: `1.1.5+ds1`.
    pub runc: Option<String>,
    /// Whether containers outlive it.
    pub live_restore: Option<bool>,
    /// What it confines containers by, as `name=seccomp,profile=default`.
    pub security: Vec<String>,
    /// Addresses where it takes orders from everybody, in its own words.
    pub open: Vec<String>,
    /// `1` or `2`.
    pub cgroup_version: Option<String>,
    /// `cgroupfs`, `systemd` or `none`.
    pub cgroup_driver: Option<String>,
    /// The limits that it says it cannot hold containers to.
    pub missing: Vec<Limit>,
    /// What its clock said.
    pub clock: Option<WallTime>,
}

/// What a container may be limited in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// Bytes of memory.
    Memory,
    /// Bytes of swap.
    Swap,
    /// CPU time.
    Cpu,
    /// Processes.
    Pids,
}
