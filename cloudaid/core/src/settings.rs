//! The numbers that the core decides by. All are configurable; the defaults are what the cluster promises.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use shared::confinement::{Confinement, NetworkAccess, Profile};
use shared::feature::Features;
use shared::id::UserName;
use shared::policy::{Backoff, RunPolicy};
use shared::task::Verdict;

use crate::admission::POOL;
use crate::files::FileUsage;
use crate::images::ImageRules;
use crate::required::required;

/// See each field. Validated outside: `heartbeat < suspect < lease < reassign`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// How often a worker reports. 5 s in the specification.
    pub heartbeat: Duration,
    /// Silence after which a worker gets no new work: three heartbeats are missing.
    pub suspect: Duration,
    /// Silence after which a worker has to assume that it was given up.
    pub lease: Duration,
    /// Silence after which its runs are given to others: the lease, 10 s to stop what runs, 5 s of slack.
    pub reassign: Duration,
    /// After a start nothing is declared lost for this long, because all workers have to find their way back first.
    pub start_grace: Duration,
    /// How much longer the runs of silent workers are kept where at least half of them, of three or more, fell silent within
    /// a lease. Kubernetes stops evictions where 55 % of a zone are gone; here it is a time, so that nothing waits for
    /// somebody to come.
    pub mass_loss_hold: Duration,
    /// Between TERM and KILL.
    pub stop_grace: Duration,
    /// How many runs of an element the infrastructure may end before the element fails.
    pub infrastructure_attempts: u32,
    /// The most placements of one scheduling pass. A bound in steps and not in time, so that equal inputs give equal
    /// plans on every machine.
    pub placements_per_pass: usize,
    /// The most files that a user keeps; admins keep as many as they like.
    pub file_quota: FileUsage,
    /// The least strict profile that a task may have.
    pub profile: Profile,
    /// Whose tasks are strict in any case.
    pub strict_users: BTreeSet<UserName>,
    /// Pools on whose workers every run is strict, whatever its task asks for.
    pub strict_pools: BTreeSet<String>,
    /// The most that strict tasks may have of the network.
    pub strict_network: NetworkAccess,
    /// Which images may be run.
    pub images: ImageRules,
    /// Whether runs of tasks that are not known are kept at their workers, with what they report: the store that knows them
    /// could not be reached at the start.
    pub keep_unknown: bool,
}

/// Between two runs of which a worker refused the first: it says so at once, and would be asked again at once.
const REFUSED_PAUSE: Duration = Duration::from_secs(10);

impl Settings {
    /// What a task of `user` is kept from that asks for `asked`.
    pub(crate) fn confinement(&self, user: &UserName, asked: Confinement) -> Confinement {
        let profile = if self.strict_users.contains(user) { Profile::Strict } else { self.profile };
        asked.at_least(profile, self.strict_network)
    }

    /// What a run is kept from on a worker with these labels, where that is more than its task has anywhere.
    pub(crate) fn confinement_in(&self, labels: &BTreeMap<String, String>, task: Confinement) -> Option<Confinement> {
        let given = self.is_strict_pool(labels).then(|| task.at_least(Profile::Strict, self.strict_network))?;
        (given != task).then_some(given)
    }

    /// Whether nothing on a worker with these labels may reach the Internet.
    pub(crate) fn is_offline(&self, labels: &BTreeMap<String, String>) -> bool {
        self.is_strict_pool(labels) && self.strict_network > NetworkAccess::Public
    }

    /// What all runs on a worker with these labels need it to know, whatever their tasks do.
    pub(crate) fn features_of_pool(&self, labels: &BTreeMap<String, String>) -> Features {
        let strict = Confinement { profile: Profile::Strict, network: self.strict_network };
        if self.is_strict_pool(labels) { required(&RunPolicy::default(), strict) } else { Features::default() }
    }

    fn is_strict_pool(&self, labels: &BTreeMap<String, String>) -> bool {
        labels.get(POOL).is_some_and(|pool| self.strict_pools.contains(pool))
    }

    /// How long an element waits before it runs again after a run that ended so; none: it does not run again. `attempts` are
    /// its runs so far, `failures` those of them that the infrastructure ended, `spared` those of these that were given back
    /// in good order.
    pub(crate) fn pause_before_next(
        &self,
        policy: &RunPolicy,
        verdict: &Verdict,
        attempts: u32,
        (failures, spared): (u32, u32),
    ) -> Option<Duration> {
        let has_budget = failures.saturating_sub(spared) < self.infrastructure_attempts;
        match verdict {
            Verdict::Rejected { .. } if has_budget => Some(REFUSED_PAUSE),
            // Where it is lost it may have begun.
            Verdict::WorkerLost { .. } if has_budget && !policy.at_most_once => Some(Duration::ZERO),
            Verdict::Rejected { .. } | Verdict::WorkerLost { .. } => None,
            own => {
                let failures = attempts - failures;
                let again = policy.wants_retry(own, failures);
                again.then(|| policy.backoff.unwrap_or(Backoff::DEFAULT).after(failures))
            }
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_secs(5),
            suspect: Duration::from_secs(15),
            lease: Duration::from_secs(30),
            reassign: Duration::from_secs(45),
            start_grace: Duration::from_secs(60),
            mass_loss_hold: Duration::from_secs(600),
            stop_grace: Duration::from_secs(30),
            infrastructure_attempts: 3,
            profile: Profile::Standard,
            strict_users: BTreeSet::new(),
            strict_pools: BTreeSet::new(),
            strict_network: NetworkAccess::None,
            images: ImageRules::default(),
            placements_per_pass: 4096,
            file_quota: FileUsage { bytes: 100 << 30, files: 1_000_000 },
            keep_unknown: false,
        }
    }
}
