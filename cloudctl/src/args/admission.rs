//! Arguments of the commands about which workers may join.

use std::time::Duration;

use clap::{Args, Subcommand};
use clap_complete::ArgValueCandidates;
use shared::id::{TokenId, WorkerId};
use shared::span::Span;

use super::tasks::span;

/// Arguments of `workers`.
#[derive(Debug, Args)]
pub(crate) struct WorkersArgs {
    /// Those of the first generation that wait to be let in, instead: `cloudctl approve`.
    #[arg(long)]
    pub(crate) pending: bool,
}

/// Arguments of `worker-token`.
#[derive(Debug, Args)]
pub(crate) struct WorkerTokenArgs {
    /// What to do; lists them if left out.
    #[command(subcommand)]
    pub(crate) verb: Option<WorkerTokenVerb>,
}

/// What to do with join tokens.
#[derive(Debug, Subcommand)]
pub(crate) enum WorkerTokenVerb {
    /// List those that can still be used.
    List,
    /// Make one. It is shown only now.
    Create {
        /// The one worker that it is for, which may take the place of one of that name [default: any free name].
        #[arg(long, value_name = "WORKER")]
        name: Option<WorkerId>,
        /// How long it is good: 15m, 2h; at most 1d.
        #[arg(long, value_name = "TIME", allow_hyphen_values = true, default_value = "15m", value_parser = span)]
        ttl: Duration,
        /// How many workers can join with it.
        #[arg(long, value_name = "N", allow_negative_numbers = true, default_value_t = 1)]
        uses: u32,
        /// What the label `pool` of its workers will be, whatever they say themselves.
        #[arg(long, value_name = "POOL")]
        pool: Option<String>,
    },
    /// End some. Workers that have joined stay.
    Revoke {
        /// Which.
        #[arg(value_name = "ID", required = true)]
        ids: Vec<TokenId>,
    },
}

/// Arguments of `unregister`.
#[derive(Debug, Args)]
pub(crate) struct UnregisterArgs {
    /// Which.
    #[arg(value_name = "WORKER", required = true, add = ArgValueCandidates::new(crate::complete::workers))]
    pub(crate) workers: Vec<WorkerId>,
    /// Do not ask.
    #[arg(short, long)]
    pub(crate) yes: bool,
}

/// Arguments of `cordon`.
#[derive(Debug, Args)]
pub(crate) struct CordonArgs {
    /// Which.
    #[arg(value_name = "WORKER", required = true, add = ArgValueCandidates::new(crate::complete::workers))]
    pub(crate) workers: Vec<WorkerId>,
    /// Why, for people.
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
}

/// Arguments of `drain`.
#[derive(Debug, Args)]
pub(crate) struct DrainArgs {
    /// Which.
    #[arg(value_name = "WORKER", required = true, add = ArgValueCandidates::new(crate::complete::workers))]
    pub(crate) workers: Vec<WorkerId>,
    /// What still runs there after this time is stopped, and runs elsewhere: 0s, 30m, 2h. Without it, it may run to its end.
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub(crate) deadline: Option<Span>,
    /// Why, for people.
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
    /// End only when nothing runs there any more.
    #[arg(long)]
    pub(crate) wait: bool,
}

/// Arguments of `undrain`.
#[derive(Debug, Args)]
pub(crate) struct UndrainArgs {
    /// Which.
    #[arg(value_name = "WORKER", required = true, add = ArgValueCandidates::new(crate::complete::workers))]
    pub(crate) workers: Vec<WorkerId>,
}

/// Arguments of `approve`.
#[derive(Debug, Args)]
pub(crate) struct ApproveArgs {
    /// Which.
    #[arg(value_name = "WORKER", add = ArgValueCandidates::new(crate::complete::pending_workers))]
    pub(crate) worker: WorkerId,
    /// Where it listens, if that is not what `cloudctl workers --pending` shows.
    #[arg(value_name = "IP:PORT")]
    pub(crate) address: Option<String>,
}
