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
        let _ = write!(self.hash, "{now} {who} {what:?}\n");
        if let Watch::Lines(most) = self.watch {
            if self.lines.len() >= most {
                self.lines.pop_front();
            }
            let line = format!("{:>9.3} {who}: {what:?}", now as f64 / 1000.0);
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
