//! What `task` and `dispatch` do: submit, and with `--wait` see it through to its end.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use shared::id::InputId;
use shared::submit::SubmitRequest;
use shared::view::SubmitView;
use ulid::Ulid;

use super::request::Overrides;
use super::{Session, attend, bulk, task_file, upload};
use crate::args::SubmitArgs;
use crate::client::with_retries;
use crate::exit::CtlError;
use crate::render::{Done, Format, View};

/// Submits, and waits if that is wanted.
pub(super) async fn run(
    image: Option<&str>,
    worker: Option<&str>,
    args: &SubmitArgs,
    session: &Session<'_>,
) -> Result<Done, CtlError> {
    let (image, paths) = image_and_input(image, args)?;
    let mut overrides = Overrides::read(args, worker)?;
    let input = Input::of(paths)?;
    if let (Some(image), Input::Here(_), false) = (image, &input, args.dry_run) {
        // Nothing is sent for a task that would be refused.
        session.client.dry_run(&overrides.task(image), None).await?;
    }
    overrides.read_input(input.bring(args.dry_run, session).await?);
    match (image, &args.file) {
        (Some(image), _) => one(overrides.task(image), args, session).await,
        (None, Some(path)) => {
            let tasks = task_file::open(path, args.file_type)?;
            bulk::run(tasks, &overrides, args, session).await
        }
        (None, None) => Err(CtlError::usage("there is nothing to submit", "give an image, or --file")),
    }
}

/// `--input` takes all words up to the next flag, so that the image may be the last of them.
fn image_and_input<'a>(
    image: Option<&'a str>,
    args: &'a SubmitArgs,
) -> Result<(Option<&'a str>, &'a [PathBuf]), CtlError> {
    match (image, &args.file, args.input.as_slice()) {
        (None, None, [paths @ .., last]) if !paths.is_empty() => {
            let image =
                last.to_str().ok_or_else(|| CtlError::usage("the image is not UTF-8", "give the image first"))?;
            Ok((Some(image), paths))
        }
        (None, None, [_]) => Err(CtlError::usage("there is no image", "give the image before --input")),
        (image, _, paths) => Ok((image, paths)),
    }
}

/// What `--input` is about.
enum Input<'a> {
    /// Nothing.
    None,
    /// What was uploaded before.
    There(InputId),
    /// What has still to be.
    Here(&'a [PathBuf]),
}

impl<'a> Input<'a> {
    fn of(paths: &'a [PathBuf]) -> Result<Self, CtlError> {
        let id = |path: &PathBuf| {
            let text = path.to_str().filter(|text| text.starts_with("input-") && !path.exists());
            text.and_then(|text| text.parse().ok())
        };
        match paths {
            [] => Ok(Self::None),
            [only] => Ok(id(only).map_or(Self::Here(paths), Self::There)),
            several if several.iter().any(|path| id(path).is_some()) => Err(CtlError::usage(
                "the id of an input stands alone",
                "give files and folders, or one id: a task reads one input",
            )),
            several => Ok(Self::Here(several)),
        }
    }

    /// What is there in the end. A dry run only says what would be sent.
    async fn bring(&self, dry_run: bool, session: &Session<'_>) -> Result<Option<InputId>, CtlError> {
        match self {
            Self::None => Ok(None),
            Self::There(id) => Ok(Some(*id)),
            Self::Here(paths) if dry_run => {
                session.terminal.remark(format!("would upload {}", upload::look(paths)?));
                Ok(None)
            }
            Self::Here(paths) => Ok(Some(upload::run(paths, None, session).await?.input.input_id)),
        }
    }
}

async fn one(request: SubmitRequest, args: &SubmitArgs, session: &Session<'_>) -> Result<Done, CtlError> {
    if args.dry_run {
        let tried = session.client.dry_run(&request, args.idempotency_key.as_deref()).await?;
        return Ok(View::DryRun(tried).into());
    }
    let submitted = submit(&request, args, session).await?;
    report(vec![submitted], false, args.wait, session).await
}

/// Asks again with the same key until it is known that there is one task, and one only.
async fn submit(request: &SubmitRequest, args: &SubmitArgs, session: &Session<'_>) -> Result<SubmitView, CtlError> {
    let key = args.idempotency_key.clone().unwrap_or_else(fresh_key);
    let notice = |error: &CtlError| session.terminal.warn(format!("{error}; trying again"));
    let doubt = AtomicBool::new(false);
    let call = || async {
        let answer = session.client.submit(request, &key).await;
        if answer.as_ref().is_err_and(CtlError::leaves_doubt) {
            doubt.store(true, Ordering::Relaxed);
        }
        answer
    };
    let result = with_retries(notice, call).await;
    if result.as_ref().is_err_and(CtlError::is_transient) && doubt.into_inner() {
        let input = request.input.as_ref().map(|input| format!("`--input {input}` and ")).unwrap_or_default();
        session.terminal.note(format!(
            "it is not known whether the task was accepted; the same call with {input}`--idempotency-key {key}` never makes \
             two"
        ));
    }
    result
}

/// A key that nobody else has.
pub(super) fn fresh_key() -> String {
    Ulid::generate().to_string().to_ascii_lowercase()
}

/// Says what was submitted, and waits for it if that is wanted. `many`: several were asked for.
pub(super) async fn report(
    submitted: Vec<SubmitView>,
    many: bool,
    wait: bool,
    session: &Session<'_>,
) -> Result<Done, CtlError> {
    for view in &submitted {
        for warning in &view.warnings {
            session.terminal.warn(warning);
        }
    }
    if wait {
        return wait_for(submitted, session).await;
    }
    if let [only] = submitted.as_slice() {
        session.terminal.remark(format!("follow its log with `cloudctl monitor {}`", only.task_id));
    }
    let view =
        if many { Some(View::SubmittedEach(submitted)) } else { submitted.into_iter().next().map(View::Submitted) };
    Ok(Done { view, exit: 0 })
}

/// In table mode stdout is the log's; in the others it is for the result, and the log goes to stderr.
pub(super) async fn wait_for(submitted: Vec<SubmitView>, session: &Session<'_>) -> Result<Done, CtlError> {
    for view in &submitted {
        match session.terminal.format {
            Format::Table if view.replayed => {
                session.terminal.note(format!("✓ Task {} was submitted before with this key", view.task_id));
            }
            Format::Table => session.terminal.note(format!("✓ Task {} submitted successfully", view.task_id)),
            Format::Json | Format::Yaml | Format::Template(_) => {}
            // Now, and not at the end, so that a script can already use it.
            Format::Quiet | Format::Jsonl => session.terminal.print(&View::Submitted(view.clone()))?,
        }
    }
    let exit = attend::run(&submitted, session).await?;
    if matches!(session.terminal.format, Format::Table | Format::Quiet) {
        return Ok(Done { view: None, exit });
    }
    let mut tasks = Vec::new();
    for view in &submitted {
        let id = view.task_id.parse().map_err(|error| session.client.not_understood(&error))?;
        tasks.push(with_retries(|_| (), || session.client.task(id)).await?);
    }
    let view = match tasks.pop() {
        Some(only) if tasks.is_empty() => View::Task(Box::new(only)),
        last => {
            tasks.extend(last);
            View::TaskAll(tasks)
        }
    };
    Ok(Done { view: Some(view), exit })
}
