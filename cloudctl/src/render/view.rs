//! What commands return, for the renderers to show.

use serde::Serialize;
use shared::id::{InputId, TaskRef, UserName, WorkerId};
use shared::role::Role;
use shared::time::WallTime;
use shared::view::{
    AuditListView, AuthorityView, CancelView, DeletedFilesView, DryRunView, FileListView, FileView, InputListView,
    InputView, InternalStateView, InviteView, KeysView, NewTokenView, NewWorkerTokenView, PendingWorkerListView,
    QueueView, RegistryListView, RepairView, ShutdownView, StatusView, SubmitLineView, SubmitView, TaskListView,
    TaskView, TokenListView, UserFilesView, UserListView, UserView, WhyView, WorkerListView, WorkerTokenListView,
    WorkerView,
};

use crate::help::ExitCodeView;

/// How a command ended.
#[derive(Debug, Default)]
pub(crate) struct Done {
    /// To be printed, if anything.
    pub(crate) view: Option<View>,
    /// The exit code.
    pub(crate) exit: u8,
}

impl From<View> for Done {
    fn from(view: View) -> Self {
        Self { view: Some(view), exit: 0 }
    }
}

/// A result. As JSON each is exactly what the API answered, where it is the API's. Where a command takes several ids, the
/// result is a list of what it would be for one.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum View {
    /// `register`, of a worker; `approve`
    Admitted(WorkerView),
    /// `admin rotate-ca`
    Authority(AuthorityView),
    Cancelled(CancelView),
    CancelledAll(Vec<CancelView>),
    Context(ContextView),
    Contexts(ContextListView),
    Downloaded(DownloadedView),
    DryRun(DryRunView),
    DryRunAll(Vec<DryRunView>),
    ExitCodes(Vec<ExitCodeView>),
    Files(FileListView),
    /// `files upload`, `files list ID`
    Input(InputView),
    /// `files list --inputs`
    Inputs(InputListView),
    /// `files delete`
    DeletedFiles(DeletedFilesListView),
    InternalState(Box<InternalStateView>),
    Invite(InviteView),
    /// `audit`
    Audit(AuditListView),
    /// `audit --verify`
    Verified(VerifiedView),
    /// `delete`
    Deleted(DeletedView),
    /// `admin rotate-keys`
    Keys(KeysView),
    LoggedIn(LoggedInView),
    LoggedOut(LoggedOutView),
    NewToken(NewTokenView),
    /// `worker-token create`
    NewWorkerToken(NewWorkerTokenView),
    /// `workers --pending`
    PendingWorkers(PendingWorkerListView),
    Queue(QueueView),
    Repair(RepairView),
    Revoked(RevokedView),
    Shutdown(ShutdownView),
    Stats(Box<StatsView>),
    Status(StatusView),
    Submitted(SubmitView),
    /// The answers to a task file.
    SubmittedAll(Vec<SubmitLineView>),
    /// The answers to a retry of several tasks.
    SubmittedEach(Vec<SubmitView>),
    Task(Box<TaskView>),
    TaskAll(Vec<TaskView>),
    Tasks(TaskListView),
    /// Words for people in every format.
    Text(String),
    Tokens(TokenListView),
    /// `unregister`
    Unregistered(UnregisteredView),
    User(UserView),
    UserFiles(UserFilesView),
    Users(UserListView),
    Version(VersionView),
    Waited(WaitedView),
    WhoAmI(WhoAmIView),
    Why(WhyView),
    Workers(WorkerListView),
    /// `registry`
    Registries(RegistryListView),
    /// `worker-token`
    WorkerTokens(WorkerTokenListView),
}

/// What `login` did. The token is not in it.
#[derive(Debug, Serialize)]
pub(crate) struct LoggedInView {
    /// Its name.
    pub(crate) context: String,
    /// Where.
    pub(crate) server: String,
    /// Who.
    pub(crate) username: String,
    /// When the token ends, unless cloudctl gets a fresh one before.
    pub(crate) expires_at: WallTime,
}

/// What `logout` did.
#[derive(Debug, Serialize)]
pub(crate) struct LoggedOutView {
    /// Contexts whose tokens were forgotten.
    pub(crate) contexts: Vec<String>,
}

/// An audit log that is as it was written.
#[derive(Debug, Serialize)]
pub(crate) struct VerifiedView {
    /// How many.
    pub(crate) entries: u64,
    /// Proves all of them.
    pub(crate) seal: String,
}

/// Tasks that are forgotten.
#[derive(Debug, Serialize)]
pub(crate) struct DeletedView {
    /// Their ids.
    pub(crate) deleted: Vec<String>,
}

/// What `files delete` did.
#[derive(Debug, Serialize)]
pub(crate) struct DeletedFilesListView {
    /// In the order in which they were named.
    pub(crate) deleted: Vec<DeletedFiles>,
}

/// Files that are no more.
#[derive(Debug, Serialize)]
pub(crate) struct DeletedFiles {
    /// Of what.
    pub(crate) id: String,
    /// Which; none: all.
    pub(crate) path: Option<String>,
    /// How many and how large.
    #[serde(flatten)]
    pub(crate) size: DeletedFilesView,
}

/// What `unregister` did.
#[derive(Debug, Serialize)]
pub(crate) struct UnregisteredView {
    /// Workers that are no longer in the cluster.
    pub(crate) unregistered: Vec<WorkerId>,
}

/// What `tokens revoke` and `worker-token revoke` did.
#[derive(Debug, Serialize)]
pub(crate) struct RevokedView {
    /// Tokens that work no longer.
    pub(crate) revoked: Vec<String>,
}

/// What `whoami` says.
#[derive(Debug, Serialize)]
pub(crate) struct WhoAmIView {
    /// Who.
    pub(crate) username: UserName,
    /// What they may do.
    pub(crate) role: Role,
    /// Where.
    pub(crate) server: String,
    /// The context that says so; none: the environment does.
    pub(crate) context: Option<String>,
    /// When the token ends, unless cloudctl gets a fresh one before.
    pub(crate) expires_at: Option<WallTime>,
}

/// A context, without its token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct ContextView {
    /// Its name.
    pub(crate) name: String,
    /// Whether it is used when none is named.
    pub(crate) current: bool,
    /// Where.
    pub(crate) server: String,
    /// Who.
    pub(crate) username: Option<String>,
    /// How the server proves that it is the one: `none` without TLS, `system`, `ca` or `fingerprint`.
    pub(crate) trust: &'static str,
    /// The one that it is trusted by, if it is.
    pub(crate) fingerprint: Option<String>,
    /// Whether there is a token.
    pub(crate) logged_in: bool,
    /// When the token ends, unless cloudctl gets a fresh one before.
    pub(crate) expires_at: Option<WallTime>,
}

/// All contexts.
#[derive(Debug, Serialize)]
pub(crate) struct ContextListView {
    /// By name.
    pub(crate) contexts: Vec<ContextView>,
}

/// A worker and what it runs.
#[derive(Debug, Serialize)]
pub(crate) struct StatsView {
    /// The worker.
    pub(crate) worker: WorkerView,
    /// Tasks of which it runs elements, newest first.
    pub(crate) tasks: Vec<TaskView>,
}

/// What `wait` found.
#[derive(Debug, Serialize)]
pub(crate) struct WaitedView {
    /// Tasks that have ended, in the order in which they were named.
    pub(crate) ended: Vec<TaskView>,
    /// The others.
    pub(crate) pending: Vec<TaskRef>,
    /// Whether the time was over first.
    pub(crate) timed_out: bool,
}

/// What `download` did.
#[derive(Debug, Serialize)]
pub(crate) struct DownloadedView {
    /// As it was asked for, if that was a task.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) task_id: Option<String>,
    /// If it was an input.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) input_id: Option<InputId>,
    /// Where to.
    pub(crate) directory: String,
    /// What is there now.
    pub(crate) files: Vec<DownloadedFile>,
    /// What is not.
    pub(crate) failed: Vec<FailedFile>,
}

/// A file that is there.
#[derive(Debug, Serialize)]
pub(crate) struct DownloadedFile {
    /// As the server listed it.
    #[serde(flatten)]
    pub(crate) file: FileView,
    /// Where.
    pub(crate) written_to: String,
    /// Whether it was there before, byte for byte.
    pub(crate) unchanged: bool,
}

/// A file that was not written.
#[derive(Debug, Serialize)]
pub(crate) struct FailedFile {
    /// As the server listed it.
    pub(crate) path: String,
    /// Why not.
    pub(crate) error: String,
}

/// What `version` says.
#[derive(Debug, Serialize)]
pub(crate) struct VersionView {
    /// Of this program.
    pub(crate) version: &'static str,
    /// Of the fields of results: see `cloudctl help json`.
    pub(crate) output_version: u32,
    /// The master, if it is known and answers.
    pub(crate) server: Option<ServerVersionView>,
}

/// The version of a master.
#[derive(Debug, Serialize)]
pub(crate) struct ServerVersionView {
    /// Where.
    pub(crate) url: String,
    /// Of its program.
    pub(crate) version: String,
    /// Whether it and this program are made for each other.
    pub(crate) compatible: bool,
}
