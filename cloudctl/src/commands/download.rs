//! `cloudctl download`

mod fetch;
mod path;
mod plan;
mod sandbox;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use shared::error::exit;
use shared::files_of::FilesOf;
use shared::id::Elements;
use shared::view::{FileView, InputFileView};

use self::fetch::fetch;
use self::plan::{Plan, Step};
use self::sandbox::Sandbox;
use super::Session;
use super::owner::check_owner;
use crate::args::{DownloadArgs, OverArgs};
use crate::exit::CtlError;
use crate::render::{Done, DownloadedFile, DownloadedView, FailedFile, Progress, View};

/// Brings the output files of a task.
pub(super) async fn run(args: &DownloadArgs, session: &Session<'_>) -> Result<Done, CtlError> {
    let (user, directory) = target(args);
    bring(FilesOf::Task(args.id), user.as_deref(), directory, args.over, session).await
}

/// Brings the files of a task or of an input. The server is not trusted: nothing is written outside of the directory, no
/// link is followed, and a file appears under its name only when its size and its BLAKE3 are as they were listed. Nothing
/// is written at all before it is known what may be replaced.
pub(super) async fn bring(
    of: FilesOf,
    user: Option<&str>,
    directory: PathBuf,
    over: OverArgs,
    session: &Session<'_>,
) -> Result<Done, CtlError> {
    let Listed { mut view, files, apart, programs } = list(of, user, &directory, session).await?;
    if files.is_empty() {
        return Ok(View::Downloaded(view).into());
    }
    let sandbox = Sandbox::open(&directory)?;
    let plan = Plan::make(files, apart, &sandbox).settle(over.force, &directory, session)?;
    let bytes = plan.steps.iter().filter(|step| !step.is_whole).map(|step| step.file.size).sum();
    let progress = Progress::new(bytes);
    let mut broken = None;
    view.failed = plan.failed;
    for step in plan.steps {
        let written_to = step.place(&directory);
        let Step { file, path, is_whole } = step;
        if is_whole {
            view.files.push(DownloadedFile { file, written_to, unchanged: true });
            continue;
        }
        if let Some(why) = &broken {
            view.failed.push(FailedFile { path: file.path, error: format!("not tried: {why}") });
            continue;
        }
        match fetch(of, &file, &path, over.resume, &sandbox, &progress, session).await {
            Ok(()) => {
                if programs.contains(&file.path) {
                    sandbox.make_executable(&path)?;
                }
                view.files.push(DownloadedFile { file, written_to, unchanged: false });
            }
            Err(error) => {
                let is_transient = error.is_transient();
                view.failed.push(FailedFile { path: file.path, error: error.to_string() });
                // The rest would fail in the same way, and each of them slowly.
                broken = is_transient.then_some(error);
            }
        }
    }
    drop(progress);
    for FailedFile { path, error } in &view.failed {
        session.terminal.warn(format!("{path} was not downloaded: {error}"));
    }
    let exit = match &broken {
        Some(error) => {
            session.terminal.note("the same call with --resume goes on where this one ended");
            error.exit()
        }
        None if view.failed.is_empty() => 0,
        None => exit::IO,
    };
    Ok(Done { view: Some(View::Downloaded(view)), exit })
}

/// What the server has.
struct Listed {
    /// Of which nothing is here yet.
    view: DownloadedView,
    files: Vec<FileView>,
    /// Elements of an array may all write a file of the same name.
    apart: bool,
    /// The paths of those that are programs.
    programs: BTreeSet<String>,
}

async fn list(of: FilesOf, user: Option<&str>, directory: &Path, session: &Session<'_>) -> Result<Listed, CtlError> {
    let view = |task_id, input_id| DownloadedView {
        task_id,
        input_id,
        directory: directory.display().to_string(),
        files: Vec::new(),
        failed: Vec::new(),
    };
    match of {
        FilesOf::Task(id) => {
            let task = session.client.task(id).await?;
            check_owner(&task, user)?;
            let list = session.client.files(id).await?;
            if list.files.is_empty() && !task.state.is_final() {
                let terminal = session.terminal;
                terminal.warn(format!("{} is {}: its files come when it has ended", task.task_id, task.state));
            }
            let apart = task.array.is_some() && !matches!(id.elements, Elements::One(_));
            Ok(Listed { view: view(Some(list.task_id), None), files: list.files, apart, programs: BTreeSet::new() })
        }
        FilesOf::Input(id) => {
            let input = session.client.input(id).await?;
            if input.input.missing > 0 {
                session.terminal.warn(format!("{} files of {id} have not arrived", input.input.missing));
            }
            let programs = input.files.iter().filter(|file| file.executable).map(|file| file.path.clone()).collect();
            let arrived = input.files.into_iter().filter_map(|file| {
                let InputFileView { path, path_hex, size, blake3, .. } = file;
                Some(FileView { path, path_hex, size, blake3: blake3?, index: 0, attempt: 0 })
            });
            Ok(Listed { view: view(None, Some(id)), files: arrived.collect(), apart: false, programs })
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_argument_is_the_directory() {
        let id = "task-01arz3ndektsv4rrffq69g5fav";
        let of = |words: &[&str]| {
            let target = words.iter().map(OsString::from).collect();
            let args = DownloadArgs { id: id.parse().expect("an id"), target, over: OverArgs::default() };
            let (user, directory) = super::target(&args);
            (user, directory.display().to_string())
        };
        assert_eq!(of(&[]), (None, id.to_owned()));
        assert_eq!(of(&["out"]), (None, "out".to_owned()));
        assert_eq!(of(&["alice", "out"]), (Some("alice".to_owned()), "out".to_owned()));
    }
}
