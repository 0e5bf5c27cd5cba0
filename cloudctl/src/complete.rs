//! What a shell may complete: commands and flags from their definition, tasks and workers from the master.

use std::sync::OnceLock;
use std::time::Duration;

use clap_complete::CompletionCandidate;
use shared::context::file::load;
use shared::task::TaskState;
use shared::view::{PendingWorkerView, TaskView};

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

/// What the line that is being written says, and else the variables.
fn environment() -> GlobalArgs {
    let variable = |name| std::env::var(name).ok();
    let line: Vec<_> = std::env::args().collect();
    GlobalArgs {
        server: flag(&line, "--server").or_else(|| variable("CLOUDCTL_SERVER")),
        context: flag(&line, "--context").or_else(|| variable("CLOUDCTL_CONTEXT")),
        ca: flag(&line, "--ca").or_else(|| variable("CLOUDCTL_CA")).map(Into::into),
        fingerprint: flag(&line, "--fingerprint").or_else(|| variable("CLOUDCTL_FINGERPRINT")),
        token: variable("CLOUDCTL_TOKEN"),
        ..GlobalArgs::default()
    }
}

/// The value of a flag in a line that is not whole yet.
fn flag(line: &[String], name: &str) -> Option<String> {
    let after = |at: usize| match line[at].strip_prefix(name)? {
        "" => line.get(at + 1).cloned(),
        rest => rest.strip_prefix('=').map(str::to_owned),
    };
    (0..line.len()).rev().find_map(after).filter(|value| !value.is_empty())
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

/// Names of workers that wait to be let in.
pub(crate) fn pending_workers() -> Vec<CompletionCandidate> {
    let pending = ask(async |client| client.pending_workers().await).map(|list| list.pending).unwrap_or_default();
    let candidate = |worker: PendingWorkerView| {
        CompletionCandidate::new(worker.worker_id.to_string()).help(Some(worker.address.into()))
    };
    pending.into_iter().map(candidate).collect()
}

/// Ids of tasks, the newest first.
pub(crate) fn tasks() -> Vec<CompletionCandidate> {
    tasks_in(&[None])
}

/// Of tasks that have not ended.
pub(crate) fn open_tasks() -> Vec<CompletionCandidate> {
    tasks_in(&[Some(TaskState::Running), Some(TaskState::Pending), Some(TaskState::Queued)])
}

/// Of tasks that have ended.
pub(crate) fn ended_tasks() -> Vec<CompletionCandidate> {
    tasks_in(&[Some(TaskState::Failed), Some(TaskState::Completed), Some(TaskState::Cancelled)])
}

/// The newest in each of these states.
fn tasks_in(states: &[Option<TaskState>]) -> Vec<CompletionCandidate> {
    let lists = ask(async |client| {
        let mut tasks = Vec::new();
        for &state in states {
            let filter = TaskFilter { state, ..TaskFilter::default() };
            tasks.extend(client.tasks(&filter, None, TASKS).await?.tasks);
        }
        Ok(tasks)
    });
    let tasks = lists.unwrap_or_default().into_iter();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_which_master_is_asked() {
        let line = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let of = |text: &str| flag(&line(text), "--server");
        assert_eq!(of("cloudctl -- cloudctl --server http://h stats w"), Some("http://h".into()));
        assert_eq!(of("cloudctl -- cloudctl stats --server=http://h w"), Some("http://h".into()));
        assert_eq!(of("cloudctl -- cloudctl stats --server"), None);
        assert_eq!(of("cloudctl -- cloudctl stats --serverless x"), None);
        assert_eq!(flag(&line("cloudctl -- cloudctl --ca ca.pem stats w"), "--ca"), Some("ca.pem".into()));
    }
}
