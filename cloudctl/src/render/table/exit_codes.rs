//! Exit codes.

use comfy_table::Cell;

use super::grid::{Grid, text};
use crate::help::ExitCodeView;
use crate::render::Style;

/// `help exit-codes`
pub(super) fn list(views: &[ExitCodeView], style: &Style) -> String {
    let table = |of: &str, headings: [&str; 3]| {
        let mut grid = Grid::new(style, headings, &[1, 2]);
        for view in views.iter().filter(|view| view.of == of) {
            let codes = view.error_codes.join(", ");
            grid.row([text(&view.exit_code, style), Cell::new(view.meaning), Cell::new(codes)]);
        }
        grid.finish()
    };
    format!(
        "{}\nA task that is waited for (`task --wait`, `wait`) ends cloudctl with the code of the task:\n\n{}",
        table("cloudctl", ["CODE", "MEANING", "REFUSALS OF THE MASTER"]),
        table("task", ["CODE", "MEANING", ""])
    )
}
