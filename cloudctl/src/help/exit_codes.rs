//! The table of exit codes, from the one table of error codes.

use serde::Serialize;
use shared::error::ErrorCode;

use crate::exit::TABLE;

/// In one line.
pub(super) const ABOUT: &str = "The exit codes, and the refusals of the master that each stands for";

/// Exit codes of tasks that are waited for, as they are written in the table.
const OF_TASKS: [(&str, &str); 6] = [
    ("its own", "the task ended by itself"),
    ("128+n", "the task was ended by signal n"),
    ("137", "the task was out of memory"),
    ("124", "the task reached its time limit"),
    ("130", "the task was cancelled"),
    (
        "125",
        "the task could not be run, and it is not its own fault: no worker in time, image, set-up, disk, lost worker",
    ),
];

/// An exit code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct ExitCodeView {
    /// The code, or how it is made.
    pub(crate) exit_code: String,
    /// `cloudctl`, or `task` for codes of a task that is waited for.
    pub(crate) of: &'static str,
    /// In words.
    pub(crate) meaning: &'static str,
    /// The refusals of the master that end with it.
    pub(crate) error_codes: Vec<&'static str>,
}

/// All of them.
pub(crate) fn exit_codes() -> Vec<ExitCodeView> {
    let own = TABLE.into_iter().map(|(exit, meaning)| ExitCodeView {
        exit_code: exit.to_string(),
        of: "cloudctl",
        meaning,
        error_codes: ErrorCode::ALL.into_iter().filter(|code| code.exit() == exit).map(ErrorCode::as_str).collect(),
    });
    let of_tasks = OF_TASKS.into_iter().map(|(exit_code, meaning)| ExitCodeView {
        exit_code: exit_code.to_owned(),
        of: "task",
        meaning,
        error_codes: Vec::new(),
    });
    own.chain(of_tasks).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_of_the_master_is_in_the_table_once() {
        let listed: Vec<_> = exit_codes().into_iter().flat_map(|code| code.error_codes).collect();
        assert_eq!(listed.len(), ErrorCode::ALL.len());
        assert!(ErrorCode::ALL.iter().all(|code| listed.contains(&code.as_str())));
    }
}
