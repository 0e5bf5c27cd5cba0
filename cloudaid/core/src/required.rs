//! What a worker has to know so that a task runs there as it was asked for.

use shared::confinement::{Confinement, NetworkAccess};
use shared::feature::{Feature, Features};
use shared::policy::RunPolicy;

/// The features that runs so confined need.
pub(crate) fn required(policy: &RunPolicy, confinement: Confinement) -> Features {
    let of = |feature| match feature {
        Feature::PublicNetwork => confinement.network == NetworkAccess::Public,
        Feature::BlockingLog => policy.blocking_log,
    };
    Feature::ALL.into_iter().filter(|feature| of(*feature)).collect()
}
