//! What a worker has to know so that a task runs there as it was asked for.

use shared::confinement::{NetworkAccess, Profile};
use shared::feature::{Feature, Features};
use shared::task::TaskSpec;

/// The features that runs of such a task need.
pub(crate) fn required(spec: &TaskSpec) -> Features {
    let of = |feature| match feature {
        Feature::PublicNetwork => spec.confinement.network == NetworkAccess::Public,
        Feature::BlockingLog => spec.policy.blocking_log,
        Feature::StorageReserved => is_storage_reserved(spec),
    };
    Feature::ALL.into_iter().filter(|feature| of(*feature)).collect()
}

/// Whether its storage is only reserved for it: a strict task is held to what it has in any case.
pub(crate) fn is_storage_reserved(spec: &TaskSpec) -> bool {
    spec.policy.storage_reserved && spec.confinement.profile == Profile::Standard
}
