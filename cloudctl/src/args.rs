//! The command line. What each flag means stands here and nowhere else.

mod normalise;

use std::ffi::OsString;

use clap::{Args, Parser, Subcommand, ValueEnum};
use shared::id::TaskRef;
use shared::resources::Quantity;
use shared::task::TaskState;

pub(crate) use normalise::normalise;

const EXIT_CODES: &str = "\
Exit codes:
  0  done          4  log in first    7  not now: the master is away or busy
  1  other fault   5  not allowed     8  a deadline passed
  2  wrong call    6  conflict      130  interrupted
  3  not found
  `task --wait` and `dispatch --wait` end with the code of the task: its own
  exit code, 128+n for signal n, 137 out of memory, 124 timed out,
  130 cancelled, 125 if it could not be run.

Where the server and the token come from: --server and --token, then
CLOUDCTL_SERVER and CLOUDCTL_TOKEN, then the context in
$XDG_CONFIG_HOME/cloudctl/contexts.toml (else ~/.config/...), which
`cloudctl login` and `cloudaid dev` write.";

/// The remote admin client of CloudAI.
#[derive(Debug, Parser)]
#[command(name = "cloudctl", bin_name = "cloudctl", version, after_help = EXIT_CODES, propagate_version = false)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: GlobalArgs,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// Flags of every subcommand.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct GlobalArgs {
    /// The master, for example http://127.0.0.1:8080.
    #[arg(long, global = true, value_name = "URL", env = "CLOUDCTL_SERVER")]
    pub(crate) server: Option<String>,
    /// Proves who you are. In the environment it is not seen by `ps`.
    #[arg(long, global = true, value_name = "TOKEN", env = "CLOUDCTL_TOKEN", hide_env_values = true)]
    pub(crate) token: Option<String>,
    /// The context to use instead of the current one.
    #[arg(long, global = true, value_name = "NAME", env = "CLOUDCTL_CONTEXT")]
    pub(crate) context: Option<String>,
    /// `table` for people, `json` as the API says it, `quiet` for ids only, one a line.
    #[arg(short, long, global = true, value_name = "FORMAT", default_value = "table")]
    pub(crate) output: OutputFormat,
}

/// How results are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum OutputFormat {
    /// For people.
    Table,
    /// The API's own.
    Json,
    /// Ids only.
    Quiet,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Log in to a master and remember it as the current context.
    #[command(after_help = "Example:\n  cloudctl login --server http://master:8080 --username admin\n  \
        cloudctl login --server http://master:8080 --setup-token T --username admin   (makes the first admin)")]
    Login(LoginArgs),
    /// Show the state of the cluster.
    #[command(after_help = "Example:\n  cloudctl status\n  cloudctl status -o json")]
    Status,
    /// List the registered workers.
    #[command(after_help = "Example:\n  cloudctl workers")]
    Workers,
    /// Submit a task; the scheduler chooses the worker.
    #[command(after_help = "Examples:\n  cloudctl task docker.io/username/sample-task:latest\n  \
        cloudctl task docker.io/username/gpu-task:latest -name ml-training \\\n    \
        -cpu_cores 4.0 -mem 8.0 -gpu_cores 1.0\n  \
        cloudctl task alpine --wait -- sh -c 'echo hi; exit 3'")]
    Task(TaskArgs),
    /// Submit a task to one worker, past the scheduler.
    #[command(after_help = "Example:\n  cloudctl dispatch worker-1 ubuntu:latest -cpu_cores 2.0 -mem 4.0")]
    Dispatch(DispatchArgs),
    /// List tasks, newest first.
    #[command(after_help = "Examples:\n  cloudctl list-tasks running\n  \
        cloudctl list-tasks --label run=7 --since 2h --all -o quiet")]
    ListTasks(ListTasksArgs),
    /// Show a task and its runs.
    #[command(after_help = "Example:\n  cloudctl show task-01arz3ndektsv4rrffq69g5fav -o json")]
    Show(TaskIdArgs),
    /// Say why a task waits.
    #[command(after_help = "Example:\n  cloudctl why task-01arz3ndektsv4rrffq69g5fav")]
    Why(TaskIdArgs),
    /// Follow the log of a task, from its start until it ends.
    #[command(after_help = "Example:\n  cloudctl monitor task-01arz3ndektsv4rrffq69g5fav")]
    Monitor(MonitorArgs),
    /// Cancel tasks.
    #[command(after_help = "Example:\n  cloudctl cancel task-01arz3ndektsv4rrffq69g5fav\n  \
        cloudctl list-tasks queued -o quiet | xargs cloudctl cancel")]
    Cancel(CancelArgs),
    /// Show what waits, in the order in which it is considered.
    #[command(after_help = "Example:\n  cloudctl queue")]
    Queue,
    /// List the output files of a task.
    #[command(after_help = "Example:\n  cloudctl task-files task-01arz3ndektsv4rrffq69g5fav")]
    TaskFiles(TaskFilesArgs),
    /// Download the output files of a task.
    #[command(
        after_help = "Examples:\n  cloudctl download task-01arz3ndektsv4rrffq69g5fav        (into ./<task id>/)\n  \
        cloudctl download task-01arz3ndektsv4rrffq69g5fav results\n  \
        cloudctl download task-01arz3ndektsv4rrffq69g5fav alice results"
    )]
    Download(DownloadArgs),
    /// Stop the master. Running tasks go on at their workers.
    #[command(after_help = "Example:\n  cloudctl shutdown --drain --yes")]
    Shutdown(ShutdownArgs),
    /// Print the version of this program.
    #[command(after_help = "Example:\n  cloudctl version")]
    Version,
}

/// Arguments of `login`.
#[derive(Debug, Args)]
pub(crate) struct LoginArgs {
    /// Who; asked for if not given.
    #[arg(long, value_name = "USER")]
    pub(crate) username: Option<String>,
    /// Read the password from the first line of stdin instead of asking.
    #[arg(long)]
    pub(crate) password_stdin: bool,
    /// Make the first admin with the token that the master printed at its first start.
    #[arg(long, value_name = "TOKEN")]
    pub(crate) setup_token: Option<String>,
    /// The context to store; by default the one of this server, else the server's host name.
    #[arg(long, value_name = "CONTEXT")]
    pub(crate) name: Option<String>,
}

/// Arguments of `task`.
#[derive(Debug, Args)]
pub(crate) struct TaskArgs {
    /// Docker image to run.
    #[arg(value_name = "IMAGE")]
    pub(crate) image: String,
    #[command(flatten)]
    pub(crate) options: SubmitArgs,
}

/// Arguments of `dispatch`.
#[derive(Debug, Args)]
pub(crate) struct DispatchArgs {
    /// The worker that runs it.
    #[arg(value_name = "WORKER")]
    pub(crate) worker: String,
    /// Docker image to run.
    #[arg(value_name = "IMAGE")]
    pub(crate) image: String,
    #[command(flatten)]
    pub(crate) options: SubmitArgs,
}

/// What `task` and `dispatch` share.
#[derive(Debug, Args)]
pub(crate) struct SubmitArgs {
    /// A name for people; need not be unique.
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// CPU cores, for example 2.5 or 500m [default: 1.0].
    #[arg(long, value_name = "CORES", allow_negative_numbers = true)]
    pub(crate) cpu_cores: Option<Quantity>,
    /// Memory in GiB, or with a unit: 8.0 or 512MiB [default: 0.5].
    #[arg(long, value_name = "SIZE", allow_negative_numbers = true)]
    pub(crate) mem: Option<Quantity>,
    /// Storage in GiB, or with a unit [default: 1.0].
    #[arg(long, value_name = "SIZE", allow_negative_numbers = true)]
    pub(crate) storage: Option<Quantity>,
    /// GPUs, for example 1 or 500m [default: 0.0].
    #[arg(long, value_name = "GPUS", allow_negative_numbers = true)]
    pub(crate) gpu_cores: Option<Quantity>,
    /// Environment variable of the container; may be given often.
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    pub(crate) env: Vec<(String, String)>,
    /// Label for filters; may be given often.
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    pub(crate) label: Vec<(String, String)>,
    /// Run it once for each index, which stands in CLOUDAI_ARRAY_INDEX: 0-99, 0-99:2 (a step), 1,3,10-19, each with %4
    /// behind it for at most four at a time.
    #[arg(long, value_name = "INDICES", conflicts_with = "count")]
    pub(crate) array: Option<String>,
    /// Run it this many times: an array with the indices 0 to N-1.
    #[arg(long, value_name = "N")]
    pub(crate) count: Option<u32>,
    /// A command line for /bin/sh -c in the container.
    #[arg(long, value_name = "LINE", conflicts_with = "argv", allow_hyphen_values = true)]
    pub(crate) command: Option<String>,
    /// Print the log as it comes, and end with the task and its exit code. Ctrl-C cancels the task, twice leaves it.
    #[arg(long)]
    pub(crate) wait: bool,
    /// The same key never makes two tasks; by default a fresh one.
    #[arg(long, value_name = "KEY")]
    pub(crate) idempotency_key: Option<String>,
    /// Program and arguments, run without a shell; what the image says if there are none.
    #[arg(last = true, value_name = "ARGV")]
    pub(crate) argv: Vec<String>,
}

/// Arguments of `list-tasks`.
#[derive(Debug, Args)]
pub(crate) struct ListTasksArgs {
    /// queued, pending, running, completed, failed or cancelled.
    #[arg(value_name = "STATE")]
    pub(crate) filter: Option<TaskState>,
    /// The same as the argument.
    #[arg(long, value_name = "STATE", conflicts_with = "filter")]
    pub(crate) state: Option<TaskState>,
    /// Only tasks of this user.
    #[arg(long, value_name = "USER")]
    pub(crate) user: Option<String>,
    /// Only tasks that run or ran on this worker.
    #[arg(long, value_name = "WORKER")]
    pub(crate) worker: Option<String>,
    /// Only tasks with this label; may be given often.
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    pub(crate) label: Vec<(String, String)>,
    /// Only tasks submitted since: 2026-11-23T17:00:00Z, 2026-11-23, or 30m, 2h, 7d ago.
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<String>,
    /// At most this many.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) limit: u32,
    /// All of them.
    #[arg(long, conflicts_with = "limit")]
    pub(crate) all: bool,
}

/// A task, or one element of an array.
#[derive(Debug, Args)]
pub(crate) struct TaskIdArgs {
    /// task-..., or task-....N for one element of an array.
    #[arg(value_name = "ID")]
    pub(crate) id: TaskRef,
}

/// Arguments of `monitor`.
#[derive(Debug, Args)]
pub(crate) struct MonitorArgs {
    /// task-..., or task-....N for one element of an array.
    #[arg(value_name = "ID")]
    pub(crate) id: TaskRef,
    /// Write the bytes as they are, also to a terminal.
    #[arg(long)]
    pub(crate) raw: bool,
    /// Only this run of the task.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) attempt: Option<u32>,
}

/// Arguments of `cancel`.
#[derive(Debug, Args)]
pub(crate) struct CancelArgs {
    /// task-..., or task-....N for one element of an array.
    #[arg(value_name = "ID", required = true)]
    pub(crate) ids: Vec<TaskRef>,
    /// Accepted for scripts; ids that are named are not asked about.
    #[arg(short, long)]
    pub(crate) yes: bool,
}

/// Arguments of `task-files`.
#[derive(Debug, Args)]
pub(crate) struct TaskFilesArgs {
    /// task-..., or task-....N for one element of an array.
    #[arg(value_name = "ID")]
    pub(crate) id: TaskRef,
    /// Whose task it is; refused if it is another's.
    #[arg(value_name = "USER")]
    pub(crate) user: Option<String>,
}

/// Arguments of `download`.
#[derive(Debug, Args)]
pub(crate) struct DownloadArgs {
    /// task-..., or task-....N for one element of an array.
    #[arg(value_name = "ID")]
    pub(crate) id: TaskRef,
    /// Whose task it is (may be left out), and the directory to write to.
    #[arg(value_name = "[USER] DIR", num_args = 0..=2)]
    pub(crate) target: Vec<OsString>,
}

/// Arguments of `shutdown`.
#[derive(Debug, Args)]
pub(crate) struct ShutdownArgs {
    /// Start nothing new and wait until what runs has ended.
    #[arg(long)]
    pub(crate) drain: bool,
    /// Do not ask.
    #[arg(short, long)]
    pub(crate) yes: bool,
}

/// `NAME=VALUE`.
fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("give NAME=VALUE".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(normalise(line.split(' ').map(OsString::from)))
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_has_an_example() {
        for command in Cli::command().get_subcommands() {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let line = format!("cloudctl {}", command.get_name());
            assert!(help.contains(&line), "{} has no example", command.get_name());
        }
    }

    #[test]
    fn the_line_of_the_specification_is_understood() {
        let cli = parse("cloudctl task u/g:latest -name ml -cpu_cores 4.0 -mem 8.0 -gpu_cores 1.0 -- -mem 1");
        let Verb::Task(task) = cli.expect("parses").verb else { panic!("another verb") };
        assert_eq!(task.image, "u/g:latest");
        assert_eq!(task.options.name.as_deref(), Some("ml"));
        assert_eq!(task.options.mem, Some(Quantity::Text("8.0".into())));
        assert_eq!(task.options.argv, ["-mem", "1"]);
    }

    #[test]
    fn global_flags_stand_before_and_after_the_verb() {
        for line in ["cloudctl -o json --server http://s status", "cloudctl status --output json --server http://s"] {
            let cli = parse(line).expect(line);
            assert_eq!(cli.global.output, OutputFormat::Json);
            assert_eq!(cli.global.server.as_deref(), Some("http://s"));
        }
    }

    #[test]
    fn a_negative_quantity_reaches_the_check_that_explains_it() {
        let Verb::Task(task) = parse("cloudctl task a -cpu_cores -1").expect("parses").verb else { panic!("verb") };
        assert_eq!(task.options.cpu_cores, Some(Quantity::Text("-1".into())));
    }

    #[test]
    fn wrong_calls_are_refused() {
        for line in [
            "cloudctl",
            "cloudctl show nonsense",
            "cloudctl list-tasks sleeping",
            "cloudctl cancel",
            "cloudctl task a --env X",
            "cloudctl task a --command x -- y",
            "cloudctl monitor task-01arz3ndektsv4rrffq69g5fav --attempt 0",
        ] {
            assert_eq!(parse(line).expect_err(line).exit_code(), 2, "{line}");
        }
    }
}
