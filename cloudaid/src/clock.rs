//! The one place of the master and the worker that reads clocks.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};
use shared::time::{BootTime, Now, WallTime};

/// Where the kernel says which boot it is.
pub(crate) const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// Both clocks. Boot time counts suspend, which `std::time::Instant` does not: a lease must not stand still while a
/// machine sleeps.
#[must_use]
pub fn now() -> Now {
    Now { boot: boot(), wall: wall() }
}

/// Milliseconds since the host booted.
#[must_use]
pub fn boot() -> BootTime {
    let time = clock_gettime(ClockId::Boottime);
    BootTime(u64::try_from(time.tv_sec).unwrap_or(0) * 1000 + u64::try_from(time.tv_nsec).unwrap_or(0) / 1_000_000)
}

/// Which boot of the host it is that boot time counts from.
///
/// # Errors
/// The kernel does not say.
pub(crate) fn boot_id() -> std::io::Result<String> {
    Ok(std::fs::read_to_string(BOOT_ID)?.trim().to_owned())
}

/// What the wall clock said so long ago.
pub(crate) fn ago(time: Duration) -> WallTime {
    let millis = i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
    WallTime(wall().0.saturating_sub(millis))
}

/// When the host booted, as the wall clock has it now.
pub(crate) fn booted() -> WallTime {
    ago(boot().since(BootTime(0)))
}

/// Milliseconds since 1970.
#[must_use]
pub fn wall() -> WallTime {
    wall_of(SystemTime::now())
}

/// The same of another time, such as that of a file.
pub(crate) fn wall_of(time: SystemTime) -> WallTime {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    WallTime(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// Returns when `at` has come, or after a second: timers of the runtime stand still while the machine sleeps, so whoever
/// waits looks at the clock again.
pub async fn sleep_until(at: Option<BootTime>) {
    const LOOK_AGAIN: Duration = Duration::from_secs(1);
    match at {
        None => std::future::pending().await,
        Some(at) => {
            let left = at.since(boot());
            if !left.is_zero() {
                tokio::time::sleep(left.min(LOOK_AGAIN)).await;
            }
        }
    }
}
