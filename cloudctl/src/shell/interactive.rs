//! Lines from a person.

use std::fs::DirBuilder;
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustyline::config::Builder;
use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;
use rustyline::{CompletionType, Editor};

use super::completer::LineHelper;
use super::line::{Line, PROMPT, Runner};
use crate::context::history_path;
use crate::exit::CtlError;
use crate::render::Terminal;

/// The lines that greet.
const BANNER: &str = "\
═══════════════════════════════════════════════════════
  CloudAI Master Node - Interactive CLI
═══════════════════════════════════════════════════════
Type 'help' for available commands

";
/// Lines that are remembered.
const HISTORY: usize = 10_000;
/// What stands before a line that goes on.
const MORE: &str = "> ";
/// What must not be found in a file of lines later on, whatever the dashes.
const SECRET: &str = "setuptoken";

/// Reads and runs lines until the person leaves. A command that fails is no reason to leave.
pub(super) fn run(runner: &Runner<'_>) -> Result<u8, CtlError> {
    let terminal = Terminal::plain(false);
    let unreadable = |error: ReadlineError| CtlError::local("cannot read a line")(std::io::Error::other(error));
    let config = Builder::new()
        .max_history_size(HISTORY)
        .and_then(|config| config.history_ignore_dups(true))
        .map_err(unreadable)?
        .history_ignore_space(true)
        .completion_type(CompletionType::List)
        .build();
    let mut editor: Editor<LineHelper, FileHistory> = Editor::with_config(config).map_err(unreadable)?;
    editor.set_helper(Some(LineHelper));
    let history = open_history(&mut editor, &terminal);
    std::io::stdout().write_all(BANNER.as_bytes()).map_err(CtlError::output)?;
    loop {
        match editor.readline(PROMPT) {
            Ok(first) => {
                let text = whole(first, &mut editor).map_err(unreadable)?;
                match Line::parse(&text) {
                    Ok(Line::Nothing) => {}
                    Ok(Line::Leave) => break,
                    Ok(Line::Command(words)) => {
                        remember(&text, history.as_deref(), &mut editor);
                        runner.run(words);
                    }
                    Err(error) => terminal.fail(&error),
                }
            }
            // The line is given up, and not the shell.
            Err(ReadlineError::Interrupted) => {}
            Err(ReadlineError::Eof) => break,
            Err(error) => return Err(unreadable(error)),
        }
    }
    runner.farewell();
    Ok(0)
}

/// The lines of earlier sessions. Without them the shell works as well.
fn open_history(editor: &mut Editor<LineHelper, FileHistory>, terminal: &Terminal) -> Option<PathBuf> {
    let path = history_path().ok()?;
    let directory = path.parent()?;
    let made = DirBuilder::new().recursive(true).mode(0o700).create(directory);
    if let Err(error) = made {
        terminal.warn(format!("the history cannot be kept in {}: {error}", path.display()));
        return None;
    }
    match editor.load_history(&path) {
        Ok(()) => {}
        Err(ReadlineError::Io(error)) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => terminal.warn(format!("the history cannot be read from {}: {error}", path.display())),
    }
    Some(path)
}

/// The line, and those that it goes on with after a `\` at its end. Ctrl-C gives all of it up.
fn whole(first: String, editor: &mut Editor<LineHelper, FileHistory>) -> Result<String, ReadlineError> {
    let mut text = first;
    while let Some(before) = text.strip_suffix('\\') {
        let more = match editor.readline(MORE) {
            Ok(more) => more,
            Err(ReadlineError::Interrupted) => return Ok(String::new()),
            Err(ReadlineError::Eof) => String::new(),
            Err(error) => return Err(error),
        };
        text = format!("{before}{more}");
    }
    Ok(text)
}

/// Keeps the line at once: a shell may end in many ways.
fn remember(text: &str, history: Option<&Path>, editor: &mut Editor<LineHelper, FileHistory>) {
    if text.replace(['-', '_'], "").contains(SECRET) {
        return;
    }
    let is_new = editor.add_history_entry(text).unwrap_or(false);
    if let Some(path) = history.filter(|_| is_new) {
        // It was said at the start if this cannot be done.
        let _ = editor.append_history(path);
    }
}
