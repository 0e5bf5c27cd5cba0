//! What `monitor`, `logs` and `--wait` share: printing the log of a task.

use shared::array::{Array, InvalidArray};
use shared::error::{ApiError, exit};
use shared::id::{ElementId, TaskRef};

use super::Session;
use crate::client::{Followed, Follower, LogQuery, Outcome};
use crate::exit::CtlError;
use crate::render::LogPrinter;

/// Why the log is over.
#[derive(Debug)]
pub(super) enum Ended {
    /// All that was wanted was printed. The task has ended, unless only a part was wanted.
    Whole(Outcome),
    /// The server cannot give the log.
    NoLog(ApiError),
    /// Whoever read the log has gone.
    Unread,
}

/// Prints the log of one task or element.
pub(super) async fn follow(
    task: TaskRef,
    query: LogQuery,
    printer: &mut LogPrinter<'_>,
    session: &Session<'_>,
) -> Result<Ended, CtlError> {
    let terminal = session.terminal;
    printer.begin(task.to_string());
    let (wanted, follows, stream) = (query.attempt, query.follow, query.stream);
    let query = LogQuery { times: printer.needs_times(), ..query };
    let mut follower = Follower::new(&session.client, task, query)?;
    let mut begun = false;
    let ended = loop {
        match follower.next().await? {
            Followed::Bytes { gap, piece } => {
                if gap > 0 {
                    terminal.warn(format!("{gap} bytes of {} are missing in the log", piece.stream.as_str()));
                }
                match printer.write(&piece).await {
                    Err(CtlError::OutputClosed) => break Ended::Unread,
                    Err(error) => return Err(error),
                    Ok(()) => {}
                }
            }
            Followed::Cut { stdout, stderr } => {
                printer.finish().await?;
                let wanted = |name, bytes| if stream.is_none_or(|stream| stream == name) { bytes } else { 0 };
                let (stdout, stderr) = (wanted("stdout", stdout), wanted("stderr", stderr));
                let count = match (stdout, stderr) {
                    (0, 0) => continue,
                    (bytes, 0) => format!("{bytes} bytes of stdout"),
                    (0, bytes) => format!("{bytes} bytes of stderr"),
                    (stdout, stderr) => format!("{stdout} bytes of stdout and {stderr} of stderr"),
                };
                terminal.warn(format!("{count} are not shown: the master has not kept them"));
            }
            Followed::Attempt(number) => {
                printer.finish().await?;
                if std::mem::replace(&mut begun, true) {
                    terminal.note(format!("{task}: attempt {number} begins"));
                }
            }
            // Who only looks at what there is did not ask for it.
            Followed::State(_) if !follows => {}
            Followed::State(state) => terminal.remark(format!("{task} is {state}")),
            Followed::End(_) if wanted.is_some() && !begun => return Err(no_attempt(task, wanted)),
            Followed::End(outcome) => break Ended::Whole(outcome),
            Followed::NoLog(error) => break Ended::NoLog(error),
            Followed::Lost(error) => {
                terminal.warn(format!("the log is interrupted: {error}; trying again for 5 minutes"));
            }
            Followed::Back => terminal.note("connected again"),
        }
    };
    printer
        .finish()
        .await
        .or_else(|error| if matches!(error, CtlError::OutputClosed) { Ok(()) } else { Err(error) })?;
    Ok(ended)
}

fn no_attempt(task: TaskRef, attempt: Option<u32>) -> CtlError {
    let message = format!("{task} has no attempt {}", attempt.unwrap_or_default());
    CtlError::refused(exit::NOT_FOUND, message, format!("`cloudctl show {task}` lists its attempts"))
}

/// The elements that are meant, each of which has a log of its own. A plain task goes by its own id. `array` is what the
/// server says of its elements.
pub(super) fn elements(task: TaskRef, array: Option<&str>) -> Result<Vec<TaskRef>, InvalidArray> {
    let Some(array) = array else { return Ok(vec![task]) };
    let (first, last) = task.elements.bounds();
    let indices = array.parse::<Array>()?.indices.within(first, last);
    Ok(indices.iter().map(|index| ElementId { task: task.task, index }.into()).collect())
}

#[cfg(test)]
mod tests {
    use shared::id::Elements;

    use super::*;

    #[test]
    fn only_an_array_is_followed_element_by_element() {
        let task: TaskRef = "task-01arz3ndektsv4rrffq69g5fav".parse().expect("an id");
        let ids = |task, array| {
            let elements = elements(task, array).expect("an array");
            elements.into_iter().map(|id| id.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(ids(task, None), [task.to_string()]);
        assert_eq!(ids(task, Some("0-4:2%9")), [0, 2, 4].map(|index| format!("{task}.{index}")));
        let of = |elements| TaskRef { elements, ..task };
        assert_eq!(ids(of(Elements::One(7)), Some("0-9")), [format!("{task}.7")]);
        assert_eq!(ids(of(Elements::Range(3, 6)), Some("0-9:5")), [format!("{task}.5")]);
    }
}
