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
