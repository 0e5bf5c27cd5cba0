//! Columns.

use comfy_table::presets::NOTHING;
use comfy_table::{Cell, CellAlignment, Color, ColumnConstraint, ContentArrangement, Row, Table, Width};
use shared::task::TaskState;

use crate::render::Style;

/// Columns of a terminal that shows everything.
const WIDE: u16 = 110;
/// Columns of a terminal as it comes.
const USUAL: u16 = 80;
/// A wrapped column is at least as wide as a short word and its blanks.
const ELASTIC_LEAST: u16 = 10;

/// How wide the columns of the pages before were, so that those of the next are at least as wide.
#[derive(Debug, Default)]
pub(super) struct Widths(Vec<u16>);

/// A table without lines, so that `awk` and eyes both read it. It fits the terminal by wrapping its long columns; where
/// there is no terminal, every row is one line.
pub(super) struct Grid {
    table: Table,
    colour: bool,
}

impl Grid {
    /// With these headings. Where there is too little room, the `elastic` columns are wrapped; the others stay whole.
    pub(super) fn new<const N: usize>(style: &Style, headings: [&str; N], elastic: &[usize]) -> Self {
        let mut table = Table::new();
        table.load_style(NOTHING).set_header(headings).force_no_tty();
        if let Some(width) = style.width {
            table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
            for (index, column) in table.column_iter_mut().enumerate() {
                let least = ColumnConstraint::LowerBoundary(Width::Fixed(ELASTIC_LEAST));
                column.set_constraint(if elastic.contains(&index) { least } else { ColumnConstraint::ContentWidth });
            }
        }
        if style.colour {
            table.enforce_styling().style_text_only();
        }
        // No blank before the first column.
        if let Some(first) = table.column_mut(0) {
            first.set_padding((0, 1));
        }
        Self { table, colour: style.colour }
    }

    /// Leaves out these columns on a narrow terminal.
    pub(super) fn hide_if_narrow(self, columns: &[usize]) -> Self {
        self.hide_below(WIDE, columns)
    }

    /// Leaves out these columns on a terminal that is not even as wide as terminals usually are.
    pub(super) fn hide_if_tiny(self, columns: &[usize]) -> Self {
        self.hide_below(USUAL, columns)
    }

    fn hide_below(mut self, least: u16, columns: &[usize]) -> Self {
        if self.table.width().is_some_and(|width| width < least) {
            for &column in columns {
                if let Some(column) = self.table.column_mut(column) {
                    column.set_constraint(ColumnConstraint::Hidden);
                }
            }
        }
        self
    }

    /// Numbers stand right.
    pub(super) fn align_right(mut self, columns: &[usize]) -> Self {
        for &column in columns {
            if let Some(column) = self.table.column_mut(column) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        self
    }

    /// One row. Texts from the server go through [`text`].
    pub(super) fn row(&mut self, cells: impl Into<Row>) {
        self.table.add_row(cells);
    }

    /// The state of a task, coloured, with more words behind it. It is a word first: colour alone says nothing.
    pub(super) fn state(&self, state: TaskState, more: &str) -> Cell {
        let cell = Cell::new(format!("{state}{more}"));
        if !self.colour {
            return cell;
        }
        match state {
            TaskState::Queued => cell,
            TaskState::Pending => cell.fg(Color::Yellow),
            TaskState::Running => cell.fg(Color::Cyan),
            TaskState::Completed => cell.fg(Color::Green),
            TaskState::Failed => cell.fg(Color::Red),
            TaskState::Cancelled => cell.fg(Color::Magenta),
        }
    }

    /// The whole, without blanks at line ends.
    pub(super) fn finish(self) -> String {
        self.table.lines().map(|line| format!("{}\n", line.trim_end())).collect()
    }

    /// The next page of a table of which `widths` knows the pages before: only the first has the headings.
    pub(super) fn finish_page(mut self, widths: &mut Widths) -> String {
        let own = self.table.column_max_content_widths();
        let is_first = widths.0.is_empty();
        widths.0 = own.iter().enumerate().map(|(at, own)| widths.0.get(at).copied().unwrap_or(0).max(*own)).collect();
        if self.table.width().is_none() {
            for (column, width) in self.table.column_iter_mut().zip(&widths.0) {
                let width = width + column.padding_width();
                column.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(width)));
            }
        }
        let text = self.finish();
        if is_first { text } else { text.split_once('\n').map_or(String::new(), |(_, rows)| rows.to_owned()) }
    }
}

/// A cell with text from elsewhere.
pub(super) fn text(text: &str, style: &Style) -> Cell {
    Cell::new_owned(style.text(text).into_owned())
}

/// The same where there may be none.
pub(super) fn optional(value: Option<impl AsRef<str>>, style: &Style) -> Cell {
    value.map_or_else(|| Cell::new("-"), |value| text(value.as_ref(), style))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(style: &Style) -> String {
        let mut grid = Grid::new(style, ["ID", "SIZE", "TEXT"], &[2]).align_right(&[1]);
        grid.row([text("task-1", style), text("7", style), text("a rather long text that wraps", style)]);
        grid.row([text("task-2", style), text("1234", style), optional(None::<&str>, style)]);
        grid.finish()
    }

    #[test]
    fn without_a_terminal_every_row_is_one_line() {
        let expected = "\
ID      SIZE  TEXT
task-1     7  a rather long text that wraps
task-2  1234  -
";
        assert_eq!(sample(&Style::default()), expected);
    }

    #[test]
    fn on_a_terminal_the_lines_fit_and_ids_stay_whole() {
        let text = sample(&Style { width: Some(30), ..Style::default() });
        assert!(text.lines().all(|line| line.chars().count() <= 30), "{text}");
        assert!(text.contains("task-1 ") && text.lines().count() > 3, "{text}");
    }

    #[test]
    fn a_narrow_terminal_gets_fewer_columns() {
        for (width, expected) in [(Some(40), "A\na\n"), (Some(200), "A  B\na  b\n"), (None, "A  B\na  b\n")] {
            let style = Style { width, ..Style::default() };
            let mut grid = Grid::new(&style, ["A", "B"], &[]).hide_if_narrow(&[1]);
            grid.row([text("a", &style), text("b", &style)]);
            assert_eq!(grid.finish(), expected);
        }
    }

    #[test]
    fn pages_stand_below_each_other() {
        let style = Style::default();
        let mut widths = Widths::default();
        let mut out = String::new();
        for (a, b) in [("long-one", "1"), ("x", "2")] {
            let mut grid = Grid::new(&style, ["A", "B"], &[]);
            grid.row([text(a, &style), text(b, &style)]);
            out.push_str(&grid.finish_page(&mut widths));
        }
        assert_eq!(out, "A         B\nlong-one  1\nx         2\n");
    }

    #[test]
    fn colour_comes_only_when_wanted() {
        for colour in [false, true] {
            let style = Style { colour, ..Style::default() };
            let mut grid = Grid::new(&style, ["STATE"], &[]);
            let state = grid.state(TaskState::Failed, "");
            grid.row([state]);
            assert_eq!(grid.finish().contains('\x1b'), colour);
        }
    }
}
