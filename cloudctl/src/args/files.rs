//! Arguments of the commands about files.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueHint};
use clap_complete::ArgValueCandidates;
use shared::files_of::FilesOf;
use shared::id::{InputId, TaskRef};

/// Arguments of `files`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct FilesArgs {
    /// What to do; lists the output files of a user if left out.
    #[command(subcommand)]
    pub(crate) verb: Option<FilesVerb>,
    #[command(flatten)]
    pub(crate) list: ListFilesArgs,
}

/// What to do with files.
#[derive(Debug, Subcommand)]
pub(crate) enum FilesVerb {
    /// List the output files of a user, the files of a task or of an input, or with --inputs what a user has uploaded.
    List(ListFilesArgs),
    /// Upload files and folders, for tasks to read at /input: `cloudctl task IMAGE --input ID`.
    Upload(UploadArgs),
    /// Download the files of a task or of an input.
    Download(DownloadFilesArgs),
    /// Delete inputs, and the output files of tasks.
    Delete(DeleteFilesArgs),
}

/// Arguments of `files list`.
#[derive(Debug, Args)]
pub(crate) struct ListFilesArgs {
    /// A user, yours if it is left out (those of others are for admins); or the id of a task or of an input.
    #[arg(value_name = "USER|ID")]
    pub(crate) of: Option<String>,
    /// What the user has uploaded for tasks to read.
    #[arg(long)]
    pub(crate) inputs: bool,
    /// At most this many.
    #[arg(long, value_name = "N", allow_negative_numbers = true, default_value_t = 100,
        value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) limit: u32,
    /// All of them.
    #[arg(long, conflicts_with = "limit")]
    pub(crate) all: bool,
}

/// Arguments of `files upload`.
#[derive(Debug, Args)]
pub(crate) struct UploadArgs {
    /// Files and folders. Each is found under its own name in /input; of `DIR/.` what is in it.
    #[arg(value_name = "PATH", required = true, value_hint = ValueHint::AnyPath)]
    pub(crate) paths: Vec<PathBuf>,
    /// Go on with this input where an earlier upload of the same files was interrupted.
    #[arg(long, value_name = "ID")]
    pub(crate) resume: Option<InputId>,
}

/// Arguments of `files download`.
#[derive(Debug, Args)]
pub(crate) struct DownloadFilesArgs {
    /// The task, the element of an array, or the input.
    #[arg(value_name = "ID")]
    pub(crate) id: FilesOf,
    /// The directory to write to [default: one named after the id].
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) directory: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) over: OverArgs,
}

/// Arguments of `files delete`.
#[derive(Debug, Args)]
pub(crate) struct DeleteFilesArgs {
    /// Inputs, tasks, or elements of arrays.
    #[arg(value_name = "ID", required = true)]
    pub(crate) ids: Vec<FilesOf>,
    /// Only this output file of each; may be given often.
    #[arg(long, value_name = "PATH")]
    pub(crate) path: Vec<OsString>,
    /// Do not ask.
    #[arg(short, long)]
    pub(crate) yes: bool,
}

/// What a download does with what is there.
#[derive(Debug, Clone, Copy, Default, Args)]
pub(crate) struct OverArgs {
    /// Replace files that are there and are not the same.
    #[arg(long)]
    pub(crate) force: bool,
    /// Go on where an earlier download was interrupted: keep what is whole, bring only what is missing.
    #[arg(long)]
    pub(crate) resume: bool,
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
    #[command(flatten)]
    pub(crate) over: OverArgs,
}
