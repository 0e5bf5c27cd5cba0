//! Arguments of `monitor` and `logs`.

use clap::{Args, ValueEnum};
use clap_complete::ArgValueCandidates;
use shared::id::TaskRef;

/// Arguments of `monitor`.
#[derive(Debug, Args)]
pub(crate) struct MonitorArgs {
    /// task-..., or task-....7 for one element of an array, task-....0-9 for several.
    #[arg(value_name = "ID", add = ArgValueCandidates::new(crate::complete::open_tasks))]
    pub(crate) id: TaskRef,
    /// Only this run of the task.
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) attempt: Option<u32>,
}

/// Arguments of `logs`.
#[derive(Debug, Args)]
pub(crate) struct LogsArgs {
    /// task-..., or task-....7 for one element of an array, task-....0-9 for several.
    #[arg(value_name = "ID", add = ArgValueCandidates::new(crate::complete::tasks))]
    pub(crate) id: TaskRef,
    /// Go on until the task has ended.
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Only what was written since: 2026-11-23T17:00:00Z, 2026-11-23, or 30m, 2h, 7d ago.
    #[arg(long, value_name = "TIME", conflicts_with = "tail", allow_hyphen_values = true)]
    pub(crate) since: Option<String>,
    /// Only the last lines, at most 10000.
    #[arg(long, value_name = "LINES", allow_negative_numbers = true,
        value_parser = clap::value_parser!(u32).range(0..=10_000))]
    pub(crate) tail: Option<u32>,
    /// Only the lines that contain this text, of what is there by now.
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["follow", "since", "tail"], allow_hyphen_values = true)]
    pub(crate) search: Option<String>,
    /// The text is a regular expression.
    #[arg(long, requires = "search")]
    pub(crate) regex: bool,
    /// Upper and lower case are the same.
    #[arg(short, long, requires = "search")]
    pub(crate) ignore_case: bool,
    /// Only this stream.
    #[arg(long, value_name = "STREAM")]
    pub(crate) stream: Option<StreamName>,
    /// Each line with the time at which it reached the master.
    #[arg(short, long)]
    pub(crate) timestamps: bool,
    /// Only this run of the task; by default the last one, with --follow also those that follow.
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) attempt: Option<u32>,
    /// Each line with the task or element that wrote it.
    #[arg(long)]
    pub(crate) prefix: bool,
}

/// One of the two streams of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum StreamName {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}
