//! What a shell may complete: commands and flags from their definition, tasks and workers from the master.

use std::sync::OnceLock;
use std::time::Duration;

use clap_complete::CompletionCandidate;
use shared::context::file::load;
use shared::task::TaskState;
use shared::view::TaskView;

use crate::args::GlobalArgs;
use crate::client::{Client, TaskFilter};
use crate::context::{path, resolve};
use crate::exit::CtlError;

/// The variable by which a shell's script asks.
pub(crate) const VARIABLE: &str = "CLOUDCTL_COMPLETE";
/// How long a person who pressed Tab is kept waiting.
const PATIENCE: Duration = Duration::from_millis(800);
/// The newest tasks are what people mean.
const TASKS: u32 = 50;

/// What the shell that is worked in was told.
static WITHIN: OnceLock<GlobalArgs> = OnceLock::new();

/// From now on the master is the one of `cloudctl shell`.
pub(crate) fn within(global: &GlobalArgs) {
    // There is one shell in a process.
    let _ = WITHIN.set(global.clone());
}

/// What the variables say, where there is no command line yet.
fn environment() -> GlobalArgs {
    let variable = |name| std::env::var(name).ok();
    GlobalArgs {
        server: variable("CLOUDCTL_SERVER"),
        context: variable("CLOUDCTL_CONTEXT"),
        token: variable("CLOUDCTL_TOKEN"),
        ..GlobalArgs::default()
    }
}

/// Names of contexts.
pub(crate) fn contexts() -> Vec<CompletionCandidate> {
    let file = path().ok().and_then(|path| load(&path).ok()).unwrap_or_default();
    let contexts = file.contexts.into_iter();
    contexts.map(|(name, context)| CompletionCandidate::new(name).help(Some(context.server.into()))).collect()
}

/// States of tasks.
pub(crate) fn states() -> Vec<CompletionCandidate> {
    TaskState::ALL.into_iter().map(|state| CompletionCandidate::new(state.to_string())).collect()
}

/// Names of workers.
pub(crate) fn workers() -> Vec<CompletionCandidate> {
    let workers = ask(async |client| client.workers().await).map(|list| list.workers).unwrap_or_default();
    let candidate = |worker: shared::view::WorkerView| {
        let tasks = format!("{:?}, {} running", worker.state, worker.running_tasks.len()).to_lowercase();
        CompletionCandidate::new(worker.worker_id.to_string()).help(Some(tasks.into()))
    };
    workers.into_iter().map(candidate).collect()
}

/// Ids of tasks, the newest first.
pub(crate) fn tasks() -> Vec<CompletionCandidate> {
    tasks_that(|_| true)
}

/// Of tasks that have not ended.
pub(crate) fn open_tasks() -> Vec<CompletionCandidate> {
    tasks_that(|state| !state.is_final())
}

/// Of tasks that have ended.
pub(crate) fn ended_tasks() -> Vec<CompletionCandidate> {
    tasks_that(TaskState::is_final)
}

fn tasks_that(wanted: impl Fn(TaskState) -> bool) -> Vec<CompletionCandidate> {
    let list = ask(async |client| client.tasks(&TaskFilter::default(), None, TASKS).await);
    let tasks = list.map(|list| list.tasks).unwrap_or_default().into_iter().filter(|task| wanted(task.state));
    let candidate = |(order, task): (usize, TaskView)| {
        let help = format!("{} {}", task.name.as_deref().unwrap_or(&task.image), task.state);
        CompletionCandidate::new(task.task_id).help(Some(help.into())).display_order(Some(order))
    };
    tasks.enumerate().map(candidate).collect()
}

/// Asks the master, for a moment. Where that fails there is nothing to complete, and nothing to say: a message would
/// stand in the middle of the line.
fn ask<T>(call: impl AsyncFnOnce(&Client) -> Result<T, CtlError>) -> Option<T> {
    let client = Client::new(&resolve(&WITHIN.get().cloned().unwrap_or_else(environment)).ok()?).ok()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
    let answer = runtime.block_on(async { tokio::time::timeout(PATIENCE, call(&client)).await });
    runtime.shutdown_background();
    answer.ok()?.ok()
}
