//! `cloudctl completions`

use clap_complete::env::{Bash, EnvCompleter, Fish, Zsh};

use crate::args::{CompletionShell, CompletionsArgs};
use crate::complete::VARIABLE;
use crate::exit::CtlError;
use crate::render::{Done, View};

/// The script by which a shell asks this program what a line may go on with.
pub(super) fn run(args: &CompletionsArgs) -> Result<Done, CtlError> {
    let shell: &dyn EnvCompleter = match args.shell {
        CompletionShell::Bash => &Bash,
        CompletionShell::Zsh => &Zsh,
        CompletionShell::Fish => &Fish,
    };
    let mut script = Vec::new();
    shell
        .write_registration(VARIABLE, "cloudctl", "cloudctl", "cloudctl", &mut script)
        .map_err(CtlError::local("cannot make the script"))?;
    Ok(View::Text(String::from_utf8_lossy(&script).into_owned()).into())
}
