//! Results, item by item: what `jsonl`, templates and `quiet` go by.

use std::borrow::Cow;

use serde::Serialize;
use shared::id::WorkerId;
use shared::view::{FileView, InputView, SubmitLineResult};

use super::View;

/// Takes the items of a result.
pub(crate) trait RowSink {
    /// What can go wrong.
    type Error;
    /// The next item.
    ///
    /// # Errors
    /// It cannot be taken.
    fn row<T: Serialize>(&mut self, row: &T) -> Result<(), Self::Error>;
}

impl View {
    /// Gives each item to `sink`; a result that is no list is its only item.
    pub(crate) fn rows<S: RowSink>(&self, sink: &mut S) -> Result<(), S::Error> {
        fn all<T: Serialize, S: RowSink>(rows: &[T], sink: &mut S) -> Result<(), S::Error> {
            rows.iter().try_for_each(|row| sink.row(row))
        }
        match self {
            Self::Admitted(view) => sink.row(view),
            Self::Authority(view) => sink.row(view),
            Self::Cancelled(view) => sink.row(view),
            Self::CancelledAll(views) => all(views, sink),
            Self::Context(view) => sink.row(view),
            Self::Contexts(view) => all(&view.contexts, sink),
            Self::Audit(view) => all(&view.entries, sink),
            Self::Verified(view) => sink.row(view),
            Self::Deleted(view) => sink.row(view),
            Self::Downloaded(view) => sink.row(view),
            Self::DryRun(view) => sink.row(view),
            Self::DryRunAll(views) => all(views, sink),
            Self::ExitCodes(views) => all(views, sink),
            Self::Files(view) => all(&view.files, sink),
            Self::Input(view) => sink.row(view),
            Self::Inputs(view) => all(&view.inputs, sink),
            Self::DeletedFiles(view) => all(&view.deleted, sink),
            Self::InternalState(view) => sink.row(view),
            Self::Invite(view) => sink.row(view),
            Self::Keys(view) => sink.row(view),
            Self::LoggedIn(view) => sink.row(view),
            Self::LoggedOut(view) => sink.row(view),
            Self::NewToken(view) => sink.row(view),
            Self::NewWorkerToken(view) => sink.row(view),
            Self::PendingWorkers(view) => all(&view.pending, sink),
            Self::Queue(view) => all(&view.tasks, sink),
            Self::Repair(view) => sink.row(view),
            Self::Revoked(view) => sink.row(view),
            Self::Shutdown(view) => sink.row(view),
            Self::Stats(view) => sink.row(view),
            Self::Status(view) => sink.row(view),
            Self::Submitted(view) => sink.row(view),
            Self::SubmittedAll(views) => all(views, sink),
            Self::SubmittedEach(views) => all(views, sink),
            Self::Task(view) => sink.row(view),
            Self::TaskAll(views) => all(views, sink),
            Self::Tasks(view) => all(&view.tasks, sink),
            Self::Text(text) => sink.row(text),
            Self::Tokens(view) => all(&view.tokens, sink),
            Self::Unregistered(view) => sink.row(view),
            Self::User(view) => sink.row(view),
            Self::UserFiles(view) => all(&view.files, sink),
            Self::Users(view) => all(&view.users, sink),
            Self::Version(view) => sink.row(view),
            Self::Waited(view) => all(&view.ended, sink),
            Self::WhoAmI(view) => sink.row(view),
            Self::Why(view) => sink.row(view),
            Self::Workers(view) => all(&view.workers, sink),
            Self::Registries(view) => all(&view.registries, sink),
            Self::WorkerTokens(view) => all(&view.worker_tokens, sink),
        }
    }

    /// What an item is called in `cloudctl help json`.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Authority(_) => "authority",
            Self::Cancelled(_) | Self::CancelledAll(_) => "cancel",
            Self::Context(_) | Self::Contexts(_) => "context",
            Self::Audit(_) => "audit",
            Self::Verified(_) => "verified",
            Self::Deleted(_) => "deleted",
            Self::Downloaded(_) => "download",
            Self::DryRun(_) | Self::DryRunAll(_) => "dry-run",
            Self::ExitCodes(_) => "exit-code",
            Self::Files(_) => "file",
            Self::Input(_) => "input",
            Self::Inputs(_) => "input-summary",
            Self::DeletedFiles(_) => "deleted-files",
            Self::InternalState(_) => "internal-state",
            Self::Invite(_) => "invite",
            Self::Keys(_) => "keys",
            Self::LoggedIn(_) => "login",
            Self::LoggedOut(_) => "logout",
            Self::NewToken(_) => "new-token",
            Self::NewWorkerToken(_) => "new-worker-token",
            Self::PendingWorkers(_) => "pending-worker",
            Self::Queue(_) => "queued",
            Self::Repair(_) => "repair",
            Self::Revoked(_) => "revoked",
            Self::Shutdown(_) => "shutdown",
            Self::Stats(_) => "stats",
            Self::Status(_) => "status",
            Self::Submitted(_) | Self::SubmittedEach(_) => "submit",
            Self::SubmittedAll(_) => "submit-line",
            Self::Task(_) | Self::TaskAll(_) | Self::Tasks(_) | Self::Waited(_) => "task",
            Self::Text(_) => "text",
            Self::Tokens(_) => "token",
            Self::Unregistered(_) => "unregistered",
            Self::User(_) | Self::Users(_) => "user",
            Self::UserFiles(_) => "user-file",
            Self::Version(_) => "version",
            Self::WhoAmI(_) => "whoami",
            Self::Why(_) => "why",
            Self::Admitted(_) | Self::Workers(_) => "worker",
            Self::Registries(_) => "registry",
            Self::WorkerTokens(_) => "worker-token",
        }
    }

    /// The ids in it, for `quiet`.
    pub(crate) fn ids(&self) -> Vec<Cow<'_, str>> {
        if let Self::Tokens(view) = self {
            return view.tokens.iter().map(|token| token.token_id.to_string().into()).collect();
        }
        if let Self::WorkerTokens(view) = self {
            return view.worker_tokens.iter().map(|token| token.token_id.to_string().into()).collect();
        }
        if let Self::Audit(view) = self {
            return view.entries.iter().map(|entry| entry.sequence.to_string().into()).collect();
        }
        if let Self::Input(InputView { input, .. }) = self {
            return vec![input.input_id.to_string().into()];
        }
        if let Self::Inputs(view) = self {
            return view.inputs.iter().map(|input| input.input_id.to_string().into()).collect();
        }
        self.names().into_iter().map(Cow::Borrowed).collect()
    }

    fn names(&self) -> Vec<&str> {
        fn paths<'a>(files: impl Iterator<Item = &'a FileView>) -> Vec<&'a str> {
            files.map(|file| file.path.as_str()).collect()
        }
        match self {
            Self::Admitted(view) => vec![view.worker_id.as_str()],
            Self::Authority(view) => vec![&view.fingerprint],
            Self::Cancelled(view) => vec![&view.task_id],
            Self::CancelledAll(views) => views.iter().map(|view| view.task_id.as_str()).collect(),
            Self::Context(view) => vec![&view.name],
            Self::Contexts(view) => view.contexts.iter().map(|context| context.name.as_str()).collect(),
            Self::Deleted(view) => view.deleted.iter().map(String::as_str).collect(),
            Self::Downloaded(view) => view.files.iter().map(|file| file.written_to.as_str()).collect(),
            Self::Input(_) | Self::Inputs(_) | Self::Audit(_) | Self::DryRun(_) | Self::DryRunAll(_) => vec![],
            Self::Shutdown(_) | Self::Tokens(_) | Self::WorkerTokens(_) => vec![],
            Self::DeletedFiles(view) => view.deleted.iter().map(|files| files.id.as_str()).collect(),
            Self::Verified(view) => vec![&view.seal],
            Self::ExitCodes(views) => views.iter().map(|view| view.exit_code.as_str()).collect(),
            Self::Files(view) => paths(view.files.iter()),
            Self::InternalState(view) => vec![&view.cluster_id],
            Self::Invite(view) => vec![&view.invite],
            Self::Keys(view) => vec![&view.key_id],
            Self::LoggedIn(view) => vec![&view.context],
            Self::LoggedOut(view) => view.contexts.iter().map(String::as_str).collect(),
            Self::NewToken(view) => vec![&view.token],
            Self::NewWorkerToken(view) => vec![&view.token],
            Self::PendingWorkers(view) => view.pending.iter().map(|worker| worker.worker_id.as_str()).collect(),
            Self::Registries(view) => view.registries.iter().map(|view| view.registry.as_str()).collect(),
            Self::Revoked(view) => view.revoked.iter().map(String::as_str).collect(),
            Self::Queue(view) => view.tasks.iter().map(|task| task.task_id.as_str()).collect(),
            Self::Repair(view) => view.workers.iter().map(|worker| worker.worker_id.as_str()).collect(),
            Self::Stats(view) => vec![view.worker.worker_id.as_str()],
            Self::Status(view) => vec![&view.cluster_id],
            Self::Submitted(view) => vec![&view.task_id],
            Self::SubmittedAll(views) => views
                .iter()
                .filter_map(|view| match &view.result {
                    SubmitLineResult::Accepted(view) => Some(view.task_id.as_str()),
                    SubmitLineResult::Refused(_) => None,
                })
                .collect(),
            Self::SubmittedEach(views) => views.iter().map(|view| view.task_id.as_str()).collect(),
            Self::Task(view) => vec![&view.task_id],
            Self::TaskAll(views) => views.iter().map(|task| task.task_id.as_str()).collect(),
            Self::Tasks(view) => view.tasks.iter().map(|task| task.task_id.as_str()).collect(),
            Self::Text(text) => text.lines().collect(),
            Self::Unregistered(view) => view.unregistered.iter().map(WorkerId::as_str).collect(),
            Self::User(view) => vec![view.username.as_str()],
            Self::Users(view) => view.users.iter().map(|user| user.username.as_str()).collect(),
            Self::UserFiles(view) => paths(view.files.iter().map(|file| &file.file)),
            Self::Version(view) => vec![view.version],
            Self::Waited(view) => view.ended.iter().map(|task| task.task_id.as_str()).collect(),
            Self::WhoAmI(view) => vec![view.username.as_str()],
            Self::Why(view) => vec![&view.task_id],
            Self::Workers(view) => view.workers.iter().map(|worker| worker.worker_id.as_str()).collect(),
        }
    }
}
