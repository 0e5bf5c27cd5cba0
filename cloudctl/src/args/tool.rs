//! Arguments of the commands about cloudctl itself.

use std::path::PathBuf;

use clap::{Args, ValueEnum, ValueHint};
use clap_complete::ArgValueCandidates;

/// Arguments of `shell`.
#[derive(Debug, Args)]
pub(crate) struct ShellArgs {
    /// Go on after a line that failed. The exit code is that of the first one.
    #[arg(long)]
    pub(crate) keep_going: bool,
}

/// Arguments of `completions`.
#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// For which shell.
    #[arg(value_name = "SHELL")]
    pub(crate) shell: CompletionShell,
}

/// A shell that can complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum CompletionShell {
    /// GNU Bash.
    Bash,
    /// Z shell.
    Zsh,
    /// fish.
    Fish,
}

/// Arguments of `man`.
#[derive(Debug, Args)]
pub(crate) struct ManArgs {
    /// One page for each command, into this directory; otherwise the page of cloudctl itself is printed.
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) dir: Option<PathBuf>,
}

/// Arguments of `help`.
#[derive(Debug, Args)]
pub(crate) struct HelpArgs {
    /// A command, with what stands behind its name if that has commands of its own, or a topic; an overview if left out.
    #[arg(value_name = "COMMAND|TOPIC", add = ArgValueCandidates::new(crate::help::names))]
    pub(crate) about: Vec<String>,
}
