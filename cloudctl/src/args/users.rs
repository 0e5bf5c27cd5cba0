//! Arguments of the commands about accounts.

use std::time::Duration;

use clap::{Args, Subcommand};
use shared::id::{TokenId, WorkerId};
use shared::role::Role;

use super::tasks::span;

/// Arguments of `users`.
#[derive(Debug, Args)]
pub(crate) struct UsersArgs {
    /// What to do; lists them if left out.
    #[command(subcommand)]
    pub(crate) verb: Option<UsersVerb>,
}

/// What to do with accounts.
#[derive(Debug, Subcommand)]
pub(crate) enum UsersVerb {
    /// List them.
    List,
    /// Show one.
    Show(UserArgs),
    /// Make one.
    Create {
        /// Its name.
        #[arg(value_name = "NAME")]
        name: String,
        /// What it may do: admin, user or read-only.
        #[arg(long, value_name = "ROLE", default_value_t = Role::User)]
        role: Role,
        /// Read the password from the first line of stdin instead of asking.
        #[arg(long)]
        password_stdin: bool,
    },
    /// Change what one may do; its logins end.
    SetRole {
        /// Which.
        #[arg(value_name = "NAME")]
        name: String,
        /// admin, user or read-only.
        #[arg(value_name = "ROLE")]
        role: Role,
    },
    /// Give one another password; its logins end.
    SetPassword {
        /// Which.
        #[arg(value_name = "NAME")]
        name: String,
        /// Read the password from the first line of stdin instead of asking.
        #[arg(long)]
        password_stdin: bool,
    },
    /// Let nobody in with it any more. Its tasks and files stay; it cannot be deleted, so that nobody else gets its name.
    Disable(UserArgs),
    /// Let it in again.
    Enable(UserArgs),
    /// End all its logins.
    EndLogins(UserArgs),
    /// Print something with which somebody can make one account of this name: `cloudctl register`.
    Invite {
        /// The name.
        #[arg(value_name = "NAME")]
        name: String,
        /// What it may do then: admin, user or read-only.
        #[arg(long, value_name = "ROLE", default_value_t = Role::User)]
        role: Role,
        /// How long it is good: 30m, 2h, 7d; at most 30d.
        #[arg(long, value_name = "TIME", allow_hyphen_values = true, default_value = "7d", value_parser = span)]
        ttl: Duration,
    },
}

/// One account.
#[derive(Debug, Args)]
pub(crate) struct UserArgs {
    /// Which.
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
}

/// Arguments of `register`: of an account, or of a worker.
#[derive(Debug, Args)]
pub(crate) struct RegisterArgs {
    /// A worker of the first generation, by what it calls itself: its host name as a rule.
    #[arg(value_name = "WORKER", requires = "address",
        conflicts_with_all = ["username", "password_stdin", "invite_file", "name"])]
    pub(crate) worker: Option<WorkerId>,
    /// Where that worker listens.
    #[arg(value_name = "IP:PORT")]
    pub(crate) address: Option<String>,
    /// The name to have; asked for if not given.
    #[arg(long, value_name = "USER")]
    pub(crate) username: Option<String>,
    /// Read the password from the first line of stdin instead of asking.
    #[arg(long)]
    pub(crate) password_stdin: bool,
    /// A file with the invitation.
    #[arg(long, value_name = "FILE")]
    pub(crate) invite_file: Option<std::path::PathBuf>,
    /// The context to store; by default the one of this server, else the server's host name.
    #[arg(long, value_name = "CONTEXT")]
    pub(crate) name: Option<String>,
}

/// Arguments of `password`.
#[derive(Debug, Args)]
pub(crate) struct PasswordArgs {
    /// Read the old password and the new one from the first two lines of stdin instead of asking.
    #[arg(long)]
    pub(crate) password_stdin: bool,
}

/// Arguments of `tokens`.
#[derive(Debug, Args)]
pub(crate) struct TokensArgs {
    /// What to do; lists them if left out.
    #[command(subcommand)]
    pub(crate) verb: Option<TokensVerb>,
}

/// What to do with personal tokens.
#[derive(Debug, Subcommand)]
pub(crate) enum TokensVerb {
    /// List them.
    List,
    /// Make one. It is shown only now.
    Create {
        /// What it is for.
        #[arg(value_name = "NAME")]
        name: String,
        /// The most that it may do: admin, user or read-only; what you may do if left out.
        #[arg(long, value_name = "ROLE")]
        role: Option<Role>,
        /// How long it is good: 2h, 30d; at most 366d.
        #[arg(long, value_name = "TIME", allow_hyphen_values = true, default_value = "90d", value_parser = span)]
        ttl: Duration,
    },
    /// End some.
    Revoke {
        /// Which.
        #[arg(value_name = "ID", required = true)]
        ids: Vec<TokenId>,
    },
}
