//! Arguments of the commands about output files.

use std::ffi::OsString;

use clap::{Args, ValueHint};
use clap_complete::ArgValueCandidates;
use shared::id::TaskRef;

/// Arguments of `files`.
#[derive(Debug, Args)]
pub(crate) struct FilesArgs {
    /// Whose files; yours if it is left out. Those of others are for admins.
    #[arg(value_name = "USER")]
    pub(crate) user: Option<String>,
    /// At most this many.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) limit: u32,
    /// All of them.
    #[arg(long, conflicts_with = "limit")]
    pub(crate) all: bool,
}

/// Arguments of `task-files`.
#[derive(Debug, Args)]
pub(crate) struct TaskFilesArgs {
    /// task-..., or task-....7 for one element of an array, task-....0-9 for several.
    #[arg(value_name = "ID", add = ArgValueCandidates::new(crate::complete::tasks))]
    pub(crate) id: TaskRef,
    /// Whose task it is; refused if it is another's.
    #[arg(value_name = "USER")]
    pub(crate) user: Option<String>,
}

/// Arguments of `download`.
#[derive(Debug, Args)]
pub(crate) struct DownloadArgs {
    /// task-..., or task-....7 for one element of an array, task-....0-9 for several.
    #[arg(value_name = "ID", add = ArgValueCandidates::new(crate::complete::ended_tasks))]
    pub(crate) id: TaskRef,
    /// Whose task it is (may be left out), and the directory to write to [default: one named after the task].
    #[arg(value_name = "[USER] DIR", num_args = 0..=2, value_hint = ValueHint::DirPath)]
    pub(crate) target: Vec<OsString>,
    /// Replace files that are there and are not the same.
    #[arg(long)]
    pub(crate) force: bool,
    /// Go on where an earlier download was interrupted: keep what is whole, bring only what is missing.
    #[arg(long)]
    pub(crate) resume: bool,
}
