//! `cloudctl register`

use shared::context::file::load;
use shared::view::RegisterRequest;

use super::login::{self, Place};
use super::passwords;
use crate::args::{GlobalArgs, RegisterArgs};
use crate::client::Client;
use crate::context::{self, Target};
use crate::exit::CtlError;
use crate::render::{Done, Terminal, View};

/// Makes an account for whoever calls, and logs in with it.
pub(super) async fn run(args: &RegisterArgs, global: &GlobalArgs, terminal: &Terminal) -> Result<Done, CtlError> {
    let path = context::path()?;
    let Place { server, name } = login::place(args.name.as_deref(), global, &load(&path)?)?;
    login::warn_if_readable(&server, terminal);
    let invite = args.invite_file.as_deref().map(login::first_line).transpose()?;
    let username = login::username(args.username.as_ref(), None, terminal)?;
    let password = passwords::new(args.password_stdin, "Password", terminal)?;
    let client = Client::new(&Target::new(server, None))?;
    let made = client.register(&RegisterRequest { username, password, invite }).await?;
    Ok(View::LoggedIn(login::remember(&path, name, client.server(), made)?).into())
}
