//! cloudctl: the remote admin client of CloudAI. It talks only to the master's authenticated HTTP and WebSocket API.
//!
//! Read in this order: [`args`] (the command line), [`context`] (which server), [`client`] (asking it), [`commands`]
//! (one file per verb, each returns a view), [`render`] (the only place that prints), [`exit`] (failures and codes).

mod args;
mod client;
mod commands;
mod context;
mod exit;
mod render;

use std::process::ExitCode;

use clap::Parser;

use args::{Cli, normalise};
use exit::CtlError;
use render::Terminal;

fn main() -> ExitCode {
    let cli = match Cli::try_parse_from(normalise(std::env::args_os())) {
        Ok(cli) => cli,
        // Help and version end here as well; the code is 2 for a wrong call.
        Err(error) => error.exit(),
    };
    let terminal = Terminal::new(cli.global.output);
    match run(&cli, &terminal) {
        Ok(exit) => ExitCode::from(exit),
        Err(error) => {
            if !matches!(error, CtlError::OutputClosed | CtlError::Interrupted) {
                terminal.fail(&error);
            }
            ExitCode::from(error.exit())
        }
    }
}

/// Runs the command and prints its result. Returns the exit code.
fn run(cli: &Cli, terminal: &Terminal) -> Result<u8, CtlError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(CtlError::local("cannot start the runtime"))?;
    let done = runtime.block_on(commands::run(cli, terminal));
    // A write that a slow reader holds up must not hold up the end.
    runtime.shutdown_background();
    let done = done?;
    if let Some(view) = &done.view {
        terminal.print(view)?;
    }
    Ok(done.exit)
}
