//! Arguments of `task` and `dispatch`.

use std::path::PathBuf;

use clap::{Args, ValueEnum, ValueHint};
use clap_complete::ArgValueCandidates;
use shared::confinement::{NetworkAccess, Profile};
use shared::policy::{Backoff, RETRIES_MAX, RetryOn};
use shared::pull::PullPolicy;
use shared::resources::Quantity;
use shared::selector::LabelWish;
use shared::span::Span;
use shared::submit::STORAGE_HINT;

use super::key::idempotency_key;
use super::pair::pair;

/// Arguments of `task`.
#[derive(Debug, Args)]
pub(crate) struct TaskArgs {
    /// Docker image to run.
    #[arg(value_name = "IMAGE", required_unless_present_any = ["file", "input"], conflicts_with = "file")]
    pub(crate) image: Option<String>,
    #[command(flatten)]
    pub(crate) options: SubmitArgs,
}

/// Arguments of `dispatch`.
#[derive(Debug, Args)]
pub(crate) struct DispatchArgs {
    /// The worker that runs it.
    #[arg(value_name = "WORKER", add = ArgValueCandidates::new(crate::complete::workers))]
    pub(crate) worker: String,
    /// Docker image to run.
    #[arg(value_name = "IMAGE", required_unless_present_any = ["file", "input"], conflicts_with = "file")]
    pub(crate) image: Option<String>,
    #[command(flatten)]
    pub(crate) options: SubmitArgs,
}

/// What `task` and `dispatch` share.
#[derive(Debug, Default, Args)]
pub(crate) struct SubmitArgs {
    /// A name for people; need not be unique.
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// When the image is pulled: missing, always or never [default: missing].
    #[arg(long, value_name = "WHEN")]
    pub(crate) pull: Option<PullPolicy>,
    /// How the container is set up: standard, as under `docker run`, or strict: no root, no capabilities, no network, and
    /// nothing to write to but /output and /tmp [default: standard].
    #[arg(long, value_name = "PROFILE")]
    pub(crate) profile: Option<Profile>,
    /// What the container can reach: outgoing (everything but other containers), public (the Internet, but no private
    /// address) or none [default: outgoing; with --profile strict: none].
    #[arg(long, value_name = "ACCESS")]
    pub(crate) network: Option<NetworkAccess>,
    /// CPU cores, for example 2.5 or 500m [default: 1.0].
    #[arg(long, value_name = "CORES", allow_negative_numbers = true)]
    pub(crate) cpu_cores: Option<Quantity>,
    /// Memory in GiB, or with a unit: 8.0 or 512MiB [default: 0.5].
    #[arg(long, value_name = "SIZE", allow_negative_numbers = true)]
    pub(crate) mem: Option<Quantity>,
    /// After it was out of memory, run it again with twice as much, up to this; needs --retries.
    #[arg(long, value_name = "SIZE", allow_negative_numbers = true)]
    pub(crate) mem_max: Option<Quantity>,
    /// Storage in GiB, or with a unit: it is ended when it stores more. Not given, 1 GiB is reserved, and no limit.
    #[arg(long, value_name = "SIZE", allow_negative_numbers = true, value_parser = storage)]
    pub(crate) storage: Option<Quantity>,
    /// GPUs, for example 1 or 500m [default: 0.0].
    #[arg(long, value_name = "GPUS", allow_negative_numbers = true)]
    pub(crate) gpu_cores: Option<Quantity>,
    /// Environment variable of the container; may be given often.
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    pub(crate) env: Vec<(String, String)>,
    /// Environment variables from a file of NAME=VALUE lines; may be given often. --env wins over it.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) env_file: Vec<PathBuf>,
    /// Label for filters; may be given often.
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    pub(crate) label: Vec<(String, String)>,
    /// Only on a worker that has this label: KEY=VALUE, KEY (whatever its value), or KEY!=VALUE (not with that value); may be
    /// given often, and all must hold.
    #[arg(long, value_name = "LABEL")]
    pub(crate) worker_label: Vec<LabelWish>,
    /// Run it once for each index, which stands in CLOUDAI_ARRAY_INDEX: 0-99, 0-99:2 (a step), 1,3,10-19, each with %4
    /// behind it for at most four at a time.
    #[arg(long, value_name = "INDICES", conflicts_with = "count")]
    pub(crate) array: Option<String>,
    /// Run it this many times: an array with the indices 0 to N-1.
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub(crate) count: Option<u32>,
    /// Files and folders that the task reads at /input, each under its own name there; of `DIR/.` what is in it. Or the id
    /// of what `files upload` has uploaded.
    #[arg(long, value_name = "PATH", num_args = 1.., value_hint = ValueHint::AnyPath)]
    pub(crate) input: Vec<PathBuf>,
    /// Stop it when its container has run for this long: 90s, 10m, 2h. The pull of the image does not count.
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub(crate) time_limit: Option<Span>,
    /// Fail it when it has waited for a worker for this long.
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub(crate) queue_time_limit: Option<Span>,
    /// Between TERM and KILL, where it is cancelled or has run too long [default: the master's, 30s].
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub(crate) stop_grace: Option<Span>,
    /// Run it again after a failure of its own, up to N times; CLOUDAI_ATTEMPT tells it which run it is [default: 0].
    #[arg(long, value_name = "N", allow_negative_numbers = true,
        value_parser = clap::value_parser!(u32).range(0..=i64::from(RETRIES_MAX)))]
    pub(crate) retries: Option<u32>,
    /// After which failures: exit, exit:CODE, signal, signal:NUMBER, oom, timeout, disk, image, setup
    /// [default: exit,signal,oom,timeout,disk].
    #[arg(long, value_name = "FAILURES", value_delimiter = ',')]
    pub(crate) retry_on: Vec<RetryOn>,
    /// The pause before a retry, doubling up to the second time [default: 10s..5m].
    #[arg(long, value_name = "FIRST..MOST", allow_hyphen_values = true)]
    pub(crate) backoff: Option<Backoff>,
    /// Never start it again once it may have been started. It is stopped when its worker loses touch with the master, and
    /// is not run elsewhere.
    #[arg(long)]
    pub(crate) at_most_once: bool,
    /// Let it stand still while its log cannot be brought to the master as fast as it writes, so that nothing of it is ever
    /// dropped on the way. Without it nobody waits for a log.
    #[arg(long)]
    pub(crate) blocking_log: bool,
    /// A command line for /bin/sh -c in the container.
    #[arg(long, value_name = "LINE", conflicts_with = "argv", allow_hyphen_values = true)]
    pub(crate) command: Option<String>,
    /// One or many tasks in TOML, YAML, JSON or JSONL; `-` is stdin. Other options change all of them.
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath, conflicts_with = "argv")]
    pub(crate) file: Option<PathBuf>,
    /// What the file is, where its name does not say it.
    #[arg(long, value_name = "TYPE", requires = "file", conflicts_with = "image")]
    pub(crate) file_type: Option<FileType>,
    /// Print the log as it comes, and end with the task and its exit code. Ctrl-C asks whether to cancel the task or to
    /// leave it, a second one leaves it.
    #[arg(long, visible_alias = "follow")]
    pub(crate) wait: bool,
    /// Submit nothing: show what would be sent, and where it could run.
    #[arg(long, conflicts_with = "wait")]
    pub(crate) dry_run: bool,
    /// The same key never makes two tasks; by default a fresh one.
    #[arg(long, value_name = "KEY", value_parser = idempotency_key)]
    pub(crate) idempotency_key: Option<String>,
    /// Program and arguments, run without a shell; what the image says if there are none.
    #[arg(last = true, value_name = "ARGV")]
    pub(crate) argv: Vec<String>,
}

/// The format of a task file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum FileType {
    /// One table, or `[[tasks]]`.
    Toml,
    /// A mapping, a list, or several documents.
    Yaml,
    /// An object, or a list.
    Json,
    /// One object a line, sent as it is read.
    Jsonl,
}

/// What is no amount is explained with the other amounts, when all of them are known.
fn storage(text: &str) -> Result<Quantity, &'static str> {
    let storage = Quantity::Text(text.to_owned());
    match storage.to_bytes("storage") {
        Ok(0) => Err(STORAGE_HINT),
        Ok(_) | Err(_) => Ok(storage),
    }
}
