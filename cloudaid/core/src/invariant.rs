//! What holds at the end of every batch. The same functions serve unit tests, the simulator and tests of real processes.

use crate::cluster::Cluster;

mod away;
mod conservation;
mod elements;
mod gpus;
mod queueing;

/// Checks all invariants.
///
/// # Errors
/// The first one that does not hold, in words.
pub fn check(cluster: &Cluster) -> Result<(), String> {
    elements::check(cluster)?;
    conservation::check(cluster)?;
    gpus::check(cluster)?;
    away::check(cluster)?;
    queueing::check(cluster)
}
