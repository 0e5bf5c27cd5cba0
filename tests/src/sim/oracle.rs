//! What must hold, seen from outside: by what clients were told and by what containers really did.

use cloudaid_core::record::Change;
use cloudaid_core::testkit::Saved;

use super::Check;
use super::reach::Reach;

pub(crate) mod attempts;
pub(crate) mod cancels;
pub(crate) mod containers;
pub(crate) mod convergence;
pub(crate) mod leases;
pub(crate) mod patience;
pub(crate) mod results;
pub(crate) mod submissions;

/// What the outside remembers.
#[derive(Debug, Default)]
pub(crate) struct Oracle {
    pub(crate) submissions: submissions::Submissions,
    pub(crate) cancels: cancels::Cancels,
    pub(crate) containers: containers::Containers,
    attempts: attempts::Attempts,
}

impl Oracle {
    /// Before a change becomes durable.
    pub(crate) fn check_change(&mut self, saved: &Saved, change: &Change, reach: &mut Reach) -> Check {
        match change {
            Change::Attempt(attempt) => {
                self.attempts.check(saved, &self.containers, attempt, reach)?;
                self.cancels.check(attempt)
            }
            Change::Result(result) => results::check(saved, result, &self.containers, &self.cancels, reach),
            _ => Ok(()),
        }
    }
}
