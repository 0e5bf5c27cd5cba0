//! What the worker may do while it does not hear of its master.
//!
//! Most runs go on: the master knows them by their fence, whenever it is back. A run that may run once at most is stopped
//! when the lease is over, before the master could give it up. The lease counts from when the last heartbeat was sent that
//! is known to have arrived, by a clock that goes on while the host sleeps.

use std::time::Duration;

use shared::time::{BootTime, Now};

use super::Agent;
use super::effect::AgentEffect;
use super::journal::{StopOrder, StopReason};

/// Until a master says another one. Its own default.
const USUAL: Duration = Duration::from_secs(30);
/// The longest time between TERM and KILL at the end of the lease. With it the master reckons before it gives a run up.
const GRACE: Duration = Duration::from_secs(10);

/// How long the worker may act on its own.
#[derive(Debug)]
pub(super) struct Lease {
    length: Duration,
    /// When the last heartbeat was sent that is known to have arrived.
    since: BootTime,
}

impl Default for Lease {
    fn default() -> Self {
        Self { length: USUAL, since: BootTime(0) }
    }
}

impl Lease {
    /// Whoever has just started has as long as anybody to find the master.
    pub(super) fn begin(&mut self, now: BootTime) {
        self.since = now;
    }

    pub(super) fn renew(&mut self, sent: BootTime) {
        self.since = self.since.max(sent);
    }

    pub(super) fn lasts(&mut self, length: Duration) {
        self.length = length;
    }

    pub(super) fn until(&self) -> BootTime {
        self.since + self.length
    }
}

impl Agent {
    /// Before anything else is done: a process that was stopped, or a host that slept, may be late.
    pub(super) fn end_with_lease(&mut self, now: Now, effects: &mut Vec<AgentEffect>) {
        if self.index.leased().is_empty() || now.boot < self.lease.until() {
            return;
        }
        for key in self.index.leased().clone() {
            self.on_run(now, key, effects, |run, out| {
                run.order_stop(StopOrder { grace: run.stop_grace.min(GRACE), reason: StopReason::Lease }, out);
            });
        }
    }
}
