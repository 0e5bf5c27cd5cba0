//! Removes the logs of a task that is no more.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use shared::id::TaskId;

/// All of them in `directory`, where others are too.
pub(super) fn logs(directory: &Path, task: TaskId) -> io::Result<()> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    let prefix = format!("{task}.");
    for entry in entries {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(&prefix) {
            let removed = if entry.file_type()?.is_dir() {
                fs::remove_dir_all(entry.path())
            } else {
                fs::remove_file(entry.path())
            };
            match removed {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
    }
    File::open(directory)?.sync_all()
}
