//! Many tasks in few requests.

use bytes::Bytes;
use shared::error::{ApiError, ErrorBody, ErrorCode, exit};
use shared::submit::SubmitRequest;
use shared::view::{SubmitLineResult, SubmitLineView, SubmitView};
use tokio::sync::mpsc;

use super::Session;
use super::request::Overrides;
use super::submit::{fresh_key, report, wait_for};
use super::task_file::{Line, Tasks};
use super::warnings::Warnings;
use crate::args::SubmitArgs;
use crate::client::with_retries;
use crate::exit::CtlError;
use crate::render::{Done, Format, View};

/// Tasks of one request, and their bytes, more or less.
const BATCH_TASKS: usize = 1000;
const BATCH_BYTES: usize = 4 << 20;
/// Lines that are read ahead.
const READ_AHEAD: usize = 2 * BATCH_TASKS;
/// Mistakes that are told one by one.
const MISTAKES_TOLD: u64 = 20;

/// Submits the tasks of a file, as the flags change them.
pub(super) async fn run(
    tasks: Tasks,
    overrides: &Overrides<'_>,
    args: &SubmitArgs,
    session: &Session<'_>,
) -> Result<Done, CtlError> {
    let (name, is_one, lines) = match tasks {
        Tasks::One(task) => (String::new(), true, whole(vec![*task], overrides, session)?),
        Tasks::Many(tasks) => (String::new(), false, whole(tasks, overrides, session)?),
        Tasks::Lines(mut lines) => {
            let name = lines.name.clone();
            let (sender, receiver) = mpsc::channel(READ_AHEAD);
            // Reading blocks, and may go on for ever.
            std::thread::spawn(move || lines.all(|line| sender.blocking_send(line).is_ok()));
            (name, false, receiver)
        }
    };
    if args.dry_run {
        return try_out(lines, is_one, overrides, session).await;
    }
    let key = args.idempotency_key.clone().unwrap_or_else(fresh_key);
    let (warnings, report) = (Warnings::default(), Report::default());
    let mut sender = Sender { session, key, name, wait: args.wait, warnings, report };
    sender.report.single = is_one;
    let result = sender.send_all(lines, overrides).await;
    sender.warnings.done(session.terminal);
    if result.as_ref().is_err_and(CtlError::is_transient) {
        session.terminal.note(format!(
            "the same call with `--idempotency-key {}` submits what is missing, and nothing twice",
            sender.key
        ));
    }
    result?;
    sender.report.done(args.wait, session).await
}

/// Tasks that are all known. If there is a mistake in one of them, none is sent.
fn whole(
    tasks: Vec<SubmitRequest>,
    overrides: &Overrides<'_>,
    session: &Session<'_>,
) -> Result<mpsc::Receiver<Line>, CtlError> {
    let (sender, receiver) = mpsc::channel(tasks.len().max(1));
    let (count, mut mistakes) = (tasks.len(), 0);
    for (number, task) in (1..).zip(tasks) {
        let mut checked = task.clone();
        overrides.apply(&mut checked);
        if let Err(error) = checked.validate() {
            mistakes += 1;
            if mistakes <= MISTAKES_TOLD {
                session.terminal.fail(&of_line(&format!("task {number}"), error).into());
            }
        }
        // There is room for all of them.
        let _ = sender.try_send(Line { number, content: Ok(task) });
    }
    match mistakes {
        0 => Ok(receiver),
        _ => Err(CtlError::refused(
            exit::DATA,
            format!("{mistakes} of {count} tasks are wrong; none was submitted"),
            "mend them and try again; --dry-run submits nothing",
        )),
    }
}

fn of_line(place: &str, error: ApiError) -> ApiError {
    ApiError { message: format!("{place}: {}", error.message), ..error }
}

/// The exit code for a task of a file: a value that cannot be is a fault of the file, and not of the call.
fn of_data(error: &CtlError) -> u8 {
    if error.exit() == exit::USAGE { exit::DATA } else { error.exit() }
}

/// Asks for each what would become of it.
async fn try_out(
    mut lines: mpsc::Receiver<Line>,
    is_one: bool,
    overrides: &Overrides<'_>,
    session: &Session<'_>,
) -> Result<Done, CtlError> {
    let (mut views, mut exit) = (Vec::new(), 0);
    while let Some(Line { number, content }) = lines.recv().await {
        let view = match content {
            Err(error) => Err(error.into()),
            Ok(mut task) => {
                overrides.apply(&mut task);
                session.client.dry_run(&task, None).await
            }
        };
        match view {
            Ok(view) if is_one => return Ok(View::DryRun(view).into()),
            Ok(view) if matches!(session.terminal.format, Format::Jsonl) => {
                session.terminal.print(&View::DryRun(view))?;
            }
            Ok(view) => views.push(view),
            Err(CtlError::Api(error)) => {
                let error = CtlError::from(of_line(&format!("task {number}"), error));
                session.terminal.fail(&error);
                exit = if exit == 0 { of_data(&error) } else { exit };
            }
            Err(error) => return Err(error),
        }
    }
    let streamed = matches!(session.terminal.format, Format::Jsonl);
    Ok(Done { view: (!streamed).then_some(View::DryRunAll(views)), exit })
}

/// Sends batches, one after the other.
struct Sender<'a> {
    session: &'a Session<'a>,
    key: String,
    /// Of the file whose lines they are; empty where they are tasks by number.
    name: String,
    wait: bool,
    warnings: Warnings,
    report: Report,
}

/// Lines of one request.
#[derive(Debug, Default)]
struct Batch {
    /// The number of the first among all tasks of the file.
    first: u64,
    body: Vec<u8>,
    /// Of each, as people count them.
    numbers: Vec<u64>,
}

impl Batch {
    fn is_full(&self) -> bool {
        self.numbers.len() >= BATCH_TASKS || self.body.len() >= BATCH_BYTES
    }
}

impl Sender<'_> {
    async fn send_all(&mut self, mut lines: mpsc::Receiver<Line>, overrides: &Overrides<'_>) -> Result<(), CtlError> {
        let mut batch = Batch { first: 1, ..Batch::default() };
        let mut task = 0;
        loop {
            let line = match lines.try_recv() {
                Ok(line) => Some(line),
                // Whoever makes the lines waits for no answer, but someone may wait for the tasks.
                Err(_) => {
                    self.flush(&mut batch, task).await?;
                    lines.recv().await
                }
            };
            let Some(Line { number, content }) = line else { return Ok(()) };
            task += 1;
            match content {
                Ok(mut request) => {
                    overrides.apply(&mut request);
                    serde_json::to_writer(&mut batch.body, &request)
                        .map_err(|error| CtlError::local("cannot write the task")(error.into()))?;
                    batch.body.push(b'\n');
                    batch.numbers.push(number);
                    if batch.is_full() {
                        self.flush(&mut batch, task).await?;
                    }
                }
                Err(error) => {
                    self.flush(&mut batch, task - 1).await?;
                    batch.first = task + 1;
                    let result = SubmitLineResult::Refused(ErrorBody { error });
                    self.answered(SubmitLineView { line: number, result })?;
                }
            }
        }
    }

    /// Sends what is in the batch and makes it empty; `sent` tasks have been taken from the file by then.
    async fn flush(&mut self, batch: &mut Batch, sent: u64) -> Result<(), CtlError> {
        let full = std::mem::replace(batch, Batch { first: sent + 1, ..Batch::default() });
        if full.numbers.is_empty() {
            return Ok(());
        }
        let body = Bytes::from(full.body);
        let notice = |error: &CtlError| self.session.terminal.warn(format!("{error}; trying again"));
        let answers = with_retries(notice, || self.exchange(body.clone(), full.first, full.numbers.len())).await?;
        for mut answer in answers {
            let at = usize::try_from(answer.line).ok().and_then(|line| full.numbers.get(line.checked_sub(1)?));
            answer.line = *at.ok_or_else(|| self.session.client.not_understood(&"an answer to no line"))?;
            self.answered(answer)?;
        }
        Ok(())
    }

    /// One request, and an answer for each of its lines.
    async fn exchange(&self, body: Bytes, first: u64, count: usize) -> Result<Vec<SubmitLineView>, CtlError> {
        let client = &self.session.client;
        let response = client.submit_lines(body, &self.key, first).await?;
        let text = response.bytes().await.map_err(|error| client.broken(&error))?;
        let lines = text.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
        let answers: Vec<SubmitLineView> = lines
            .map(|line| serde_json::from_slice(line).map_err(|error| client.not_understood(&error)))
            .collect::<Result<_, _>>()?;
        if answers.len() < count {
            // What was not answered may have been accepted: the key makes it safe to ask again.
            let message = format!("only {} of {count} tasks were answered", answers.len());
            return Err(ApiError::new(ErrorCode::OutcomeUnknown, message, "").into());
        }
        let unknown = |answer: &SubmitLineView| match &answer.result {
            SubmitLineResult::Refused(body) => {
                let error = CtlError::Api(body.error.clone());
                error.is_transient().then_some(error)
            }
            SubmitLineResult::Accepted(_) => None,
        };
        match answers.iter().find_map(unknown) {
            Some(error) => Err(error),
            None => Ok(answers),
        }
    }

    fn answered(&mut self, answer: SubmitLineView) -> Result<(), CtlError> {
        let terminal = self.session.terminal;
        match &answer.result {
            SubmitLineResult::Accepted(view) => {
                for warning in &view.warnings {
                    self.warnings.about(&view.task_id, warning, terminal);
                }
            }
            SubmitLineResult::Refused(body) => {
                let place = match self.name.as_str() {
                    "" => format!("task {}", answer.line),
                    name => format!("{name}, line {}", answer.line),
                };
                let error = CtlError::from(of_line(&place, body.error.clone()));
                let report = &mut self.report;
                match report.refused {
                    told if told < MISTAKES_TOLD => terminal.fail(&error),
                    MISTAKES_TOLD => terminal.note("more of them are counted only"),
                    _ => {}
                }
                report.exit = if report.exit == 0 { of_data(&error) } else { report.exit };
            }
        }
        self.report.take(answer, self.wait, self.session)
    }
}

/// What is said about it.
#[derive(Debug, Default)]
struct Report {
    /// One task, and no list.
    single: bool,
    /// Those that still have to be told, or waited for.
    answers: Vec<SubmitLineView>,
    /// All of them.
    count: u64,
    refused: u64,
    /// Of the first that was refused.
    exit: u8,
}

impl Report {
    /// Where each answer is told at once, it is not kept.
    fn take(&mut self, answer: SubmitLineView, wait: bool, session: &Session<'_>) -> Result<(), CtlError> {
        self.count += 1;
        self.refused += u64::from(matches!(answer.result, SubmitLineResult::Refused(_)));
        let at_once = !wait && !self.single && !matches!(session.terminal.format, Format::Json | Format::Yaml);
        if !at_once {
            self.answers.push(answer);
            return Ok(());
        }
        match (&session.terminal.format, answer.result) {
            (Format::Jsonl | Format::Template(_), result) => {
                session.terminal.print(&View::SubmittedAll(vec![SubmitLineView { line: answer.line, result }]))
            }
            (_, SubmitLineResult::Accepted(view)) => session.terminal.print(&View::Submitted(view)),
            (_, SubmitLineResult::Refused(_)) => Ok(()),
        }
    }

    async fn done(self, wait: bool, session: &Session<'_>) -> Result<Done, CtlError> {
        if self.refused > 0 && !self.single {
            session.terminal.note(format!("✗ {} of {} tasks were refused", self.refused, self.count));
        }
        let exit = self.exit;
        if wait || self.single {
            let accepted = self.answers.into_iter().filter_map(|answer| match answer.result {
                SubmitLineResult::Accepted(view) => Some(view),
                SubmitLineResult::Refused(_) => None,
            });
            let accepted: Vec<SubmitView> = accepted.collect();
            if accepted.is_empty() {
                return Ok(Done { view: None, exit });
            }
            let done =
                if wait { wait_for(accepted, session).await? } else { report(accepted, false, false, session).await? };
            return Ok(Done { exit: if exit == 0 { done.exit } else { exit }, ..done });
        }
        let collected = matches!(session.terminal.format, Format::Json | Format::Yaml);
        Ok(Done { view: collected.then_some(View::SubmittedAll(self.answers)), exit })
    }
}
