//! Asking the person in front of the terminal.

use rustyline::config::Behavior;
use rustyline::error::ReadlineError;
use rustyline::{Config, DefaultEditor};
use shared::text::printable;

use super::Terminal;
use crate::exit::CtlError;

impl Terminal {
    /// Asks before something that cannot be undone. Where nobody can be asked, `--yes` must have said it.
    pub(crate) fn confirm(&self, question: &str, yes: bool) -> Result<(), CtlError> {
        if yes {
            return Ok(());
        }
        if !self.can_ask() {
            return Err(CtlError::usage("this needs a confirmation, and there is no terminal to ask at", "add --yes"));
        }
        let answer = self.ask(&format!("{question} [y/N] "))?;
        match answer.trim().to_ascii_lowercase().as_str() {
            "y" | "yes" => Ok(()),
            _ => Err(CtlError::Declined),
        }
    }

    /// Asks for a line. At the terminal itself, also where stdout is somewhere else.
    pub(crate) fn ask(&self, question: &str) -> Result<String, CtlError> {
        let unreadable = |error: ReadlineError| match error {
            ReadlineError::Interrupted | ReadlineError::Eof => CtlError::Interrupted,
            other => CtlError::local("cannot read the answer")(std::io::Error::other(other)),
        };
        let config = Config::builder().behavior(Behavior::PreferTerm).build();
        let mut editor = DefaultEditor::with_config(config).map_err(unreadable)?;
        editor.readline(&printable(question)).map_err(unreadable)
    }
}
