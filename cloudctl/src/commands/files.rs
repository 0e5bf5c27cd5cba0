//! `cloudctl files`

use std::os::unix::ffi::OsStrExt;

use shared::files_of::FilesOf;
use shared::view::{InputListView, UserFilesView};

use super::pages::{self, Page};
use super::{Session, download, upload};
use crate::args::{DeleteFilesArgs, FilesArgs, FilesVerb, ListFilesArgs};
use crate::exit::CtlError;
use crate::render::{DeletedFiles, DeletedFilesListView, Done, View};

/// Lists, uploads, downloads and deletes files.
pub(super) async fn run(args: &FilesArgs, session: &Session<'_>) -> Result<Done, CtlError> {
    match &args.verb {
        None => list(&args.list, session).await,
        Some(FilesVerb::List(args)) => list(args, session).await,
        Some(FilesVerb::Upload(args)) => Ok(View::Input(upload::run(&args.paths, args.resume, session).await?).into()),
        Some(FilesVerb::Download(args)) => {
            let directory = args.directory.clone().unwrap_or_else(|| args.id.to_string().into());
            download::bring(args.id, None, directory, args.over, session).await
        }
        Some(FilesVerb::Delete(args)) => delete(args, session).await,
    }
}

async fn list(args: &ListFilesArgs, session: &Session<'_>) -> Result<Done, CtlError> {
    let limit = (!args.all).then_some(args.limit);
    let more = |_| "there are more: --all or --limit N".to_owned();
    // A user may have such a name too, but what begins so is meant for an id.
    let id = args.of.as_deref().filter(|of| of.starts_with("task-") || of.starts_with("input-"));
    if let Some(of) = id.map(str::parse::<FilesOf>) {
        let of =
            of.map_err(|error| CtlError::usage(error.to_string(), "`cloudctl files list --inputs` shows yours"))?;
        return Ok(match of {
            FilesOf::Task(task) => View::Files(session.client.files(task).await?),
            FilesOf::Input(input) => View::Input(session.client.input(input).await?),
        }
        .into());
    }
    let user = args.of.as_deref();
    if args.inputs {
        let ask = async |cursor: Option<&str>, limit| {
            let page = session.client.inputs(user, cursor, limit).await?;
            let next_cursor = page.next_cursor.map(|cursor| cursor.to_string());
            let rest = View::Inputs(InputListView { inputs: Vec::new(), ..page.clone() });
            Ok(Page { rows: page.inputs.len(), view: View::Inputs(page), rest, next_cursor })
        };
        return pages::print(session, limit, ask, more).await;
    }
    let ask = async |cursor: Option<&str>, limit| {
        let page = session.client.user_files(user, cursor, limit).await?;
        let next_cursor = page.next_cursor.clone();
        let (user, files) = (page.user.clone(), Vec::new());
        let rest = View::UserFiles(UserFilesView { files, user, next_cursor: next_cursor.clone() });
        Ok(Page { rows: page.files.len(), view: View::UserFiles(page), rest, next_cursor })
    };
    pages::print(session, limit, ask, more).await
}

/// After asking. What is deleted before something fails is said.
async fn delete(args: &DeleteFilesArgs, session: &Session<'_>) -> Result<Done, CtlError> {
    let what = match (args.ids.as_slice(), args.path.as_slice()) {
        ([only], []) => format!("all files of {only}"),
        ([only], [path]) => format!("{} of {only}", path.display()),
        (ids, []) => format!("all files of {} tasks and inputs", ids.len()),
        (ids, paths) => format!("{} files of {} tasks", paths.len(), ids.len()),
    };
    session.terminal.confirm(&format!("Delete {what} at {}?", session.client.server()), args.yes)?;
    let mut deleted = Vec::new();
    let mut failed = None;
    for id in &args.ids {
        let paths = if args.path.is_empty() {
            vec![None]
        } else {
            args.path.iter().map(|path| Some(path.as_bytes())).collect()
        };
        for path in paths {
            match session.client.delete_files(*id, path).await {
                Ok(size) => {
                    let path = path.map(|path| String::from_utf8_lossy(path).into_owned());
                    deleted.push(DeletedFiles { id: id.to_string(), path, size });
                }
                Err(error) => {
                    session.terminal.warn(format!("{error} ({})", error.hint()));
                    failed.get_or_insert_with(|| error.exit());
                }
            }
        }
    }
    Ok(Done { view: Some(View::DeletedFiles(DeletedFilesListView { deleted })), exit: failed.unwrap_or_default() })
}
