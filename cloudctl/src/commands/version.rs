//! `cloudctl version`

use crate::render::{Done, VersionView, View};

/// The version of this program. `cloudctl status` has the master's.
pub(super) fn run() -> Done {
    View::Version(VersionView { version: env!("CARGO_PKG_VERSION") }).into()
}
