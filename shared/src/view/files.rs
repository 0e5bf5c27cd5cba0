//! Files over all tasks of a user.

use serde::{Deserialize, Serialize};

use super::FileView;
use crate::id::UserName;

/// A page of the output files of a user, the newest task first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UserFilesView {
    /// Whose they are.
    pub user: UserName,
    /// By task, element and path.
    pub files: Vec<UserFileView>,
    /// Give it as `cursor` to get the next page; none: this was the last.
    pub next_cursor: Option<String>,
}

/// A file and the task that wrote it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UserFileView {
    /// The submission.
    pub task_id: String,
    /// The file.
    #[serde(flatten)]
    pub file: FileView,
}
