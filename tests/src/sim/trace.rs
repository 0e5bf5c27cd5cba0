//! What happened, as a hash to compare two runs by or as lines to read. Written only when somebody looks: formatting
//! costs more than everything else.

use std::collections::VecDeque;
use std::fmt::{self, Write};

/// The longest line, in characters.
const WIDTH: usize = 400;

/// How closely to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Watch {
    /// Only whether everything holds.
    Nothing,
    /// A hash of all inputs and effects.
    Hash,
    /// This many of the last lines too.
    Lines(usize),
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Trace {
    watch: Watch,
    hash: Fnv,
    lines: VecDeque<String>,
}

/// FNV-1a of what is written into it.
#[derive(Debug, Clone, Copy)]
struct Fnv(u64);

impl Write for Fnv {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        Ok(())
    }
}

impl Trace {
    pub(crate) fn new(watch: Watch) -> Self {
        Self { watch, hash: Fnv(0xcbf2_9ce4_8422_2325), lines: VecDeque::new() }
    }

    /// One thing that happened: `who` and what.
    pub(crate) fn note(&mut self, now: u64, who: fmt::Arguments<'_>, what: &dyn fmt::Debug) {
        if self.watch == Watch::Nothing {
            return;
        }
        let _ = writeln!(self.hash, "{now} {who} {what:?}");
        if let Watch::Lines(most) = self.watch {
            if self.lines.len() >= most {
                self.lines.pop_front();
            }
            let line = format!("{:>9.3} {who}: {}", now as f64 / 1000.0, brief(&format!("{what:?}")));
            self.lines.push_back(line.chars().take(WIDTH).collect());
        }
    }

    pub(crate) fn hash(&self) -> u64 {
        if self.watch == Watch::Nothing { 0 } else { self.hash.0 }
    }

    pub(crate) fn into_lines(self) -> Vec<String> {
        self.lines.into()
    }
}

/// Keys of attempts as `<task.element#attempt>`, with the last digits of the task's id, and assignments without what
/// does not matter here.
fn brief(text: &str) -> String {
    const KEY: &str = "AttemptKey { task: TaskId(Ulid(";
    let mut parts = text.split(KEY);
    let mut short = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let mut numbers = part.split(|c: char| !c.is_ascii_digit()).filter(|number| !number.is_empty());
        let [task, index, attempt] = [(); 3].map(|()| numbers.next().unwrap_or_default());
        let rest = part.find(" }").map_or("", |end| &part[end + 2..]);
        let digits = &task[task.len().saturating_sub(4)..];
        let _ = write!(short, "<{digits}.{index}#{attempt}>{}", without_details(rest));
    }
    short
}

fn without_details(text: &str) -> String {
    match (text.find(", image: "), text.find("stop_grace: ")) {
        (Some(from), Some(to)) if from < to => format!("{}, ...{}", &text[..from], &text[to..]),
        _ => text.to_owned(),
    }
}
