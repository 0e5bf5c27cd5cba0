//! Text that is shown again and again in the same place.

use std::io::{self, Write};

use crate::exit::CtlError;

/// Paints over what it painted before. Only for terminals.
#[derive(Debug, Default)]
pub(crate) struct Repaint {
    lines: usize,
}

impl Repaint {
    /// Shows `text` in the place of the last one.
    pub(crate) fn show(&mut self, text: &str) -> Result<(), CtlError> {
        // More than the screen has could not be painted over.
        let rows = crossterm::terminal::size().map_or(usize::MAX, |(_, rows)| usize::from(rows).max(2) - 1);
        let mut out = String::new();
        if self.lines > 0 {
            out.push_str(&format!("\x1b[{}A", self.lines));
        }
        for line in text.lines().take(rows) {
            // The rest of the old line goes.
            out.push_str(&format!("{line}\x1b[K\n"));
        }
        // So do lines that there are no more.
        out.push_str("\x1b[J");
        self.lines = text.lines().count().min(rows);
        let mut stdout = io::stdout().lock();
        stdout.write_all(out.as_bytes()).and_then(|()| stdout.flush()).map_err(CtlError::output)
    }
}
