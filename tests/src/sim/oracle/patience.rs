//! After a start of the master nobody is given up before the start grace is over.

use cloudaid_core::settings::Settings;
use shared::id::WorkerId;
use shared::time::BootTime;

use crate::sim::Check;

/// The runs of a worker were given up.
pub(crate) fn check(worker: &WorkerId, started: BootTime, now: BootTime) -> Check {
    let since = now.since(started);
    if since < Settings::default().start_grace {
        return Err(format!("{worker} was given up {since:?} after the start of the master"));
    }
    Ok(())
}
