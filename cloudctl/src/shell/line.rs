//! One line of the shell.

use std::ffi::OsString;
use std::pin::pin;

use tokio::runtime::Runtime;

use crate::args::{Cli, GlobalArgs, Verb, parse_within, report};
use crate::commands::{self, interrupts};
use crate::exit::CtlError;
use crate::render::Terminal;

/// What stands before each line that a person types.
pub(super) const PROMPT: &str = "master> ";

/// What a line asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// Nothing: it is empty, or a comment.
    Nothing,
    /// To leave the shell.
    Leave,
    /// To run a command.
    Command(Vec<String>),
}

impl Line {
    /// Cuts a line into words, as a POSIX shell does, but without expanding anything. A prompt that was copied along, and
    /// the name of the program, are not part of it.
    pub(super) fn parse(text: &str) -> Result<Self, CtlError> {
        let text = text.trim();
        let text = text.strip_prefix(PROMPT.trim_end()).unwrap_or(text).trim_start();
        if text.is_empty() || text.starts_with('#') {
            return Ok(Self::Nothing);
        }
        let mut words = shell_words::split(text)
            .map_err(|error| CtlError::usage(format!("the line cannot be read: {error}"), "close every quote"))?;
        if words.len() > 1 && words[0] == "cloudctl" {
            words.remove(0);
        }
        match words.as_slice() {
            [] => Ok(Self::Nothing),
            [word] if word == "exit" || word == "quit" => Ok(Self::Leave),
            _ => Ok(Self::Command(words)),
        }
    }
}

/// Runs lines.
pub(super) struct Runner<'a> {
    /// What the shell was told.
    pub(super) global: &'a GlobalArgs,
    pub(super) runtime: &'a Runtime,
}

impl Runner<'_> {
    /// Runs a command and says what there is to say. Returns the exit code. Ctrl-C ends the command.
    pub(super) fn run(&self, words: Vec<String>) -> u8 {
        let argv = std::iter::once("cloudctl".to_owned()).chain(words).map(OsString::from);
        let cli = match parse_within(argv, self.global) {
            Ok(cli) => cli,
            Err(error) => return report(&error),
        };
        match self.run_parsed(&cli) {
            Ok(exit) => exit,
            Err(error) => {
                Terminal::plain(cli.global.raw).fail(&error);
                error.exit()
            }
        }
    }

    fn run_parsed(&self, cli: &Cli) -> Result<u8, CtlError> {
        if matches!(cli.verb, Verb::Shell(_)) {
            return Err(CtlError::usage("this is the shell already", "`exit` leaves it"));
        }
        if let Some(wish) = cli.verb.reads_stdin() {
            let message = format!("`{wish}` reads stdin, and in the shell that is where the lines come from");
            return Err(CtlError::usage(message, "name what is meant, or call it outside of the shell"));
        }
        // Anew for each line: the terminal may have another size by now.
        let terminal = Terminal::new(&cli.global)?;
        let done = self.runtime.block_on(async {
            let mut command = pin!(commands::run(cli, &terminal));
            let mut interrupts = interrupts()?;
            loop {
                tokio::select! {
                    done = &mut command => return done,
                    _ = interrupts.recv() => if !terminal.heeds_interrupts.get() {
                        return Err(CtlError::Interrupted);
                    },
                }
            }
        })?;
        if let Some(view) = &done.view {
            terminal.print(view)?;
        }
        Ok(done.exit)
    }

    /// What is said at the end: leaving the shell stops nothing.
    pub(super) fn farewell(&self) {
        let server = crate::context::resolve(self.global).map(|target| target.server.to_string());
        let at = server.map(|server| format!(" at {}", server.trim_end_matches('/'))).unwrap_or_default();
        Terminal::plain(false).note(format!("The master{at} goes on. `cloudctl shutdown` stops it."));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        match Line::parse(text).expect(text) {
            Line::Command(words) => words,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn lines_are_cut_as_a_shell_cuts_them() {
        assert_eq!(
            words("task a -- sh -c 'echo \"hi\"; exit 3'"),
            ["task", "a", "--", "sh", "-c", "echo \"hi\"; exit 3"]
        );
        assert_eq!(words("master> status"), ["status"]);
        assert_eq!(words("  cloudctl workers "), ["workers"]);
        assert!(Line::parse("task 'a").is_err());
    }

    #[test]
    fn some_lines_are_no_commands() {
        for text in ["", "  ", "# a comment", "master>"] {
            assert_eq!(Line::parse(text).expect(text), Line::Nothing, "{text}");
        }
        for text in ["exit", " quit ", "master> exit"] {
            assert_eq!(Line::parse(text).expect(text), Line::Leave, "{text}");
        }
        assert_eq!(words("exit --now"), ["exit", "--now"]);
    }
}
