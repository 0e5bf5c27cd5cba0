//! Arguments of `registry`.

use clap::{Args, Subcommand};
use shared::registry::RegistryName;

/// Arguments of `registry`.
#[derive(Debug, Args)]
pub(crate) struct RegistryArgs {
    /// What to do; lists them if left out.
    #[command(subcommand)]
    pub(crate) verb: Option<RegistryVerb>,
}

/// What to do with registries.
#[derive(Debug, Subcommand)]
pub(crate) enum RegistryVerb {
    /// List those that know the cluster.
    List,
    /// Say what a registry knows the cluster by. Workers pull all of its images with that from then on.
    Login {
        /// As images name it: ghcr.io, registry.example:5000, docker.io.
        #[arg(value_name = "REGISTRY")]
        registry: RegistryName,
        /// The name there.
        #[arg(short, long, value_name = "NAME")]
        username: String,
        /// Read the password or token from stdin; asked for if left out.
        #[arg(long)]
        password_stdin: bool,
    },
    /// Forget it. What workers have pulled stays where it is.
    Logout {
        /// Which.
        #[arg(value_name = "REGISTRY", required = true)]
        registries: Vec<RegistryName>,
    },
}
