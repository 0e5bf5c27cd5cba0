//! Arguments of the commands about who asks which master.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use clap_complete::ArgValueCandidates;

/// Arguments of `login`.
#[derive(Debug, Args)]
pub(crate) struct LoginArgs {
    /// Who; asked for if not given.
    #[arg(long, value_name = "USER")]
    pub(crate) username: Option<String>,
    /// Read the password from the first line of stdin instead of asking.
    #[arg(long)]
    pub(crate) password_stdin: bool,
    /// Make the first admin with the token in this file, which the master made at its first start; `-` is stdin.
    #[arg(long, value_name = "FILE", conflicts_with = "setup_token")]
    pub(crate) setup_token_file: Option<PathBuf>,
    /// The same with the token itself, which others on this machine can see then.
    #[arg(long, value_name = "TOKEN")]
    pub(crate) setup_token: Option<String>,
    /// The context to store; by default the one of this server, else the server's host name.
    #[arg(long, value_name = "CONTEXT", value_parser = context_name)]
    pub(crate) name: Option<String>,
}

/// Arguments of `logout`.
#[derive(Debug, Args)]
pub(crate) struct LogoutArgs {
    /// Of every context.
    #[arg(long)]
    pub(crate) all: bool,
    /// End all your logins at the master first, on other machines too.
    #[arg(long, conflicts_with = "all")]
    pub(crate) everywhere: bool,
}

/// Arguments of `context`.
#[derive(Debug, Args)]
pub(crate) struct ContextArgs {
    /// What to do; lists them if left out.
    #[command(subcommand)]
    pub(crate) verb: Option<ContextVerb>,
}

/// What to do with contexts.
#[derive(Debug, Subcommand)]
pub(crate) enum ContextVerb {
    /// List all contexts.
    List,
    /// Make a context the current one.
    Use {
        /// Which.
        #[arg(value_name = "NAME", add = ArgValueCandidates::new(crate::complete::contexts))]
        name: String,
    },
    /// Show a context, by default the one that is in use. The token is not shown.
    Show {
        /// Which.
        #[arg(value_name = "NAME", add = ArgValueCandidates::new(crate::complete::contexts))]
        name: Option<String>,
    },
    /// Give a context another name.
    Rename {
        /// Which.
        #[arg(value_name = "NAME", add = ArgValueCandidates::new(crate::complete::contexts))]
        name: String,
        /// Its new name.
        #[arg(value_name = "NEW", value_parser = context_name)]
        new: String,
    },
    /// Forget a context and its token.
    Delete {
        /// Which.
        #[arg(value_name = "NAME", add = ArgValueCandidates::new(crate::complete::contexts))]
        name: String,
    },
}

/// Names that can be written in a line, and read in a list.
fn context_name(text: &str) -> Result<String, String> {
    if text.is_empty() || text.contains(char::is_control) {
        return Err("a name has at least one character, and all of them can be seen".to_owned());
    }
    Ok(text.to_owned())
}
