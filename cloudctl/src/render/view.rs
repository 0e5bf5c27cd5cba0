//! What commands return, for the renderers to show.

use serde::Serialize;
use shared::time::WallTime;
use shared::view::{
    CancelView, FileListView, FileView, QueueView, ShutdownView, StatusView, SubmitView, TaskListView, TaskView,
    WhyView, WorkerListView,
};

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

/// A result. As JSON each is exactly what the API answered, where it is the API's.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum View {
    LoggedIn(LoggedIn),
    Status(StatusView),
    Workers(WorkerListView),
    Submitted(SubmitView),
    Tasks(TaskListView),
    Task(Box<TaskView>),
    Why(WhyView),
    Cancelled(CancelView),
    /// Several at once.
    CancelledAll(Vec<CancelView>),
    Queue(QueueView),
    Files(FileListView),
    Downloaded(Downloaded),
    Shutdown(ShutdownView),
    Version(VersionView),
}

/// What `login` did. The token is not in it.
#[derive(Debug, Serialize)]
pub(crate) struct LoggedIn {
    /// Its name.
    pub(crate) context: String,
    /// Where.
    pub(crate) server: String,
    /// Who.
    pub(crate) username: String,
    /// When to log in again.
    pub(crate) expires_at: WallTime,
}

/// What `download` did.
#[derive(Debug, Serialize)]
pub(crate) struct Downloaded {
    /// As it was asked for.
    pub(crate) task_id: String,
    /// Where to.
    pub(crate) directory: String,
    /// What is there now.
    pub(crate) files: Vec<DownloadedFile>,
    /// What is not.
    pub(crate) failed: Vec<FailedFile>,
}

/// A file that was written.
#[derive(Debug, Serialize)]
pub(crate) struct DownloadedFile {
    /// As the server listed it.
    #[serde(flatten)]
    pub(crate) file: FileView,
    /// Where it was written to.
    pub(crate) written_to: String,
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
}
