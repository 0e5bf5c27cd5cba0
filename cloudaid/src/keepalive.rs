//! How a peer that vanished without a word is found out: a half-open connection looks like a quiet one.

use std::time::Duration;

/// Without any other traffic it is asked this often whether it is there,
pub(crate) const EVERY: Duration = Duration::from_secs(10);
/// and has this long to answer. Together they stay well below the 30 s of a lease.
pub(crate) const LIMIT: Duration = Duration::from_secs(10);
