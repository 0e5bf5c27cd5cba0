//! Results as ids only, one a line, for `xargs`.

use super::{Style, View};

/// Paths are written as they are, unless a terminal would take them for commands.
pub(super) fn render(view: &View, style: &Style) -> Vec<u8> {
    let mut out = Vec::new();
    for id in view.ids() {
        if style.terminal {
            out.extend_from_slice(style.text(&id).as_bytes());
        } else {
            out.extend_from_slice(id.as_bytes());
        }
        out.push(b'\n');
    }
    out
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
