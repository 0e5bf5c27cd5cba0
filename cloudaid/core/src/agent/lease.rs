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

/// How long the worker may act on its own. It outlives the process: one that starts again and again without its master
/// has no more time than one that runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// When the last heartbeat was sent that is known to have arrived; if none ever has, when the worker first started.
    pub since: BootTime,
    /// As the master has said last.
    pub length: Duration,
}

impl Default for Lease {
    fn default() -> Self {
        Self { length: USUAL, since: BootTime(0) }
    }
}

impl Lease {
    /// After a start, what an earlier life has left of it goes on. Where nothing is known of that there is as long as
    /// anybody has to find the master.
    pub(super) fn begin(&mut self, known: Option<Self>, now: BootTime) {
        *self = match known {
            Some(known) => Self { since: known.since.min(now), ..known },
            None => Self { since: now, ..*self },
        };
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
