//! Passwords: from a prompt or from stdin, never from the command line.

use std::io;

use crate::exit::CtlError;
use crate::render::Terminal;

/// One that exists.
pub(super) fn known(from_stdin: bool, prompt: &str, terminal: &Terminal) -> Result<String, CtlError> {
    if from_stdin { line("the password") } else { ask(prompt, terminal) }
}

/// One that is new; asked for twice.
pub(super) fn new(from_stdin: bool, prompt: &str, terminal: &Terminal) -> Result<String, CtlError> {
    if from_stdin {
        return line("the password");
    }
    let password = ask(prompt, terminal)?;
    if ask(&format!("{prompt} again"), terminal)? != password {
        return Err(CtlError::usage("the two passwords are not the same", "try again"));
    }
    Ok(password)
}

/// The next line of stdin, which is to be `what`.
pub(super) fn line(what: &str) -> Result<String, CtlError> {
    let mut line = String::new();
    io::stdin().read_line(&mut line).map_err(CtlError::local(format!("cannot read {what} from stdin")))?;
    Ok(line.trim_end_matches(['\n', '\r']).to_owned())
}

fn ask(prompt: &str, terminal: &Terminal) -> Result<String, CtlError> {
    if !terminal.can_ask() {
        return Err(CtlError::usage("there is no terminal to ask for the password at", "give --password-stdin"));
    }
    rpassword::prompt_password(format!("{prompt}: ")).map_err(CtlError::local("cannot read the password"))
}
