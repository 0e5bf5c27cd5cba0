//! The only place that writes to the terminal: results to stdout, everything else to stderr.

mod escape;
mod json;
mod log;
mod progress;
mod quiet;
mod table;
mod text;
mod view;

use std::io::{self, IsTerminal, Write};

use shared::text::printable;
use shared::time::WallTime;

use crate::args::OutputFormat;
use crate::exit::CtlError;

pub(crate) use log::{LogPrinter, LogTarget};
pub(crate) use progress::Progress;
pub(crate) use text::outcome;
pub(crate) use view::{Done, Downloaded, DownloadedFile, FailedFile, LoggedIn, VersionView, View};

/// What stdout can show.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Style {
    /// Columns to fit into; none: lines may be of any length.
    pub(crate) width: Option<u16>,
    /// Whether to colour.
    pub(crate) colour: bool,
    /// Whether a person looks at it, so that control characters must not get through.
    pub(crate) terminal: bool,
}

/// Both outputs of the program, and the person in front of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terminal {
    /// How results are written.
    pub(crate) format: OutputFormat,
    style: Style,
    errors_seen: bool,
    errors_coloured: bool,
}

impl Terminal {
    /// Looks at what stdout and stderr are. `NO_COLOR` is heeded.
    pub(crate) fn new(format: OutputFormat) -> Self {
        let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let colour = !set("NO_COLOR") && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        let terminal = io::stdout().is_terminal();
        // A terminal that does not know its width says 0.
        let width = comfy_table::Table::new().width().filter(|&width| terminal && width > 0);
        let errors_seen = io::stderr().is_terminal();
        let style = Style { width, colour: colour && terminal, terminal };
        Self { format, style, errors_seen, errors_coloured: colour && errors_seen }
    }

    /// Writes a result to stdout.
    pub(crate) fn print(&self, view: &View) -> Result<(), CtlError> {
        let now = WallTime(jiff::Timestamp::now().as_millisecond());
        let bytes = match self.format {
            OutputFormat::Table => table::render(view, &self.style, now).into_bytes(),
            OutputFormat::Json => json::render(view).map_err(|error| CtlError::output(error.into()))?,
            OutputFormat::Quiet => quiet::render(view, &self.style),
        };
        let mut stdout = io::stdout().lock();
        stdout.write_all(&bytes).and_then(|()| stdout.flush()).map_err(CtlError::output)
    }

    /// Tells the person something that is not the result.
    pub(crate) fn note(&self, text: impl AsRef<str>) {
        // Who closed stderr does not want to hear it.
        let _ = writeln!(io::stderr(), "{}", printable(text.as_ref()));
    }

    /// The same, only if a person looks at it.
    pub(crate) fn remark(&self, text: impl AsRef<str>) {
        if self.errors_seen {
            self.note(text);
        }
    }

    /// Tells of something that may not be as it was meant.
    pub(crate) fn warn(&self, text: impl AsRef<str>) {
        self.labelled("warning", "33", text.as_ref());
    }

    /// Tells of a failure and what to do about it.
    pub(crate) fn fail(&self, error: &CtlError) {
        self.labelled("error", "31", &error.to_string());
        let hint = error.hint();
        if !hint.is_empty() {
            self.labelled("hint", "36", &hint);
        }
    }

    fn labelled(&self, label: &str, colour: &str, text: &str) {
        let text = printable(text);
        let _ = if self.errors_coloured {
            writeln!(io::stderr(), "\x1b[{colour}m{label}:\x1b[0m {text}")
        } else {
            writeln!(io::stderr(), "{label}: {text}")
        };
    }

    /// Whether a person can be asked.
    pub(crate) fn can_ask(&self) -> bool {
        io::stdin().is_terminal() && self.errors_seen
    }

    /// Asks before something that cannot be undone. Where nobody can be asked, `--yes` must have said it.
    pub(crate) fn confirm(&self, question: &str, yes: bool) -> Result<(), CtlError> {
        if yes {
            return Ok(());
        }
        if !self.can_ask() {
            return Err(CtlError::usage("this needs a confirmation, and there is no terminal to ask at", "add --yes"));
        }
        let answer = self.ask(&format!("{question} [y/N] "))?;
        if matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes") {
            return Ok(());
        }
        Err(CtlError::Refused { message: "not confirmed; nothing was done".to_owned(), hint: String::new() })
    }

    /// Asks for a line.
    pub(crate) fn ask(&self, question: &str) -> Result<String, CtlError> {
        let _ = write!(io::stderr(), "{}", printable(question));
        let mut answer = String::new();
        io::stdin().read_line(&mut answer).map_err(CtlError::local("cannot read the answer"))?;
        Ok(answer.trim_end_matches(['\n', '\r']).to_owned())
    }
}
