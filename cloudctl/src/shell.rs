//! `cloudctl shell`: the same commands, one a line, from a person or from a pipe.

mod batch;
mod completer;
mod interactive;
mod line;

use std::io::{self, IsTerminal};

use tokio::runtime::Runtime;

use crate::args::{GlobalArgs, ShellArgs};
use crate::complete;
use crate::exit::CtlError;

/// Reads lines until there are no more, or until one says `exit`. Returns the exit code.
pub(crate) fn run(args: &ShellArgs, global: &GlobalArgs, runtime: &Runtime) -> Result<u8, CtlError> {
    complete::within(global);
    let runner = line::Runner { global, runtime };
    if io::stdin().is_terminal() { interactive::run(&runner) } else { batch::run(args.keep_going, &runner) }
}
