//! Arguments of the commands about tasks.

use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use clap_complete::ArgValueCandidates;
use shared::id::TaskRef;
use shared::span::{InvalidSpan, Span};
use shared::task::TaskState;

use super::key::idempotency_key;
use super::pair::pair;

/// Arguments of `list-tasks`.
#[derive(Debug, Args)]
pub(crate) struct ListTasksArgs {
    /// queued, pending, running, completed, failed or cancelled.
    #[arg(value_name = "STATE", add = ArgValueCandidates::new(crate::complete::states))]
    pub(crate) filter: Option<TaskState>,
    /// The same as the argument.
    #[arg(long, visible_alias = "status", value_name = "STATE", conflicts_with = "filter",
        add = ArgValueCandidates::new(crate::complete::states))]
    pub(crate) state: Option<TaskState>,
    /// Only tasks of this user.
    #[arg(long, value_name = "USER")]
    pub(crate) user: Option<String>,
    /// Only tasks that run or ran on this worker.
    #[arg(long, value_name = "WORKER", add = ArgValueCandidates::new(crate::complete::workers))]
    pub(crate) worker: Option<String>,
    /// Only tasks with this label; may be given often.
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    pub(crate) label: Vec<(String, String)>,
    /// Only tasks submitted since: 2026-11-23T17:00:00Z, 2026-11-23, or 30m, 2h, 7d ago.
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<String>,
    /// Only tasks submitted before: as --since.
    #[arg(long, value_name = "TIME")]
    pub(crate) until: Option<String>,
    /// At most this many.
    #[arg(long, value_name = "N", allow_negative_numbers = true, default_value_t = 100,
        value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) limit: u32,
    /// All of them.
    #[arg(long, conflicts_with = "limit")]
    pub(crate) all: bool,
}

/// A task, one element of an array, or a range of elements.
#[derive(Debug, Args)]
pub(crate) struct TaskIdArgs {
    /// task-..., or task-....7 for one element of an array, task-....0-9 for several.
    #[arg(value_name = "ID", add = ArgValueCandidates::new(crate::complete::tasks))]
    pub(crate) id: TaskRef,
}

/// Arguments of `wait`.
#[derive(Debug, Args)]
pub(crate) struct WaitArgs {
    /// task-..., or task-....7 for one element of an array, task-....0-9 for several; `-` reads ids from stdin.
    #[arg(value_name = "ID", required = true, add = ArgValueCandidates::new(crate::complete::open_tasks))]
    pub(crate) ids: Vec<Ids>,
    /// Until the first of them has ended; its exit code counts.
    #[arg(long, conflicts_with = "all")]
    pub(crate) any: bool,
    /// Until all of them have ended, which is the default. The first that failed, in their order here, counts.
    #[arg(long)]
    pub(crate) all: bool,
    /// No longer than this: 90s, 10m, 2h. When it is over the exit code is 75, and the tasks go on.
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, value_parser = span)]
    pub(crate) timeout: Option<Duration>,
}

/// Arguments of `cancel`.
#[derive(Debug, Args)]
pub(crate) struct CancelArgs {
    /// task-..., or task-....7 for one element of an array, task-....0-9 for several; `-` reads ids from stdin.
    #[arg(value_name = "ID", required_unless_present = "all", add = ArgValueCandidates::new(crate::complete::open_tasks))]
    pub(crate) ids: Vec<Ids>,
    /// All tasks that have not ended, or those of them that --state, --label and --user name. Asks first.
    #[arg(long, conflicts_with = "ids")]
    pub(crate) all: bool,
    /// With --all: only tasks in this state: queued, pending or running.
    #[arg(long, visible_alias = "status", value_name = "STATE", requires = "all", conflicts_with = "ids", value_parser = open_state)]
    pub(crate) state: Option<TaskState>,
    /// With --all: only tasks with this label; may be given often.
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair, requires = "all", conflicts_with = "ids")]
    pub(crate) label: Vec<(String, String)>,
    /// With --all: only tasks of this user.
    #[arg(long, value_name = "USER", requires = "all", conflicts_with = "ids")]
    pub(crate) user: Option<String>,
    /// Do not wait for the worker: end it here and now. For what is unreachable, when its host will not come back; what may
    /// still run there is stopped when it does.
    #[arg(long)]
    pub(crate) force: bool,
    /// Do not ask. (Ids that are named are never asked about.)
    #[arg(short, long)]
    pub(crate) yes: bool,
}

/// Arguments of `retry`.
#[derive(Debug, Args)]
pub(crate) struct RetryArgs {
    /// task-..., or task-....7 for one element of an array, task-....0-9 for several; `-` reads ids from stdin.
    #[arg(value_name = "ID", required = true, add = ArgValueCandidates::new(crate::complete::ended_tasks))]
    pub(crate) ids: Vec<Ids>,
    /// Also elements that succeeded.
    #[arg(long)]
    pub(crate) all: bool,
    /// Print the log as it comes, and end with the task and its exit code.
    #[arg(long, visible_alias = "follow")]
    pub(crate) wait: bool,
    /// The same key never makes two tasks; by default a fresh one.
    #[arg(long, value_name = "KEY", value_parser = idempotency_key)]
    pub(crate) idempotency_key: Option<String>,
}

/// A task, or wherever tasks are named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ids {
    /// This one.
    One(TaskRef),
    /// Those that stand on stdin, between blanks and line ends.
    Stdin,
}

impl FromStr for Ids {
    type Err = shared::id::InvalidId;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "-" { Ok(Self::Stdin) } else { text.parse().map(Self::One) }
    }
}

/// `90s`, `10m`, `1h30m`, `7d`; a plain number is seconds.
pub(super) fn span(text: &str) -> Result<Duration, InvalidSpan> {
    text.parse().map(|Span(span)| span)
}

fn open_state(text: &str) -> Result<TaskState, String> {
    match text.parse::<TaskState>() {
        Ok(state) if !state.is_final() => Ok(state),
        Ok(_) => Err("it has ended; give queued, pending or running".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}
