//! The output files that a result names, and those that have arrived.

use std::collections::BTreeSet;

use shared::error::{ApiError, ErrorCode};

use super::run::Run;
use crate::master::files::{UploadError, check_path, show_path};

/// The most that is said of files that are missing.
const NOTES: usize = 20;

/// What there is.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Files.
    pub(super) count: u32,
    /// What is in them, in bytes.
    pub(super) bytes: u64,
    /// What of them is missing, and why.
    pub(super) notes: Vec<String>,
}

/// Makes the files that are named and have not arrived: a worker of the first generation sends nothing for an empty file.
/// Unless something of the files was lost; then it is not known which of them were empty.
pub(super) async fn complete(run: &Run, named: &[String]) -> Result<Found, ApiError> {
    let cluster = &run.inner.cluster;
    let files = cluster.files_of(run.key).await?;
    let bytes = files.iter().map(|file| file.file.size).fold(0, u64::saturating_add);
    let there: BTreeSet<Vec<u8>> = files.into_iter().map(|file| file.file.path).collect();
    let mut found = Found { count: count_of(&there), bytes, notes: Vec::new() };
    let absent: BTreeSet<&[u8]> = named.iter().map(String::as_bytes).filter(|path| !there.contains(*path)).collect();
    let (empty, refused): (Vec<&[u8]>, Vec<&[u8]>) = absent.into_iter().partition(|path| check_path(path).is_ok());
    found
        .notes
        .extend(refused.iter().take(NOTES).map(|path| format!("`{}` is no path of an output file", show_path(path))));
    if run.progress.has_lost_files() {
        found.notes.extend(empty.iter().take(NOTES).map(|path| format!("`{}` has not arrived", show_path(path))));
        return Ok(found);
    }
    if empty.is_empty() || !cluster.live().contains(run.key) {
        return Ok(found);
    }
    match make_empty(run, &empty).await {
        Ok(()) => found.count = found.count.saturating_add(u32::try_from(empty.len()).unwrap_or(u32::MAX)),
        Err(error) if error.code == ErrorCode::ResourceExhausted || error.code == ErrorCode::Conflict => {
            found.notes.push(format!("{} empty files were not kept: {}", empty.len(), error.message));
        }
        Err(error) => return Err(error),
    }
    Ok(found)
}

async fn make_empty(run: &Run, paths: &[&[u8]]) -> Result<(), ApiError> {
    let inner = &run.inner;
    let room = inner.cluster.room_for(run.key).await?;
    let mut upload = inner.files.begin(run.key, room);
    for path in paths {
        upload.begin_file(path.to_vec()).await.map_err(|error| failed(&error))?;
        upload.end_file().await.map_err(|error| failed(&error))?;
    }
    let files = upload.files().map_err(|error| failed(&error))?;
    inner.cluster.files_added(run.worker.clone(), run.key, files).await?;
    upload.keep();
    Ok(())
}

fn failed(error: &UploadError) -> ApiError {
    let code = match error {
        UploadError::NoRoom(_) => ErrorCode::ResourceExhausted,
        _ => ErrorCode::Unavailable,
    };
    ApiError::new(code, error.to_string(), "the master's log says more")
}

fn count_of(paths: &BTreeSet<Vec<u8>>) -> u32 {
    u32::try_from(paths.len()).unwrap_or(u32::MAX)
}
