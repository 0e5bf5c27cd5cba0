//! The one place that reads the clock of this machine.

use shared::time::WallTime;

/// Milliseconds since 1970.
pub(crate) fn wall() -> WallTime {
    WallTime(jiff::Timestamp::now().as_millisecond())
}
