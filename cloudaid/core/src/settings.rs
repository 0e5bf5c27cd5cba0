//! The numbers that the core decides by. All are configurable; the defaults are what the cluster promises.

use std::time::Duration;

use crate::files::FileUsage;

/// See each field. Validated outside: `heartbeat < suspect < lease < reassign`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// How often a worker reports. 5 s in the specification.
    pub heartbeat: Duration,
    /// Silence after which a worker gets no new work: three heartbeats are missing.
    pub suspect: Duration,
    /// Silence after which a worker has to assume that it was given up.
    pub lease: Duration,
    /// Silence after which its runs are given to others: the lease, 10 s to stop what runs, 5 s of slack.
    pub reassign: Duration,
    /// After a start nothing is declared lost for this long, because all workers have to find their way back first.
    pub start_grace: Duration,
    /// How much longer the runs of silent workers are kept where at least half of them, of three or more, fell silent within
    /// a lease. Kubernetes stops evictions where 55 % of a zone are gone; here it is a time, so that nothing waits for
    /// somebody to come.
    pub mass_loss_hold: Duration,
    /// Between TERM and KILL.
    pub stop_grace: Duration,
    /// How many runs of an element the infrastructure may end before the element fails.
    pub infrastructure_attempts: u32,
    /// The most placements of one scheduling pass. A bound in steps and not in time, so that equal inputs give equal
    /// plans on every machine.
    pub placements_per_pass: usize,
    /// The most files that a user keeps; admins keep as many as they like.
    pub file_quota: FileUsage,
    /// Whether runs of tasks that are not known are kept at their workers, with what they report: the store that knows them
    /// could not be reached at the start.
    pub keep_unknown: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_secs(5),
            suspect: Duration::from_secs(15),
            lease: Duration::from_secs(30),
            reassign: Duration::from_secs(45),
            start_grace: Duration::from_secs(60),
            mass_loss_hold: Duration::from_secs(600),
            stop_grace: Duration::from_secs(30),
            infrastructure_attempts: 3,
            placements_per_pass: 4096,
            file_quota: FileUsage { bytes: 100 << 30, files: 1_000_000 },
            keep_unknown: false,
        }
    }
}
