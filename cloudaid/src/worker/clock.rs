//! Both clocks of this machine.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};
use shared::time::{BootTime, Now, WallTime};

/// Reads both.
pub(super) fn now() -> Now {
    let boot = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(boot.tv_sec).unwrap_or(0);
    let millis = u64::try_from(boot.tv_nsec).unwrap_or(0) / 1_000_000;
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    Now {
        boot: BootTime(seconds.saturating_mul(1000).saturating_add(millis)),
        wall: WallTime(i64::try_from(wall.as_millis()).unwrap_or(i64::MAX)),
    }
}

/// Sleeps until the clock of deadlines shows `at`; for ever if there is no deadline.
pub(super) async fn sleep_until(at: Option<BootTime>) {
    match at {
        Some(at) => tokio::time::sleep(at.since(now().boot)).await,
        None => std::future::pending().await,
    }
}
