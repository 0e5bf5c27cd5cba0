//! Results as ids only, one a line, for `xargs`.

use super::{Style, View};
use shared::text::printable;

/// Paths are written as they are, unless a terminal would take them for commands.
pub(super) fn render(view: &View, style: &Style) -> Vec<u8> {
    let mut out = Vec::new();
    for id in ids(view) {
        let shown = if style.terminal { printable(id) } else { id.to_owned() };
        out.extend_from_slice(shown.as_bytes());
        out.push(b'\n');
    }
    out
}

fn ids(view: &View) -> Vec<&str> {
    match view {
        View::LoggedIn(view) => vec![&view.context],
        View::Status(view) => vec![&view.cluster_id],
        View::Workers(view) => view.workers.iter().map(|worker| worker.worker_id.as_str()).collect(),
        View::Submitted(view) => vec![&view.task_id],
        View::Tasks(view) => view.tasks.iter().map(|task| task.task_id.as_str()).collect(),
        View::Task(view) => vec![&view.task_id],
        View::Why(view) => vec![&view.task_id],
        View::Cancelled(view) => vec![&view.task_id],
        View::CancelledAll(views) => views.iter().map(|view| view.task_id.as_str()).collect(),
        View::Queue(view) => view.tasks.iter().map(|task| task.task_id.as_str()).collect(),
        View::Files(view) => view.files.iter().map(|file| file.path.as_str()).collect(),
        View::Downloaded(view) => view.files.iter().map(|file| file.written_to.as_str()).collect(),
        View::Shutdown(_) => vec![],
        View::Version(view) => vec![view.version],
    }
}

#[cfg(test)]
mod tests {
    use shared::view::TaskListView;

    use super::*;
    use crate::render::table::sample;

    #[test]
    fn one_id_a_line_and_nothing_else() {
        let list = TaskListView { tasks: vec![sample::task(), sample::task()], next_cursor: Some("x".into()) };
        let id = sample::task().task_id;
        assert_eq!(render(&View::Tasks(list), &Style::default()), format!("{id}\n{id}\n").into_bytes());
    }

    #[test]
    fn a_path_cannot_command_the_terminal() {
        let terminal = Style { terminal: true, ..Style::default() };
        let view = View::Files(sample::files("a\x1b[2J"));
        assert_eq!(render(&view, &terminal), b"a\\u{1b}[2J\n");
        assert_eq!(render(&view, &Style::default()), b"a\x1b[2J\n");
    }
}
