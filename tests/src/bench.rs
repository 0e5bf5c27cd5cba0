//! What the benches measure with.

use std::time::Duration;

mod stamped;

pub use stamped::Stamped;

/// The value below which `share` (0 to 1) of the sorted `times` lie.
///
/// # Panics
/// There are none.
#[must_use]
pub fn percentile(times: &[Duration], share: f64) -> Duration {
    let last = times.len().checked_sub(1).expect("at least one time");
    times[((last as f64) * share).round() as usize]
}

/// Lets this process have as many files open as it can.
pub fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    // With fewer the bench says where it stopped.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}

/// Memory of a process, in MB (10^6 bytes).
///
/// # Panics
/// It is not there.
#[must_use]
pub fn resident_mb(pid: u32) -> f64 {
    memory_mb(pid, "VmRSS:")
}

/// The most memory that a process has had since [`reset_peak`], in MB (10^6 bytes).
///
/// # Panics
/// It is not there.
#[must_use]
pub fn peak_mb(pid: u32) -> f64 {
    memory_mb(pid, "VmHWM:")
}

/// Forgets the most memory that a process has had.
///
/// # Panics
/// It is not there, or somebody else's.
pub fn reset_peak(pid: u32) {
    std::fs::write(format!("/proc/{pid}/clear_refs"), "5").expect("our process");
}

fn memory_mb(pid: u32, what: &str) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the process");
    let line = status.lines().find_map(|line| line.strip_prefix(what)).expect("its memory");
    let kib: f64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kib * 1024.0 / 1e6
}
