//! What is said of rows that belong to nothing.

use std::fmt::Display;

/// Of something that names a submission.
#[must_use]
pub fn of_task(what: &str, element: impl Display) -> String {
    format!("{element}: there is {what} of it, but not its task")
}

/// Of files of an input.
#[must_use]
pub fn of_input(id: &str) -> String {
    format!("{id}: there are files of it, but not the input")
}
