//! The last lines of a task's log in the master's own, as the specification has it.

use shared::id::{AttemptKey, TaskRef};
use shared::link::LogStream;
use shared::text::printable;
use tracing::{info, warn};

use super::logs::LogStore;

/// How many lines are printed.
const LINES: usize = 20;

/// Prints them in the background; control characters are shown escaped.
pub(crate) fn print_tail(logs: LogStore, task: TaskRef, key: AttemptKey) {
    tokio::spawn(async move {
        match logs.tail_lines(key.element(), key.attempt, LINES).await {
            Ok(lines) => {
                for (stream, line) in lines {
                    let mark = match stream {
                        LogStream::Stdout => "",
                        LogStream::Stderr => "stderr: ",
                    };
                    info!("  {task} | {mark}{}", printable(&String::from_utf8_lossy(&line)));
                }
            }
            Err(error) => warn!("The log of {task} cannot be read: {error}"),
        }
    });
}
