//! cloudctl: the remote admin client of CloudAI. It talks only to the master's authenticated HTTP and WebSocket API.
//!
//! Read in this order: [`args`] (the command line), [`context`] (which master), [`trust`] (how it proves itself),
//! [`client`] (asking it), [`commands`] (one file per verb, each returns a view), [`render`] (the only place that prints),
//! [`exit`] (failures and codes); then [`shell`] (lines instead of one call), [`screen`] (what `watch` shows),
//! [`complete`] and [`help`].

mod args;
mod client;
mod clock;
mod commands;
mod complete;
mod context;
mod exit;
mod help;
mod render;
mod screen;
mod shell;
mod trust;

use std::process::ExitCode;

use clap_complete::CompleteEnv;
use tokio::runtime::Runtime;

use args::{Cli, Verb};
use exit::CtlError;
use render::Terminal;

fn main() -> ExitCode {
    if std::env::var_os(complete::VARIABLE).is_some() {
        // A shell asks what a line may go on with. Ends the program.
        CompleteEnv::with_factory(args::definition).var(complete::VARIABLE).bin("cloudctl").complete();
    }
    let cli = match args::parse(std::env::args_os()) {
        Ok(cli) => cli,
        // Help and version end here as well; the code is 2 for a wrong call.
        Err(error) => return ExitCode::from(args::report(&error)),
    };
    match run(&cli) {
        Ok(exit) => ExitCode::from(exit),
        Err(error) => {
            Terminal::plain(cli.global.raw).fail(&error);
            ExitCode::from(error.exit())
        }
    }
}

/// Runs the command and prints its result. Returns the exit code.
fn run(cli: &Cli) -> Result<u8, CtlError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(CtlError::local("cannot start the runtime"))?;
    let result = match &cli.verb {
        Verb::Shell(args) => shell::run(args, &cli.global, &runtime),
        _ => run_one(cli, &runtime),
    };
    // A write that a slow reader holds up must not hold up the end.
    runtime.shutdown_background();
    result
}

fn run_one(cli: &Cli, runtime: &Runtime) -> Result<u8, CtlError> {
    let terminal = Terminal::new(&cli.global)?;
    let done = runtime.block_on(commands::run(cli, &terminal))?;
    if let Some(view) = &done.view {
        terminal.print(view)?;
    }
    Ok(done.exit)
}
