//! Files that users upload for tasks to read at /input.

use serde::{Deserialize, Serialize};

use super::FileListView;
use crate::id::{InputId, UserName};
use crate::time::WallTime;

/// The body of `POST /api/files`: what is going to be uploaded.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct AnnounceRequest {
    /// 1 or more. No path twice, and none that is a folder of another.
    pub files: Vec<AnnouncedFile>,
}

/// A file that is going to be uploaded.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct AnnouncedFile {
    /// Below /input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Instead of `path`: its bytes in hex, where they are not UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_hex: Option<String>,
    /// Bytes.
    pub size: u64,
    /// Whether it is a program.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub executable: bool,
}

/// An input and its files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct InputView {
    /// The input.
    #[serde(flatten)]
    pub input: InputSummaryView,
    /// By path.
    pub files: Vec<InputFileView>,
}

/// What is known of an input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct InputSummaryView {
    /// Name it as `input` of a task.
    pub input_id: InputId,
    /// Whose it is.
    pub user: UserName,
    /// How many files.
    pub file_count: u64,
    /// Of all files.
    pub bytes: u64,
    /// Files that have not arrived; tasks can read it when there are none.
    pub missing: u64,
    /// Tasks that read it and have not ended.
    pub readers: u32,
    /// When it was begun.
    pub created_at: WallTime,
    /// When it was last added to, or a task that reads it was submitted or ended.
    pub used_at: WallTime,
}

/// A file of an input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct InputFileView {
    /// Below /input. Bytes that are not UTF-8 are shown as U+FFFD here; `path_hex` has them.
    pub path: String,
    /// The exact bytes of the path in hex, where they are not UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_hex: Option<String>,
    /// Bytes.
    pub size: u64,
    /// Whether it is a program.
    pub executable: bool,
    /// Bytes that have arrived for good: go on from here.
    pub received: u64,
    /// BLAKE3 of the content, in hex; there when all of it has arrived.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blake3: Option<String>,
}

/// A page of inputs, the newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct InputListView {
    /// Whose they are.
    pub user: UserName,
    /// The inputs.
    pub inputs: Vec<InputSummaryView>,
    /// What the user keeps, outputs and inputs together.
    pub usage: FileUsageView,
    /// Give it as `cursor` to get the next page; none: this was the last.
    pub next_cursor: Option<InputId>,
}

/// What a user keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FileUsageView {
    /// Of all files.
    pub bytes: u64,
    /// How many files.
    pub files: u64,
    /// The most that may be kept; none: as much as there is room for.
    pub bytes_limit: Option<u64>,
    /// The most files; none: as many as there is room for.
    pub files_limit: Option<u64>,
}

/// Files of a task or of an input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(untagged)]
pub enum FilesView {
    /// Of a task.
    Task(FileListView),
    /// Of an input.
    Input(InputView),
}

/// What was deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DeletedFilesView {
    /// How many files.
    pub files: u64,
    /// Of all of them.
    pub bytes: u64,
}
