//! `cloudctl download`

mod fetch;
mod path;
mod plan;
mod sandbox;

use std::ffi::OsString;
use std::path::PathBuf;

use shared::error::exit;
use shared::id::Elements;

use self::fetch::fetch;
use self::plan::{Plan, Step};
use self::sandbox::Sandbox;
use super::Session;
use super::owner::check_owner;
use crate::args::DownloadArgs;
use crate::exit::CtlError;
use crate::render::{Done, DownloadedFile, DownloadedView, FailedFile, Progress, View};

/// Brings the output files of a task. The server is not trusted: nothing is written outside of the directory, no link is
/// followed, and a file appears under its name only when its size and its BLAKE3 are as they were listed. Nothing is
/// written at all before it is known what may be replaced.
pub(super) async fn run(args: &DownloadArgs, session: &Session<'_>) -> Result<Done, CtlError> {
    let (user, directory) = target(args);
    let task = session.client.task(args.id).await?;
    check_owner(&task, user.as_deref())?;
    let list = session.client.files(args.id).await?;
    let mut view = DownloadedView {
        task_id: list.task_id,
        directory: directory.display().to_string(),
        files: Vec::new(),
        failed: Vec::new(),
    };
    if list.files.is_empty() {
        if !task.state.is_final() {
            session.terminal.warn(format!("{} is {}: its files come when it has ended", task.task_id, task.state));
        }
        return Ok(View::Downloaded(view).into());
    }
    // Elements of an array may all write a file of the same name.
    let apart = task.array.is_some() && !matches!(args.id.elements, Elements::One(_));
    let sandbox = Sandbox::open(&directory)?;
    let plan = Plan::make(list.files, apart, &sandbox).settle(args.force, &directory, session)?;
    let bytes = plan.steps.iter().filter(|step| !step.is_whole).map(|step| step.file.size).sum();
    let progress = Progress::new(bytes);
    let mut broken = None;
    view.failed = plan.failed;
    for Step { file, relative, components, is_whole } in plan.steps {
        let written_to = directory.join(&relative).display().to_string();
        if is_whole {
            view.files.push(DownloadedFile { file, written_to, unchanged: true });
            continue;
        }
        if let Some(why) = &broken {
            view.failed.push(FailedFile { path: file.path, error: format!("not tried: {why}") });
            continue;
        }
        match fetch(args.id, &file, &components, args.resume, &sandbox, &progress, session).await {
            Ok(()) => view.files.push(DownloadedFile { file, written_to, unchanged: false }),
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
            let args = DownloadArgs { id: id.parse().expect("an id"), target, force: false, resume: false };
            let (user, directory) = super::target(&args);
            (user, directory.display().to_string())
        };
        assert_eq!(of(&[]), (None, id.to_owned()));
        assert_eq!(of(&["out"]), (None, "out".to_owned()));
        assert_eq!(of(&["alice", "out"]), (Some("alice".to_owned()), "out".to_owned()));
    }
}
