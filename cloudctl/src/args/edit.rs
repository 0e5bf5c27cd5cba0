//! Arguments of `edit` and `delete`.

use clap::{ArgGroup, Args};
use clap_complete::ArgValueCandidates;
use shared::id::TaskId;

use super::pair::pair;
use super::tasks::Ids;

/// Arguments of `edit`.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("change").required(true).multiple(true).args(["name", "no_name", "label", "unlabel"])))]
pub(crate) struct EditArgs {
    /// task-...; one that waits.
    #[arg(value_name = "ID", add = ArgValueCandidates::new(crate::complete::open_tasks))]
    pub(crate) id: TaskId,
    /// Its new name.
    #[arg(long, value_name = "NAME", conflicts_with = "no_name")]
    pub(crate) name: Option<String>,
    /// Take its name away.
    #[arg(long)]
    pub(crate) no_name: bool,
    /// Set a label; may be given often.
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    pub(crate) label: Vec<(String, String)>,
    /// Take a label away; may be given often.
    #[arg(long, value_name = "NAME")]
    pub(crate) unlabel: Vec<String>,
}

/// Arguments of `delete`.
#[derive(Debug, Args)]
pub(crate) struct DeleteArgs {
    /// task-...; `-` reads ids from stdin.
    #[arg(value_name = "ID", required = true, add = ArgValueCandidates::new(crate::complete::ended_tasks))]
    pub(crate) ids: Vec<Ids>,
    /// Do not ask.
    #[arg(short, long)]
    pub(crate) yes: bool,
}
