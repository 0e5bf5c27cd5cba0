//! The verbs. Each takes its arguments, asks the master, and returns what is to be shown.

mod cancel;
mod dispatch;
mod download;
mod follow;
mod list_tasks;
mod login;
mod monitor;
mod queue;
mod show;
mod shutdown;
mod status;
mod submit;
mod task;
mod task_files;
mod version;
mod wait;
mod why;
mod workers;

use shared::error::{ApiError, ErrorCode};
use shared::view::TaskView;

use crate::args::{Cli, Verb};
use crate::client::Client;
use crate::context::resolve;
use crate::exit::CtlError;
use crate::render::{Done, Terminal};
use shared::text::printable;

/// What every verb works with.
struct Session<'a> {
    client: Client,
    terminal: &'a Terminal,
}

/// Runs the verb.
pub(crate) async fn run(cli: &Cli, terminal: &Terminal) -> Result<Done, CtlError> {
    // These two need no context.
    match &cli.verb {
        Verb::Login(args) => return login::run(args, &cli.global, terminal).await,
        Verb::Version => return Ok(version::run()),
        _ => {}
    }
    let session = Session { client: Client::new(&resolve(&cli.global)?)?, terminal };
    match &cli.verb {
        Verb::Login(_) | Verb::Version => Ok(Done::default()),
        Verb::Status => status::run(&session).await,
        Verb::Workers => workers::run(&session).await,
        Verb::Task(args) => task::run(args, &session).await,
        Verb::Dispatch(args) => dispatch::run(args, &session).await,
        Verb::ListTasks(args) => list_tasks::run(args, &session).await,
        Verb::Show(args) => show::run(args, &session).await,
        Verb::Why(args) => why::run(args, &session).await,
        Verb::Monitor(args) => monitor::run(args, &session).await,
        Verb::Cancel(args) => cancel::run(args, &session).await,
        Verb::Queue => queue::run(&session).await,
        Verb::TaskFiles(args) => task_files::run(args, &session).await,
        Verb::Download(args) => download::run(args, &session).await,
        Verb::Shutdown(args) => shutdown::run(args, &session).await,
    }
}

/// Where a user is named beside a task, it must be theirs: a script that mixes up two tasks should hear of it.
fn check_owner(task: &TaskView, user: Option<&str>) -> Result<(), CtlError> {
    match user {
        Some(user) if user != task.user.as_str() => {
            let message = format!("{} is not a task of {}", task.task_id, printable(user));
            let hint = format!("it belongs to {}; the user may be left out", task.user);
            Err(ApiError::new(ErrorCode::TaskNotFound, message, hint).into())
        }
        _ => Ok(()),
    }
}
