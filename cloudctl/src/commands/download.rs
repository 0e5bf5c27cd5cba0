//! `cloudctl download`

mod path;
mod sandbox;

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use shared::id::{Elements, TaskRef};
use shared::view::FileView;

use self::path::{components, exact_path};
use self::sandbox::Sandbox;
use super::{Session, check_owner};
use crate::args::DownloadArgs;
use crate::exit::CtlError;
use crate::render::{Done, Downloaded, DownloadedFile, FailedFile, Progress, View};

/// The exit code when some file could not be brought whole.
const INCOMPLETE: u8 = 1;

/// Brings the output files of a task. The server is not trusted: nothing is written outside of the directory, no link is
/// followed, and a file appears under its name only when its size and its BLAKE3 are as they were listed.
pub(super) async fn run(args: &DownloadArgs, session: &Session<'_>) -> Result<Done, CtlError> {
    let (user, directory) = target(args);
    let task = session.client.task(args.id).await?;
    check_owner(&task, user.as_deref())?;
    let list = session.client.files(args.id).await?;
    let mut view = Downloaded {
        task_id: list.task_id,
        directory: directory.display().to_string(),
        files: Vec::new(),
        failed: Vec::new(),
    };
    if list.files.is_empty() {
        return Ok(View::Downloaded(view).into());
    }
    let sandbox = Sandbox::open(&directory)?;
    let progress = Progress::new(list.files.iter().map(|file| file.size).sum());
    // Elements of an array may all write a file of the same name.
    let apart = task.array.is_some() && !matches!(args.id.elements, Elements::One(_));
    for file in list.files {
        match fetch(args.id, &file, apart, &sandbox, &progress, session).await {
            Ok(relative) => {
                let written_to = directory.join(relative).display().to_string();
                view.files.push(DownloadedFile { file, written_to });
            }
            Err(error @ CtlError::Unreachable { .. }) => return Err(error),
            Err(error) => view.failed.push(FailedFile { path: file.path, error: error.to_string() }),
        }
    }
    drop(progress);
    for FailedFile { path, error } in &view.failed {
        session.terminal.warn(format!("{path} was not downloaded: {error}"));
    }
    let exit = if view.failed.is_empty() { 0 } else { INCOMPLETE };
    Ok(Done { view: Some(View::Downloaded(view)), exit })
}

/// `[USER] DIR`; one argument is the directory, none means one named after the task.
fn target(args: &DownloadArgs) -> (Option<String>, PathBuf) {
    let text = |user: &OsString| user.to_string_lossy().into_owned();
    match args.target.as_slice() {
        [] => (None, PathBuf::from(args.id.to_string())),
        [directory] => (None, PathBuf::from(directory)),
        [user, directory, ..] => (Some(text(user)), PathBuf::from(directory)),
    }
}

/// Brings one file. Returns its path below the directory.
async fn fetch(
    task: TaskRef,
    file: &FileView,
    apart: bool,
    sandbox: &Sandbox,
    progress: &Progress,
    session: &Session<'_>,
) -> Result<PathBuf, CtlError> {
    let exact = exact_path(file)?;
    let index = file.index.to_string();
    let mut components = components(&exact)?;
    if apart {
        components.insert(0, index.as_bytes());
    }
    let mut new = sandbox.create(&components)?;
    progress.file(&file.path);
    let mut response = session.client.file(task, file, &exact).await?;
    while let Some(piece) = response.chunk().await.map_err(|error| session.client.broken(&error))? {
        new.write(&piece, file.size)?;
        progress.advance(piece.len() as u64);
    }
    new.finish(file)?;
    Ok(components.iter().map(|component| Path::new(OsStr::from_bytes(component))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_argument_is_the_directory() {
        let id = "task-01arz3ndektsv4rrffq69g5fav";
        let of = |target: &[&str]| {
            let target = target.iter().map(OsString::from).collect();
            target_of(DownloadArgs { id: id.parse().expect("an id"), target })
        };
        assert_eq!(of(&[]), (None, id.to_owned()));
        assert_eq!(of(&["out"]), (None, "out".to_owned()));
        assert_eq!(of(&["alice", "out"]), (Some("alice".to_owned()), "out".to_owned()));
    }

    #[allow(clippy::needless_pass_by_value, reason = "made for the call")]
    fn target_of(args: DownloadArgs) -> (Option<String>, String) {
        let (user, directory) = target(&args);
        (user, directory.display().to_string())
    }
}
