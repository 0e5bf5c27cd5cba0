//! The only place that writes to the terminal: results to stdout, everything else to stderr.

mod ask;
mod escape;
mod json;
mod jsonl;
mod keys;
mod listing;
mod log;
mod progress;
mod quiet;
mod repaint;
mod rows;
mod style;
mod table;
mod template;
mod text;
mod view;
mod yaml;

use std::borrow::Cow;
use std::cell::Cell;
use std::io::{self, IsTerminal, Write};

use jiff::tz::TimeZone;
use serde::Serialize;
use shared::text::printable;

use crate::args::{GlobalArgs, OutputFormat};
use crate::clock;
use crate::exit::CtlError;

pub(crate) use keys::Keys;
pub(crate) use listing::Listing;
pub(crate) use log::{LogPiece, LogPrinter, LogTarget};
pub(crate) use progress::Progress;
pub(crate) use repaint::Repaint;
pub(crate) use style::Style;
#[cfg(test)]
pub(crate) use table::sample;
pub(crate) use template::Template;
pub(crate) use text::{decimal, outcome, span};
pub(crate) use view::{
    ContextListView, ContextView, DeletedFiles, DeletedFilesListView, DeletedView, Done, DownloadedFile,
    DownloadedView, FailedFile, LoggedInView, LoggedOutView, RevokedView, ServerVersionView, StatsView,
    UnregisteredView, VerifiedView, VersionView, View, WaitedView, WhoAmIView,
};

/// How results are written.
#[derive(Debug)]
pub(crate) enum Format {
    /// For people.
    Table,
    /// One document.
    Json,
    /// One document.
    Yaml,
    /// A line for each item.
    Jsonl,
    /// Ids only.
    Quiet,
    /// A line of one's own for each item.
    Template(Box<Template>),
}

/// Both outputs of the program, and the person in front of it.
#[derive(Debug)]
pub(crate) struct Terminal {
    /// How results are written.
    pub(crate) format: Format,
    /// What stdout can show.
    pub(crate) style: Style,
    /// Whether the command has a meaning of its own for Ctrl-C by now.
    pub(crate) heeds_interrupts: Cell<bool>,
    errors_seen: bool,
    errors_coloured: bool,
}

impl Terminal {
    /// Looks at what stdout and stderr are. `NO_COLOR` is heeded.
    ///
    /// # Errors
    /// The template is wrong.
    pub(crate) fn new(global: &GlobalArgs) -> Result<Self, CtlError> {
        let format = match (&global.format, global.format_name()) {
            (Some(template), _) => Format::Template(Box::new(Template::parse(template)?)),
            (None, OutputFormat::Table) => Format::Table,
            (None, OutputFormat::Json) => Format::Json,
            (None, OutputFormat::Yaml) => Format::Yaml,
            (None, OutputFormat::Jsonl) => Format::Jsonl,
            (None, OutputFormat::Quiet) => Format::Quiet,
        };
        Ok(Self { format, ..Self::plain(global.raw) })
    }

    /// Tables, and errors: for what has to be said before it is known how.
    pub(crate) fn plain(raw: bool) -> Self {
        let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let colour = !set("NO_COLOR") && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        let terminal = io::stdout().is_terminal();
        // A terminal that does not know its width says 0.
        let width = comfy_table::Table::new().width().filter(|&width| terminal && width > 0);
        let errors_seen = io::stderr().is_terminal();
        let style = Style { width, colour: colour && terminal, terminal, raw, zone: TimeZone::system() };
        let heeds_interrupts = Cell::new(false);
        Self { format: Format::Table, style, heeds_interrupts, errors_seen, errors_coloured: colour && errors_seen }
    }

    /// Whether results are for people.
    pub(crate) fn is_table(&self) -> bool {
        matches!(self.format, Format::Table)
    }

    /// Writes a result to stdout.
    pub(crate) fn print(&self, view: &View) -> Result<(), CtlError> {
        let bytes = match (&self.format, view) {
            (Format::Json, _) => json::render(view).map_err(unwritable)?,
            (Format::Yaml, _) => yaml::render(view).map_err(unwritable)?,
            (Format::Jsonl, _) => jsonl::render(view).map_err(unwritable)?,
            (_, View::Text(text)) => format!("{}\n", text.trim_end()).into_bytes(),
            (Format::Table, _) => table::render(view, &self.style, clock::wall()).into_bytes(),
            (Format::Quiet, _) => quiet::render(view, &self.style),
            (Format::Template(template), _) => template.render(view)?,
        };
        self.write(&bytes)
    }

    /// What [`Terminal::print`] would write as a table.
    pub(crate) fn table(&self, view: &View) -> String {
        table::render(view, &self.style, clock::wall())
    }

    /// Begins a list that comes in pages.
    pub(crate) fn listing(&self) -> Listing<'_> {
        Listing::new(self)
    }

    /// Writes one event of a stream, of this kind in `cloudctl help json`: as a line of JSON, a document of YAML, or by
    /// the template. The other formats have no events.
    pub(crate) fn event<T: Serialize>(&self, kind: &str, event: &T) -> Result<(), CtlError> {
        self.write(&self.event_bytes(kind, event)?)
    }

    /// What [`Terminal::event`] would write.
    fn event_bytes<T: Serialize>(&self, kind: &str, event: &T) -> Result<Vec<u8>, CtlError> {
        let bytes = match &self.format {
            Format::Json | Format::Jsonl => jsonl::line(event).map_err(unwritable)?,
            Format::Yaml => [b"---\n", yaml::document(event).map_err(unwritable)?.as_slice()].concat(),
            Format::Template(template) => template.line(kind, event)?,
            Format::Table | Format::Quiet => Vec::new(),
        };
        Ok(self.harmless(&bytes).into_owned())
    }

    /// What a terminal only shows. What is for people is harmless already, and has colours.
    fn harmless<'a>(&self, bytes: &'a [u8]) -> Cow<'a, [u8]> {
        match self.format {
            Format::Table | Format::Quiet => Cow::Borrowed(bytes),
            _ if self.style.raw || !self.style.terminal => Cow::Borrowed(bytes),
            Format::Json | Format::Jsonl => escape::json(bytes),
            Format::Yaml | Format::Template(_) => escape::text(bytes),
        }
    }

    fn write(&self, bytes: &[u8]) -> Result<(), CtlError> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(&self.harmless(bytes)).and_then(|()| stdout.flush()).map_err(CtlError::output)
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
        if error.is_silent() {
            return;
        }
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
}

/// A result that its format cannot express.
fn unwritable(error: impl std::fmt::Display) -> CtlError {
    CtlError::output(io::Error::other(error.to_string()))
}
