//! Topics that are no commands.

/// A text to read.
#[derive(Debug)]
pub(super) struct Topic {
    /// What to ask for.
    pub(super) name: &'static str,
    /// In one line.
    pub(super) about: &'static str,
    /// All of it.
    pub(super) text: &'static str,
}

/// All of them. The exit codes are made from their table instead.
pub(super) const TOPICS: [Topic; 5] = [
    Topic { name: "output", about: "The formats of results, and templates", text: include_str!("output.txt") },
    Topic { name: "json", about: "The fields of results, and what stays as it is", text: include_str!("json.txt") },
    Topic { name: "task-file", about: "Many tasks from a file or a pipe", text: include_str!("task-file.txt") },
    Topic {
        name: "arrays",
        about: "Tasks that run many times, and how to name their parts",
        text: include_str!("arrays.txt"),
    },
    Topic {
        name: "environment",
        about: "Variables and files that cloudctl heeds",
        text: include_str!("environment.txt"),
    },
];
