//! Lines from a pipe or a file.

use std::io::{BufRead, stdin};

use tokio::sync::mpsc;

use super::line::{Line, Runner};
use crate::commands::interrupts;
use crate::exit::CtlError;
use crate::render::Terminal;

/// Runs line after line. The first that fails ends it, with its exit code; with `keep_going` the others are run as well.
/// Ctrl-C ends it in any case: who presses it means the script.
pub(super) fn run(keep_going: bool, runner: &Runner<'_>) -> Result<u8, CtlError> {
    let terminal = Terminal::plain(false);
    let (sender, mut statements) = mpsc::channel(1);
    // Reading blocks, and may go on for ever.
    std::thread::spawn(move || Statements::new(stdin().lock()).all(|read| sender.blocking_send(read).is_ok()));
    let mut interrupts = {
        let _entered = runner.runtime.enter();
        interrupts()?
    };
    let mut exit = 0;
    loop {
        let next = runner.runtime.block_on(async {
            tokio::select! {
                biased;
                _ = interrupts.recv() => Err(CtlError::Interrupted),
                next = statements.recv() => next.transpose(),
            }
        })?;
        let Some(Statement { number, text }) = next else { break };
        let code = match Line::parse(&text) {
            Ok(Line::Nothing) => 0,
            Ok(Line::Leave) => {
                runner.farewell();
                break;
            }
            Ok(Line::Command(words)) => runner.run(words),
            Err(error) => {
                terminal.fail(&error);
                error.exit()
            }
        };
        if code == 0 {
            continue;
        }
        exit = if exit == 0 { code } else { exit };
        if keep_going {
            terminal.note(format!("line {number}: exit code {code}"));
        } else {
            terminal.note(format!("line {number}: exit code {code}; stopped (--keep-going goes on)"));
            break;
        }
    }
    Ok(exit)
}

/// A line, and those that it goes on with after a `\` at its end.
#[derive(Debug, PartialEq, Eq)]
struct Statement {
    /// Of its first line, 1-based.
    number: u64,
    text: String,
}

struct Statements<R> {
    lines: std::io::Lines<R>,
    number: u64,
}

impl<R: BufRead> Statements<R> {
    fn new(lines: R) -> Self {
        Self { lines: lines.lines(), number: 0 }
    }
}

impl<R: BufRead> Iterator for Statements<R> {
    type Item = Result<Statement, CtlError>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut statement: Option<Statement> = None;
        for line in self.lines.by_ref() {
            self.number += 1;
            let line = match line {
                Ok(line) => line,
                Err(error) => {
                    let what = format!("cannot read line {}", self.number);
                    return Some(Err(CtlError::local(what)(error)));
                }
            };
            let (text, goes_on) = line.strip_suffix('\\').map_or((line.as_str(), false), |text| (text, true));
            let number = self.number;
            statement.get_or_insert_with(|| Statement { number, text: String::new() }).text.push_str(text);
            if !goes_on {
                break;
            }
        }
        statement.map(Ok)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_goes_on_after_a_backslash() {
        let text = "one\ntwo \\\n  three\n\nfour\\";
        let found: Vec<_> = Statements::new(text.as_bytes()).map(|statement| statement.expect("read")).collect();
        let expected = [(1, "one"), (2, "two   three"), (4, ""), (5, "four")];
        let expected = expected.map(|(number, text)| Statement { number, text: text.to_owned() });
        assert_eq!(found, expected);
    }
}
