//! Tasks in rows.

use comfy_table::Cell;
use shared::time::WallTime;
use shared::view::{QueueView, TaskView};

use super::grid::{Grid, Widths, optional, text};
use crate::render::text::{resources, span};
use crate::render::{Style, WaitedView};

/// What an empty list says.
pub(super) const NO_TASKS: &str = "No tasks.\n";

/// A page of `list-tasks`.
pub(super) fn tasks(tasks: &[TaskView], style: &Style, now: WallTime, widths: &mut Widths) -> String {
    let headings = ["TASK", "NAME", "STATE", "USER", "WORKER", "AGE", "TOOK", "RESULT"];
    let mut grid = Grid::new(style, headings, &[1, 7]).hide_if_narrow(&[3, 6]).hide_if_tiny(&[1, 4]);
    for task in tasks {
        let took = task.started_at.map(|started| span(started, task.finished_at.unwrap_or(now)));
        let result = task.verdict.as_ref().map(ToString::to_string);
        let age = if style.raw { task.submitted_at.to_string() } else { span(task.submitted_at, now) };
        grid.row([
            text(&task.task_id, style),
            optional(task.name.as_ref(), style),
            grid.state(task.state, &progress(task)),
            Cell::new(&task.user),
            optional(task.worker_id.as_ref().map(|worker| worker.as_str()), style),
            Cell::new(age),
            optional(took, style),
            optional(result, style),
        ]);
    }
    grid.finish_page(widths)
}

/// `wait`
pub(super) fn waited(view: &WaitedView, style: &Style, now: WallTime) -> String {
    let mut out = String::new();
    if !view.ended.is_empty() {
        out.push_str(&tasks(&view.ended, style, now, &mut Widths::default()));
    }
    for task in view.pending.iter().filter(|_| view.timed_out) {
        out.push_str(&format!("{task} has not ended\n"));
    }
    out
}

/// Of an array: how many elements have ended. Of a task that is being cancelled: that.
pub(super) fn progress(task: &TaskView) -> String {
    let mut text = String::new();
    if let Some(elements) = &task.elements {
        let ended = u64::from(elements.completed) + u64::from(elements.failed) + u64::from(elements.cancelled);
        text.push_str(&format!(" {ended}/{}", task.count));
    }
    if task.cancelling {
        text.push_str(" (cancelling)");
    }
    if task.unreachable {
        text.push_str(" (unreachable)");
    }
    text
}

/// `queue`
pub(super) fn queue(view: &QueueView, style: &Style, now: WallTime) -> String {
    if view.tasks.is_empty() {
        return "Nothing waits.\n".to_owned();
    }
    let headings = ["TASK", "POSITION", "NAME", "USER", "WAITING", "ASKS FOR", "AGE", "REASON"];
    let mut grid =
        Grid::new(style, headings, &[2, 5, 7]).align_right(&[1, 4]).hide_if_narrow(&[2, 3]).hide_if_tiny(&[5, 6]);
    for task in &view.tasks {
        let age = if style.raw { task.submitted_at.to_string() } else { span(task.submitted_at, now) };
        grid.row([
            text(&task.task_id, style),
            Cell::new(task.position),
            optional(task.name.as_ref(), style),
            Cell::new(&task.user),
            Cell::new(task.waiting),
            Cell::new(resources(&task.resources, style)),
            Cell::new(age),
            text(&task.reason, style),
        ]);
    }
    let shown: u64 = view.tasks.iter().map(|task| u64::from(task.waiting)).sum();
    let more = view.waiting.saturating_sub(shown);
    let rest = if more > 0 { format!("and {more} more\n") } else { String::new() };
    grid.finish() + &rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::table::sample;

    #[test]
    fn a_list_of_tasks() {
        let mut array = sample::task();
        array.name = Some("a\x1b[31m".into());
        array.count = 10;
        array.elements = Some(sample::tally());
        array.state = shared::task::TaskState::Running;
        (array.verdict, array.finished_at, array.worker_id) = (None, None, None);
        let view = [sample::task(), array];
        let expected = "\
TASK                             NAME         STATE         USER   WORKER    AGE  TOOK    RESULT
task-01arz3ndektsv4rrffq69g5fav  sample       failed        alice  worker-1  2h   4.5s    exit code 3
task-01arz3ndektsv4rrffq69g5fav  a\\u{1b}[31m  running 7/10  alice  -         2h   1h 59m  -
";
        assert_eq!(tasks(&view, &Style::default(), sample::NOW, &mut Widths::default()), expected);
    }

    #[test]
    fn on_a_tiny_terminal_a_task_is_still_one_line() {
        let style = Style { width: Some(70), ..Style::default() };
        let text = tasks(&[sample::task(), sample::task()], &style, sample::NOW, &mut Widths::default());
        assert_eq!(text.lines().count(), 3, "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 70), "{text}");
    }

    #[test]
    fn an_empty_list_says_so() {
        assert_eq!(queue(&sample::queue(0), &Style::default(), sample::NOW), "Nothing waits.\n");
    }

    #[test]
    fn the_queue_in_order() {
        let text = queue(&sample::queue(5), &Style::default(), sample::NOW);
        let expected = "\
TASK                             POSITION  NAME  USER   WAITING  ASKS FOR                         AGE  REASON
task-01arz3ndektsv4rrffq69g5fav         1  -     alice        3  CPU=1.0, Memory=0.50GB, GPU=0.0  2h   2 workers lack 1 CPU
and 2 more
";
        assert_eq!(text, expected);
    }
}
