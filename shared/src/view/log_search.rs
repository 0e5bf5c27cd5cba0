//! Lines found in a log.

use serde::{Deserialize, Serialize};

use crate::link::LogStream;
use crate::time::WallTime;

/// Lines of a log that match, in the order in which they ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LogSearchView {
    /// The run whose log it is; none: there was no run yet.
    pub attempt: Option<u32>,
    /// The lines.
    pub matches: Vec<LogMatchView>,
    /// Give it as `cursor` to look on; none: the log ends here.
    pub next_cursor: Option<String>,
}

/// A line of a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LogMatchView {
    /// Where it was written.
    pub stream: LogStream,
    /// Where in the stream its first byte stands.
    pub offset: u64,
    /// When it reached the master.
    pub at: WallTime,
    /// Without its end, and with U+FFFD for what is not UTF-8. A line of more than 64 KiB comes in parts.
    pub text: String,
}
