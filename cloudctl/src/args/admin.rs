//! Arguments of `admin`.

use clap::{Args, Subcommand};

/// Arguments of `admin`.
#[derive(Debug, Args)]
pub(crate) struct AdminArgs {
    /// What to do.
    #[command(subcommand)]
    pub(crate) verb: AdminVerb,
}

/// What an admin does to the master itself.
#[derive(Debug, Subcommand)]
pub(crate) enum AdminVerb {
    /// Sign tokens with a new key. What the present key has signed stays good; what the one before it has signed does not,
    /// so that doing it twice ends all logins and invitations.
    RotateKeys,
    /// Sign certificates with a new authority. Workers get new ones by themselves; who trusts the master by the fingerprint of
    /// its authority needs the new one.
    RotateCa,
}
