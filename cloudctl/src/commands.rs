//! The verbs. Each takes its arguments, asks the master, and returns what is to be shown.

mod admin;
mod approve;
mod attend;
mod audit;
mod bulk;
mod cancel;
mod completions;
mod context;
mod cordon;
mod delete;
mod dispatch;
mod download;
mod drain;
mod each;
mod edit;
mod files;
mod fix_resources;
mod follow;
mod get_to_know;
mod help;
mod ids;
mod internal_state;
mod interrupt;
mod list_tasks;
mod login;
mod logout;
mod logs;
mod man;
mod monitor;
mod owner;
mod pages;
mod password;
mod passwords;
mod queue;
mod register;
mod register_worker;
mod registry;
mod request;
mod retry;
mod search;
mod session;
mod show;
mod shutdown;
mod since;
mod stats;
mod status;
mod submit;
mod task;
mod task_file;
mod task_files;
mod tokens;
mod undrain;
mod unregister;
mod until_key;
mod upload;
mod users;
mod version;
mod wait;
mod warnings;
mod watch;
mod whoami;
mod why;
mod worker_token;
mod workers;

use crate::args::{Cli, Verb};
use crate::exit::CtlError;
use crate::render::{Done, Terminal};
pub(crate) use interrupt::interrupts;
use session::Session;

/// Runs the verb; `shell` runs none.
pub(crate) async fn run(cli: &Cli, terminal: &Terminal) -> Result<Done, CtlError> {
    let global = &cli.global;
    // These need no master.
    match &cli.verb {
        Verb::Login(args) => return login::run(args, global, terminal).await,
        Verb::Register(args) if args.worker.is_none() => return register::run(args, global, terminal).await,
        Verb::Logout(args) => return logout::run(args, global, terminal).await,
        Verb::Context(args) => return context::run(args, global),
        Verb::Version => return version::run(global, terminal).await,
        Verb::Completions(args) => return completions::run(args),
        Verb::Man(args) => return man::run(args),
        Verb::Help(args) => return help::run(args),
        _ => {}
    }
    let session = Session::open(global, terminal)?;
    match &cli.verb {
        Verb::Login(_)
        | Verb::Logout(_)
        | Verb::Context(_)
        | Verb::Version
        | Verb::Completions(_)
        | Verb::Man(_)
        | Verb::Help(_)
        | Verb::Shell(_) => Ok(Done::default()),
        Verb::Task(args) => task::run(args, &session).await,
        Verb::Dispatch(args) => dispatch::run(args, &session).await,
        Verb::ListTasks(args) => list_tasks::run(args, &session).await,
        Verb::Show(args) => show::run(args, &session).await,
        Verb::Why(args) => why::run(args, &session).await,
        Verb::Wait(args) => wait::run(args, &session).await,
        Verb::Cancel(args) => cancel::run(args, &session).await,
        Verb::Retry(args) => retry::run(args, &session).await,
        Verb::Edit(args) => edit::run(args, &session).await,
        Verb::Delete(args) => delete::run(args, &session).await,
        Verb::Monitor(args) => monitor::run(args, &session).await,
        Verb::Logs(args) => logs::run(args, &session).await,
        Verb::Files(args) => files::run(args, &session).await,
        Verb::TaskFiles(args) => task_files::run(args, &session).await,
        Verb::Download(args) => download::run(args, &session).await,
        Verb::Status(args) => status::run(args, &session).await,
        Verb::Workers(args) => workers::run(args, &session).await,
        Verb::Stats(args) => stats::run(args, &session).await,
        Verb::WorkerToken(args) => worker_token::run(args, &session).await,
        Verb::Registry(args) => registry::run(args, &session).await,
        Verb::Register(args) => register_worker::run(args, &session).await,
        Verb::Approve(args) => approve::run(args, &session).await,
        Verb::Cordon(args) => cordon::run(args, &session).await,
        Verb::Drain(args) => drain::run(args, &session).await,
        Verb::Undrain(args) => undrain::run(args, &session).await,
        Verb::Unregister(args) => unregister::run(args, &session).await,
        Verb::Queue(args) => queue::run(args, &session).await,
        Verb::Watch(args) => watch::run(args, &session).await,
        Verb::InternalState => internal_state::run(&session).await,
        Verb::FixResources => fix_resources::run(&session).await,
        Verb::Shutdown(args) => shutdown::run(args, &session).await,
        Verb::Whoami => whoami::run(&session).await,
        Verb::Password(args) => password::run(args, &session).await,
        Verb::Tokens(args) => tokens::run(args, &session).await,
        Verb::Users(args) => users::run(args, &session).await,
        Verb::Audit(args) => audit::run(args, &session).await,
        Verb::Admin(args) => admin::run(args, &session).await,
    }
}
