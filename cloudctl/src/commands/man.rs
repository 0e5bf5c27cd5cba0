//! `cloudctl man`

use std::fs;
use std::path::Path;

use clap::Command;
use clap_mangen::Man;
use shared::error::exit;

use crate::args::{ManArgs, definition};
use crate::exit::CtlError;
use crate::render::{Done, View};

/// Prints the page of the program, or writes a page for each command.
pub(super) fn run(args: &ManArgs) -> Result<Done, CtlError> {
    let mut root = definition();
    root.build();
    let Some(directory) = &args.dir else {
        return Ok(View::Text(page(root)?).into());
    };
    fs::create_dir_all(directory).map_err(|error| cannot_create(directory, &error))?;
    let mut written = Vec::new();
    write_all(&root, directory, &mut written)?;
    Ok(View::Text(written.join("\n")).into())
}

fn write_all(command: &Command, directory: &Path, written: &mut Vec<String>) -> Result<(), CtlError> {
    for subcommand in command.get_subcommands().filter(|subcommand| !subcommand.is_hide_set()) {
        write_all(subcommand, directory, written)?;
    }
    let path = man(command.clone()).generate_to(directory).map_err(|error| cannot_create(directory, &error))?;
    written.push(path.display().to_string());
    Ok(())
}

fn man(command: Command) -> Man {
    Man::new(command).source(concat!("cloudctl ", env!("CARGO_PKG_VERSION"))).manual("CloudAI")
}

fn page(command: Command) -> Result<String, CtlError> {
    let mut text = Vec::new();
    man(command).render(&mut text).map_err(CtlError::local("cannot make the page"))?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

fn cannot_create(path: &Path, error: &std::io::Error) -> CtlError {
    let message = format!("cannot write {}: {error}", path.display());
    CtlError::refused(exit::CANNOT_CREATE, message, "choose a directory that you may write to")
}
