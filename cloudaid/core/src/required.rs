//! What a worker has to know so that a task runs there as it was asked for.

use shared::confinement::{Confinement, NetworkAccess, Profile};
use shared::feature::{Feature, Features};
use shared::policy::RunPolicy;
use shared::task::TaskSpec;

/// The features that runs of such a task need.
pub(crate) fn required(spec: &TaskSpec) -> Features {
    let of = |feature| match feature {
        Feature::PublicNetwork => spec.confinement.network == NetworkAccess::Public,
        Feature::BlockingLog => spec.policy.blocking_log,
        Feature::StorageReserved => is_storage_reserved(&spec.policy, spec.confinement),
    };
    Feature::ALL.into_iter().filter(|feature| of(*feature)).collect()
}

/// Whether the storage of a run is only reserved for it: a strict one is held to what it has in any case.
pub(crate) fn is_storage_reserved(policy: &RunPolicy, confinement: Confinement) -> bool {
    policy.storage_reserved && confinement.profile == Profile::Standard
}
